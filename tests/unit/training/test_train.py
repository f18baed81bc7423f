import os
import random
import signal
from collections.abc import Callable
from itertools import count
from math import inf, nan
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import load_file
from torch import nn

from merit import artifacts
from merit.config import lock as locks
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.models.build import Examples
from merit.training import checkpoint, mapped_rows
from merit.training import train as run
from merit.training.history import History
from merit.training.lightning_module import Learner
from merit.training.seeds import train_seed
from merit.training.train import train


def _epoch(history: History, number: int, network: nn.Module, **metrics: float) -> bool:
    metrics = {"train_loss": 0.5, "validation_loss": 0.5, **metrics}
    found = {name: torch.tensor(value) for name, value in metrics.items()}
    trainer = SimpleNamespace(current_epoch=number, callback_metrics=found, is_global_zero=True, should_stop=False)
    module = SimpleNamespace(predictor=SimpleNamespace(network=network))
    history.on_train_epoch_end(trainer, module)  # type: ignore[arg-type]
    return trainer.should_stop


@pytest.mark.parametrize(
    ("monitor", "values", "best"),
    [("log_loss", [0.6, 0.4, 0.5], 1), ("roc_auc", [0.6, 0.8, 0.7], 1), ("log_loss", [0.4, 0.4, 0.5], 0)],
)
def test_the_weights_of_the_best_epoch_are_kept(monitor: str, values: list[float], best: int) -> None:
    seen: list[dict[str, float]] = []
    history, network = History(monitor, 3, seen.append), nn.Linear(1, 1)
    for number, value in enumerate(values):
        nn.init.constant_(network.weight, float(number))  # in place, as an optimizer does it
        _epoch(history, number, network, **{f"validation_{monitor}": value})
    assert history.best_weights is not None
    assert history.best_weights["weight"].tolist() == [[float(best)]]
    assert history.best_metrics == history.rows[best]
    assert seen == history.rows
    assert [row["epoch"] for row in history.rows] == [0.0, 1.0, 2.0]


def test_training_stops_when_no_epoch_has_been_better_for_as_long_as_it_has_patience() -> None:
    history, network = History("log_loss", 2, lambda row: None), nn.Linear(1, 1)
    values = [0.5, 0.4, 0.45, 0.4]
    stops = [_epoch(history, number, network, validation_log_loss=value) for number, value in enumerate(values)]
    assert stops == [False, False, False, True]


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_a_loss_that_is_no_number_is_refused(value: float) -> None:
    seen: list[dict[str, float]] = []
    history, network = History("log_loss", 3, seen.append), nn.Linear(1, 1)
    _epoch(history, 0, network, validation_log_loss=0.5)
    with pytest.raises(MeritError) as caught:
        _epoch(history, 1, network, validation_log_loss=value)
    assert str(caught.value) == "train: the loss is not a number after epoch 1; lower optimizer.lr"
    assert len(seen) == len(history.rows) == 1


@pytest.fixture
def arrays(workdir: Path, lock: Lock) -> None:
    """Arrays of 200 rows per part, with two categories and three numbers."""
    draw = np.random.default_rng(0)
    for name in ("train", "validation"):
        numbers = draw.normal(0, 1, (200, 3)).astype(np.float32)
        artifacts.FEATURES.mkdir(parents=True, exist_ok=True)
        made = {
            "codes": draw.integers(0, 4, (200, 2)).astype(np.int32),
            "numbers": numbers,
            "target": (numbers[:, 0] > 0).astype(np.float32),
        }
        save_file(made, artifacts.part_path(name))
    artifacts.write_json(
        artifacts.FEATURES_REPORT,
        {
            "made_for": locks.hash_preprocessing(lock.data, lock.features),
            "cardinalities": [4, 4],
            "numbers": 3,
            "shapes": [],
            "target": {"mean": 0.0, "deviation": 1.0},
        },
    )


def _lock(make_lock: Callable[..., Lock], **trainer: Any) -> Lock:
    def edit(values: dict[str, Any]) -> None:
        values["trainer"].update(max_epochs=3, patience=3, **trainer)
        values["optimizer"]["lr"] = 0.1

    return make_lock(edit)


