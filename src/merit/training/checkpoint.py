"""What a killed training goes on from: the same final weights, bit for bit, as if it had never been killed.

One safetensors file beside the weights, replaced whole; no pickle, so Lightning's own checkpoints are not used.
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

import merit
from merit import artifacts
from merit.config import lock as locks
from merit.config.schema import Lock
from merit.training.batches import Batches
from merit.training.history import History
from merit.training.module import Learner

PROGRESS = ("ready", "started", "processed", "completed")
"""What Lightning counts of epochs."""


@dataclass(frozen=True)
class Saved:
    """A checkpoint: what JSON can hold of it, and its tensors, their names led by the part that they belong to."""

    told: dict[str, Any]
    tensors: dict[str, Tensor]

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of a part by their own names."""
        lead = f"{name}."
        return {key.removeprefix(lead): value for key, value in self.tensors.items() if key.startswith(lead)}


class Checkpoint(lightning.Callback):
    """Saves the training every so often, and takes up the one that was saved.

    Args:
        made_for: the hash of all that the weights depend on; a checkpoint made for something else is not taken up.
        seconds: between checkpoints.
        seed: of the run.
        history: the epochs so far.
        batches: the training rows.
    """

    def __init__(self, made_for: str, seconds: float, seed: int, history: History, batches: Batches) -> None:
        self._made_for = made_for
        self._seconds = seconds
        self._seed = seed
        self._history = history
        self._batches = batches
        self._saved_at = time.monotonic()
        self._random: dict[str, Tensor] = {}

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Take up what was saved, if it was made for the same."""
        saved = read()
        if saved is None and artifacts.CHECKPOINT.exists() and trainer.is_global_zero:
            print(f"{artifacts.CHECKPOINT}: can't be read, so training begins anew")
        if saved is None or saved.told["made_for"] != self._made_for:
            return
        assert isinstance(pl_module, Learner)
        told, epoch = saved.told, saved.told["epoch"]
        trainer.fit_loop.epoch_progress.current.load_state_dict(dict.fromkeys(PROGRESS, epoch))
        self._batches.resume(saved.tensors["drawn_from"], told["blocks"])
        self._history.resume(told["rows"], saved.part("best") or None, is_told=trainer.is_global_zero)
        self._random = saved.part("random")
        pl_module.predictor.network.load_state_dict(saved.part("network"))
        pl_module.losses.extend(saved.tensors["losses"].to(pl_module.device))
        _load_optimizer(trainer.optimizers[0], told["optimizer"], saved.part("optimizer"))
        trainer.precision_plugin.load_state_dict(told["precision"])
        if pl_module.schedule is not None:
            pl_module.schedule.load_state_dict(told["schedule"])
        if trainer.is_global_zero:
            print(f"resumed in epoch {epoch}, after batch {len(saved.tensors['losses'])}")

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Let what is random go on from where it was."""
        if trainer.world_size > 1:  # by place, so that one checkpoint serves all ranks
            place = (trainer.current_epoch * len(self._batches) + batch_idx) * trainer.world_size + trainer.global_rank
            torch.manual_seed(self._seed + place)
        elif self._random:
            _set_random(self._random)
            self._random = {}

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save, if it is time."""
        due = time.monotonic() - self._saved_at >= self._seconds
        if due and trainer.is_global_zero and batch.count:
            assert isinstance(pl_module, Learner)
            try:
                self._save(trainer, pl_module, batch_idx + 1)
            except TypeError:  # of JSON: an optimizer of one's own may keep anything
                print("the optimizer's state is not made of tensors and numbers: if killed, training begins anew")
                self._seconds = math.inf
            self._saved_at = time.monotonic()

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Remove what is not needed any more."""
        if trainer.is_global_zero:
            artifacts.CHECKPOINT.unlink(missing_ok=True)

    def _save(self, trainer: lightning.Trainer, module: Learner, blocks: int) -> None:
        groups, tensors = _of_optimizer(trainer.optimizers[0])
        told = {
            "made_for": self._made_for,
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
            "best": self._history.best or {},
            "random": _random(module.device),
        }
        named = {f"{part}.{name}": value for part, found in parts.items() for name, value in found.items()}
        named |= {"losses": torch.stack(module.losses), "drawn_from": self._batches.drawn_from}
        _write(Saved(told, named))


def read() -> Saved | None:
    """Return the checkpoint, or None if there is none that can be read."""
    try:
        with safe_open(artifacts.CHECKPOINT, "pt") as file:
            told = json.loads(file.metadata()["told"])
            return Saved(told, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118  # no mapping
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def _write(saved: Saved) -> None:
    with artifacts.written_aside(artifacts.CHECKPOINT) as aside:
        try:
            tensors = {name: value.detach().cpu().contiguous() for name, value in saved.tensors.items()}
            save_file(tensors, aside, {"told": json.dumps(saved.told)})
        except SafetensorError as error:  # what safetensors makes of a full disk
            raise OSError(str(error)) from error


def made_for(lock: Lock) -> str:
    """Return the hash of all that trained weights depend on: configuration, rows, and the code that trains."""
    how = lock.trainer.model_dump(exclude={"checkpoint_seconds"})
    told = [lock.code, lock.seed, lock.model, lock.optimizer, locks.preprocessing(lock.data, lock.features)]
    digest = hashlib.sha256(json.dumps([how, *(_plain(each) for each in told)], sort_keys=True).encode())
    root = Path(merit.__file__).parent
    code = sorted([*(root / "training").glob("*.py"), *(root / "models").glob("*.py")])
    for path in [artifacts.part("train"), artifacts.part("validation"), artifacts.FEATURES_REPORT, *code]:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json", by_alias=True) if hasattr(value, "model_dump") else value


def _of_optimizer(optimizer: Optimizer) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return what JSON can hold of an optimizer's state, and its tensors."""
    state = optimizer.state_dict()
    named = {f"{place}.{name}": value for place, each in state["state"].items() for name, value in each.items()}
    tensors = {name: value for name, value in named.items() if isinstance(value, Tensor)}
    return {"groups": state["param_groups"], "others": {n: v for n, v in named.items() if n not in tensors}}, tensors


def _load_optimizer(optimizer: Optimizer, told: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**told["others"], **tensors}.items():
        place, _, key = name.partition(".")
        state.setdefault(int(place), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": told["groups"]})


def _random(device: torch.device) -> dict[str, Tensor]:
    found = {"cpu": torch.get_rng_state()}
    return found | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def _set_random(states: dict[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])
