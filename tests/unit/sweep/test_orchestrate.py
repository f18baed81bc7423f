from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from merit.errors import MeritError
from merit.sweep import orchestrate, ownership
from merit.sweep.search import study
from tests.support.file_locks import is_locked


def test_a_study_is_opened_under_the_lock_of_the_sweep_and_a_refused_one_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def refuse(plan: object, folder: Path, worker_index: int) -> None:
        seen.append((worker_index, is_locked(folder / ownership.CLAIM_LOCK_FILE)))
        raise MeritError("sweep.storage: can't be used")

    monkeypatch.setattr(study, "Study", refuse)
    monkeypatch.setattr(orchestrate.run, "update_features", list)
    monkeypatch.setattr(orchestrate.prepare, "prepare_folder", lambda _: tmp_path)
    monkeypatch.setattr(orchestrate.prepare, "write_denied_paths", lambda *_: None)
    monkeypatch.setattr(orchestrate.prepare, "remove_unused_folder", seen.append)
    sweep_plan: Any = SimpleNamespace(base_lock=None)
    with pytest.raises(MeritError, match=r"sweep\.storage"):
        orchestrate._orchestrate(sweep_plan, lambda _: pytest.fail("a launcher"), SimpleNamespace())  # type: ignore[arg-type]
    assert seen == [(0, True), tmp_path]
    assert list((tmp_path / ownership.OWNERS_FOLDER).iterdir()) == []