def test_a_training_learns_is_the_same_twice_and_keeps_its_best_epoch(
    arrays: None, make_lock: Callable[..., Lock]
) -> None:
    seen: list[dict[str, float]] = []
    best = train(_lock(make_lock), seen.append)
    first = load_file(artifacts.WEIGHTS)
    assert best["validation_log_loss"] == min(row["validation_log_loss"] for row in seen) < 0.6
    lines = artifacts.HISTORY.read_text().splitlines()
    assert lines[0] == (
        "epoch,train_loss,validation_average_precision,validation_brier,validation_calibration_error,"
        "validation_log_loss,validation_loss,validation_roc_auc"
    )
    assert [line.split(",")[0] for line in lines[1:]] == ["0", "1", "2"]

    again = train(_lock(make_lock))
    assert again == best
    assert all(torch.equal(first[name], value) for name, value in load_file(artifacts.WEIGHTS).items())


def test_a_gpu_that_is_not_there_is_refused(
    arrays: None, make_lock: Callable[..., Lock], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run.torch.cuda, "is_available", lambda: False)
    with pytest.raises(MeritError) as caught:
        train(_lock(make_lock, accelerator="gpu"))
    assert str(caught.value) == ("trainer.accelerator: found 'gpu', but no CUDA device is there; use trainer=cpu")


def _exploding(make_lock: Callable[..., Lock], **trainer: Any) -> Lock:
    def edit(values: dict[str, Any]) -> None:
        values["trainer"].update(batch_size=10, schedule="constant", **trainer)
        values["optimizer"] = {"_target_": "torch.optim.SGD", "lr": 3e38}

    return make_lock(edit)


@pytest.mark.parametrize("devices", [1, 2])
def test_a_learning_rate_far_too_high_is_told_with_the_batch_where_the_loss_ended(
    arrays: None, make_lock: Callable[..., Lock], devices: int
) -> None:
    with pytest.raises(MeritError, match=r"^train: the loss is (nan|inf) from batch \d+ of epoch 0 on; .*optimizer.lr"):
        train(_exploding(make_lock, devices=devices))
    assert not artifacts.WEIGHTS.exists()


