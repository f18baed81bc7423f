import os
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest

from merit import artifacts
from merit.errors import MeritError
from merit.process import workspace_lock
from tests.support.file_locks import is_locked

Lock = Callable[[], AbstractContextManager[Any]]
LOCKS: dict[str, tuple[Lock, str]] = {
    "run.lock": (workspace_lock.lock_run, "another merit run"),
    "stage.lock": (workspace_lock.lock_stage, "a stage or a gate of merit"),
    "beside.lock": (workspace_lock.lock_side_stage, "a stage or a gate of merit"),
    "registry.lock": (workspace_lock.lock_registry, "a registration"),
    "reproduce.lock": (workspace_lock.lock_reproduction, "another merit reproduce"),
    "environments/staging.lock": (lambda: workspace_lock.lock_environment("staging"), "another apply of staging"),
}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_one_holder_and_an_error_names_its_process(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(workspace_lock, "REGISTRY_TIMEOUT_S", 0.0)
    lock, holder = LOCKS[name]
    file = Path(".merit", name)
    for _ in range(2):  # who had it before is not named
        with lock():
            assert is_locked(file)
            with pytest.raises(MeritError) as caught, lock():
                pass
        assert str(caught.value) == f"{holder} (process {os.getpid()}) works in this folder; wait for it"
        assert not is_locked(file)


@pytest.mark.parametrize("name", ["stage.lock", "beside.lock"])
def test_no_run_begins_while_a_stage_of_a_killed_run_works_on(workdir: Path, name: str) -> None:
    left = artifacts.RAW.with_name(f".{artifacts.RAW.name}.killed")  # as of a write that never ended
    left.mkdir(parents=True)
    lock, holder = LOCKS[name]
    with lock(), pytest.raises(MeritError, match=holder), workspace_lock.lock_run():
        pass
    assert left.exists()
    with workspace_lock.lock_run():  # its own stages take theirs
        assert not is_locked(Path(".merit", name))
        assert not left.exists()


def test_a_second_registration_waits_for_the_first(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as first:
        first.enter_context(workspace_lock.lock_registry())
        monkeypatch.setattr(workspace_lock.time, "sleep", lambda _: first.close())
        with workspace_lock.lock_registry():
            assert is_locked(workspace_lock.REGISTRY_LOCK)


def test_a_child_that_outlives_a_reproduction_keeps_its_lock(workdir: Path) -> None:
    with workspace_lock.lock_reproduction() as descriptor:
        inherited = os.dup(descriptor)
    assert is_locked(workspace_lock.REPRODUCTION_LOCK)
    os.close(inherited)
    assert not is_locked(workspace_lock.REPRODUCTION_LOCK)


def test_a_folder_that_can_not_be_written_is_told_with_what_to_do(workdir: Path) -> None:
    Path(".merit").write_text("a file", encoding="utf-8")
    with pytest.raises(MeritError, match=r"^\.merit/run\.lock: can't be written: .*; free space or fix its permiss"):
        workspace_lock.lock_run().__enter__()
