from contextlib import AbstractContextManager

import pytest

from merit import reproduce
from merit.process import workspace_lock
from tests.support.file_locks import is_locked


class _WorktreeError(Exception):
    """Ends a reproduction where it would check out the commit."""


def test_one_reproduction_at_a_time_has_the_worktrees(workdir: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def check_out(commit: str) -> AbstractContextManager[None]:
        assert is_locked(workspace_lock.REPRODUCTION_LOCK)
        raise _WorktreeError(commit)

    monkeypatch.setattr(reproduce, "_resolve_commit", lambda _: "c" * 40)
    monkeypatch.setattr(reproduce, "_load_locked_stages", lambda _: {})
    monkeypatch.setattr(reproduce.causes, "load_params", lambda _: {})
    monkeypatch.setattr(reproduce, "_refuse_other_packages", lambda *_: None)
    monkeypatch.setattr(reproduce.worktree, "check_out_worktree", check_out)
    with pytest.raises(_WorktreeError, match="c" * 40):
        reproduce.reproduce()