def test_rows_past_the_declared_size_are_read_from_their_file_and_learned_from_as_well(
    arrays: None, make_lock: Callable[..., Lock], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory = train(_lock(make_lock))
    monkeypatch.setattr(run.build, "read_part", lambda name: pytest.fail("read whole"))
    monkeypatch.setattr(mapped_rows, "ROWS_PER_READ", 10)
    how = _lock(make_lock)
    trainer = how.trainer.model_copy(update={"memory_mb": 0})
    from_file = train(how.model_copy(update={"trainer": trainer}))
    assert from_file["validation_log_loss"] == pytest.approx(in_memory["validation_log_loss"], abs=0.05)


def test_half_precision_learns_as_well(arrays: None, make_lock: Callable[..., Lock]) -> None:
    full, half = train(_lock(make_lock)), train(_lock(make_lock, precision="bf16-mixed"))
    assert half["validation_log_loss"] == pytest.approx(full["validation_log_loss"], abs=0.05)
    assert half != full


def test_two_processes_that_share_each_batch_learn_as_well(arrays: None, make_lock: Callable[..., Lock]) -> None:
    seen: list[dict[str, float]] = []
    one, two = train(_lock(make_lock)), train(_lock(make_lock, devices=2), seen.append)
    assert two["validation_log_loss"] == pytest.approx(one["validation_log_loss"], abs=0.05)
    assert load_file(artifacts.WEIGHTS)
    assert seen == []  # they are told in a process of its own


@pytest.mark.parametrize(("devices", "kills"), [(1, 5), (2, 2)], ids=["alone", "ddp"])
def test_a_training_killed_at_any_batch_ends_with_the_same_weights_as_if_it_had_not_been(
    arrays: None, make_lock: Callable[..., Lock], devices: int, kills: int
) -> None:
    """Kills by SIGKILL, in processes of their own; each goes on from what the one before had saved."""
    epochs = 4 // devices

    def edit(values: dict[str, Any]) -> None:
        often = {"max_epochs": epochs, "patience": epochs, "batch_size": 2, "checkpoint_seconds": 0.0}
        values["trainer"].update(often, devices=devices)
        # Dropout: what is random must go on as well.
        values["model"] = {"_target_": "merit.models.networks.MLP", "hidden": [8], "dropout": 0.3}

    lock = make_lock(edit)
    train(lock)
    whole, history = load_file(artifacts.WEIGHTS), artifacts.HISTORY.read_bytes()
    artifacts.WEIGHTS.unlink()

    draw, resumed = random.Random(7), []
    for _ in range(kills):
        assert _killed(lock, after=draw.randint(10, 70) * devices), "it ended by itself"
        saved = checkpoint.read_checkpoint()
        resumed.append((0, 0) if saved is None else (saved.metadata["epoch"], saved.metadata["blocks"]))
    assert resumed == sorted(resumed)
    assert len(set(resumed)) > kills // 3

    seen: list[dict[str, float]] = []
    train(lock, seen.append)
    assert all(torch.equal(whole[name], value) for name, value in load_file(artifacts.WEIGHTS).items())
    assert artifacts.HISTORY.read_bytes() == history
    told = list(range(epochs)) if devices == 1 else []  # of several processes, in one of their own
    assert [row["epoch"] for row in seen] == told  # whoever keeps the run is told of all
    assert not artifacts.CHECKPOINT.exists()


def test_a_recipe_trained_with_the_packaged_seed_gives_the_packaged_weights_and_with_another_one_others(
    arrays: None, make_lock: Callable[..., Lock], tmp_path: Path
) -> None:
    def edit(values: dict[str, Any]) -> None:
        values["trainer"].update({"max_epochs": 3, "patience": 3, "batch_size": 2})
        values["model"] = {"_target_": "merit.models.networks.MLP", "hidden": [8], "dropout": 0.3}

    lock = make_lock(edit)
    train(lock)
    for seed in (lock.seed, lock.seed + 1):
        train_seed(lock, seed, tmp_path / str(seed))
    packaged, same, other = (
        load_file(folder / artifacts.WEIGHTS.name)
        for folder in (artifacts.WEIGHTS.parent, tmp_path / str(lock.seed), tmp_path / str(lock.seed + 1))
    )
    assert all(torch.equal(packaged[name], value) for name, value in same.items())
    assert not all(torch.equal(packaged[name], value) for name, value in other.items())


def _killed(lock: Lock, after: int) -> bool:
    """Train in a process that kills itself and its ranks after some batches; say whether that is how it ended."""
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        step, taken = Learner._train_batch, count(1)

        def counted(self: Learner, batch: Examples) -> torch.Tensor:
            if next(taken) > after:
                os.killpg(0, signal.SIGKILL)
            return step(self, batch)

        with patch.object(Learner, "_train_batch", counted):
            train(lock)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("text", [b"", b"not safetensors", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_checkpoint_that_can_not_be_read_is_no_checkpoint(
    arrays: None, make_lock: Callable[..., Lock], text: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    artifacts.CHECKPOINT.parent.mkdir()
    artifacts.CHECKPOINT.write_bytes(text)
    assert checkpoint.read_checkpoint() is None
    assert train(_lock(make_lock))["epoch"] >= 0
    told = "training/checkpoint.safetensors: can't be read, so training starts from the beginning\n"
    assert capsys.readouterr().out.count(told) == 1


def test_a_checkpoint_of_another_configuration_or_of_other_rows_is_not_taken_up(
    arrays: None, make_lock: Callable[..., Lock]
) -> None:
    lock = _lock(make_lock)
    made_for = checkpoint.compute_fingerprint(lock)
    assert checkpoint.compute_fingerprint(lock) == made_for
    other = lock.trainer.model_copy(update={"checkpoint_seconds": 5.0})
    assert checkpoint.compute_fingerprint(lock.model_copy(update={"trainer": other})) == made_for
    assert checkpoint.compute_fingerprint(lock.model_copy(update={"seed": 8})) != made_for
    artifacts.part_path("train").write_bytes(artifacts.part_path("validation").read_bytes())
    assert checkpoint.compute_fingerprint(lock) != made_for


def test_an_optimizer_whose_state_can_not_be_kept_trains_all_the_same(
    arrays: None, make_lock: Callable[..., Lock], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checkpoint, "_split_optimizer_state", lambda optimizer: ({"groups": object()}, {}))
    train(_lock(make_lock, checkpoint_seconds=0.0))
    assert capsys.readouterr().out.count("if killed, training starts from the beginning") == 1
    assert artifacts.WEIGHTS.is_file()
