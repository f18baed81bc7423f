"""Checkpoints of a training: a resumed training ends with the same weights, bit for bit, as an uninterrupted one.

A checkpoint is one safetensors file beside the weights, replaced atomically. Lightning's own checkpoints are pickles,
so they are not used.
"""

import hashlib
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer

from merit import artifacts
from merit.config import lock as locks
from merit.config.schema import Lock
from merit.console.logging import show_line
from merit.training.batches import Batches
from merit.training.history import History
from merit.training.lightning_module import Learner

PROGRESS_COUNTERS = ("ready", "started", "processed", "completed")
"""Lightning's counters of an epoch's progress."""


@dataclass(frozen=True)
class SavedState:
    """The content of a checkpoint.

    Attributes:
        metadata: everything that JSON can hold.
        tensors: all tensors, named `PART.NAME`, as in `network.bins.low`.
    """

    metadata: dict[str, Any]
    tensors: dict[str, Tensor]

    def select_part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of a part, named without its prefix."""
        prefix = f"{name}."
        return {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}


class Checkpoint(lightning.Callback):
    """Saves the training at intervals, and resumes from a saved one.

    Args:
        fingerprint: hash of everything that the weights depend on; a checkpoint with another hash is ignored.
        seconds: seconds between checkpoints.
        seed: the run's seed.
        history: the epochs so far.
        batches: the training rows.
    """

    def __init__(self, fingerprint: str, seconds: float, seed: int, history: History, batches: Batches) -> None:
        self._fingerprint = fingerprint
        self._seconds = seconds
        self._seed = seed
        self._history = history
        self._batches = batches
        self._saved_at = time.monotonic()
        self._random_states: dict[str, Tensor] = {}

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Resume from the checkpoint, if its hash matches."""
        saved = read_checkpoint()
        if saved is None and artifacts.CHECKPOINT.exists() and trainer.is_global_zero:
            show_line(f"{artifacts.CHECKPOINT}: can't be read, so training starts from the beginning")
        if saved is None or saved.metadata["made_for"] != self._fingerprint:
            return
        assert isinstance(pl_module, Learner)
        metadata, epoch = saved.metadata, saved.metadata["epoch"]
        trainer.fit_loop.epoch_progress.current.load_state_dict(dict.fromkeys(PROGRESS_COUNTERS, epoch))
        self._batches.resume_epoch(saved.tensors["drawn_from"], metadata["blocks"])
        self._history.resume_epochs(
            metadata["rows"], saved.select_part("best") or None, repeats_callback=trainer.is_global_zero
        )
        self._random_states = saved.select_part("random")
        pl_module.predictor.network.load_state_dict(saved.select_part("network"))
        pl_module.losses.extend(saved.tensors["losses"].to(pl_module.device))
        _load_optimizer(trainer.optimizers[0], metadata["optimizer"], saved.select_part("optimizer"))
        trainer.precision_plugin.load_state_dict(metadata["precision"])
        if pl_module.schedule is not None:
            pl_module.schedule.load_state_dict(metadata["schedule"])
        if trainer.is_global_zero:
            show_line(f"resumed in epoch {epoch}, after batch {len(saved.tensors['losses'])}")

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Restore the random generators after a resume; with several ranks, seed them for each batch instead."""
        if trainer.world_size > 1:  # seeded by position: one checkpoint serves all ranks
            position = (
                trainer.current_epoch * len(self._batches) + batch_idx
            ) * trainer.world_size + trainer.global_rank
            torch.manual_seed(self._seed + position)
        elif self._random_states:
            _set_random_states(self._random_states)
            self._random_states = {}

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save a checkpoint, if one is due."""
        due = time.monotonic() - self._saved_at >= self._seconds
        if due and trainer.is_global_zero and batch.count:
            assert isinstance(pl_module, Learner)
            try:
                self._save_checkpoint(trainer, pl_module, batch_idx + 1)
            except TypeError:  # from JSON: a custom optimizer may have any state
                show_line(
                    "the optimizer's state is not made of tensors and numbers: if killed, training starts from the "
                    "beginning"
                )
                self._seconds = math.inf
            self._saved_at = time.monotonic()

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Remove the checkpoint of a finished training."""
        if trainer.is_global_zero:
            artifacts.CHECKPOINT.unlink(missing_ok=True)

    def _save_checkpoint(self, trainer: lightning.Trainer, module: Learner, blocks: int) -> None:
        groups, tensors = _split_optimizer_state(trainer.optimizers[0])
        metadata = {
            "made_for": self._fingerprint,
            "epoch": trainer.current_epoch,
            "blocks": blocks,
            "rows": self._history.rows,
            "optimizer": groups,
            "precision": trainer.precision_plugin.state_dict(),
            "schedule": None if module.schedule is None else module.schedule.state_dict(),
        }
        parts = {
            "network": module.predictor.network.state_dict(),
            "optimizer": tensors,
            "best": self._history.best_weights or {},
            "random": _read_random_states(module.device),
        }
        all_tensors = {
            f"{part}.{name}": value for part, part_tensors in parts.items() for name, value in part_tensors.items()
        }
        all_tensors |= {"losses": torch.stack(module.losses), "drawn_from": self._batches.generator_state}
        _write_checkpoint(SavedState(metadata, all_tensors))


def read_checkpoint() -> SavedState | None:
    """Return the checkpoint, or None if there is none or it can't be read."""
    try:
        with safe_open(artifacts.CHECKPOINT, "pt") as file:
            metadata = json.loads(file.metadata()["told"])
            return SavedState(metadata, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118  # no mapping
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def _write_checkpoint(saved: SavedState) -> None:
    with artifacts.write_atomically(artifacts.CHECKPOINT) as aside:
        try:
            tensors = {name: value.detach().cpu().contiguous() for name, value in saved.tensors.items()}
            save_file(tensors, aside, {"told": json.dumps(saved.metadata)})
        except SafetensorError as error:  # safetensors raises this on a full disk
            raise OSError(str(error)) from error


def compute_fingerprint(lock: Lock) -> str:
    """Return a SHA-256 of everything that trained weights depend on: configuration, rows and training code."""
    settings = lock.trainer.model_dump(exclude={"checkpoint_seconds"})
    sections = [lock.code, lock.seed, lock.model, lock.optimizer, locks.hash_preprocessing(lock.data, lock.features)]
    digest = hashlib.sha256(
        json.dumps([settings, *(_convert_to_plain(each) for each in sections)], sort_keys=True).encode()
    )
    root = Path(__file__).parents[1]
    code = sorted([*(root / "training").glob("*.py"), *(root / "models").glob("*.py")])
    for path in [artifacts.part_path("train"), artifacts.part_path("validation"), artifacts.FEATURES_REPORT, *code]:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _convert_to_plain(value: Any) -> Any:
    return value.model_dump(mode="json", by_alias=True) if hasattr(value, "model_dump") else value


def _split_optimizer_state(optimizer: Optimizer) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Split an optimizer's state into a JSON-compatible part and tensors."""
    state = optimizer.state_dict()
    entries = {f"{index}.{name}": value for index, each in state["state"].items() for name, value in each.items()}
    tensors = {name: value for name, value in entries.items() if isinstance(value, Tensor)}
    return {"groups": state["param_groups"], "others": {n: v for n, v in entries.items() if n not in tensors}}, tensors


def _load_optimizer(optimizer: Optimizer, metadata: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**metadata["others"], **tensors}.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": metadata["groups"]})


def _read_random_states(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def _set_random_states(states: dict[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])
