import re
from types import SimpleNamespace
from typing import Any

import pytest
from rich.progress import Progress as Bars

from merit.training.progress import EpochProgress


def test_the_bar_moves_with_each_block_of_batches_and_ends_full(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(Bars, "add_task", lambda *_, total, **__: shown.append(total) or 0)
    monkeypatch.setattr(Bars, "update", lambda *_, completed: shown.append(completed))
    trainer: Any = SimpleNamespace(train_dataloader=SimpleNamespace(steps=70, batches_per_block=32), current_epoch=0)
    progress = EpochProgress("log_loss")
    progress.on_train_epoch_start(trainer, trainer)
    for block in range(3):
        progress.on_train_batch_end(trainer, trainer, None, None, block)
    assert shown == [70, 32, 64, 70]


def test_an_epoch_is_a_line_of_the_log_of_the_first_rank_alone(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {"train_loss": 0.5, "validation_loss": 0.25}
    trainer: Any = SimpleNamespace(train_dataloader=SimpleNamespace(steps=1), current_epoch=3, callback_metrics=metrics)
    progress = EpochProgress("log_loss")
    for _ in range(2):
        progress.on_train_epoch_start(trainer, trainer)
        progress.on_train_epoch_end(trainer, trainer)
        progress.disable()
    assert re.fullmatch(r"epoch   3  train_loss 0\.5000  validation_loss 0\.2500  \d\.\d s\n", capsys.readouterr().out)
