from collections.abc import Callable
from math import inf, nan
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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
from merit.training import run
from merit.training.run import History, train


def _epoch(history: History, number: int, network: nn.Module, **metrics: float) -> None:
    metrics = {"train_loss": 0.5, "validation_loss": 0.5, **metrics}
    trainer = SimpleNamespace(current_epoch=number, callback_metrics={k: torch.tensor(v) for k, v in metrics.items()})
    module = SimpleNamespace(predictor=SimpleNamespace(network=network))
    history.on_train_epoch_end(trainer, module)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("monitor", "values", "best"),
    [("log_loss", [0.6, 0.4, 0.5], 1), ("roc_auc", [0.6, 0.8, 0.7], 1), ("log_loss", [0.4, 0.4, 0.5], 0)],
)
def test_the_weights_of_the_best_epoch_are_kept(monitor: str, values: list[float], best: int) -> None:
    seen: list[dict[str, float]] = []
    history, network = History(monitor, seen.append), nn.Linear(1, 1)
    for number, value in enumerate(values):
        nn.init.constant_(network.weight, float(number))  # in place, as an optimizer does it
        _epoch(history, number, network, **{f"validation_{monitor}": value})
    assert history.best is not None
    assert history.best["weight"].tolist() == [[float(best)]]
    assert history.best_metrics == history.rows[best]
    assert seen == history.rows
    assert [row["epoch"] for row in history.rows] == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_a_loss_that_is_no_number_is_refused(value: float) -> None:
    seen: list[dict[str, float]] = []
    history, network = History("log_loss", seen.append), nn.Linear(1, 1)
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
        save_file(made, artifacts.part(name))
    artifacts.write_json(
        artifacts.FEATURES_REPORT,
        {
            "made_for": locks.preprocessing(lock.data, lock.features),
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
