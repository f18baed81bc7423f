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
