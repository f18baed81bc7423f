import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from merit.reproduce import worktree

Git = Callable[..., str]


@pytest.fixture
def commit(git_repo: Git) -> str:
    Path("a").write_text("1")
    Path(".gitignore").write_text("/.merit/\n")
    git_repo("add", ".")
    git_repo("commit", "--quiet", "-m", "a")
    return git_repo("rev-parse", "HEAD")


def test_a_worktree_holds_the_commit_and_is_gone_afterwards(git_repo: Git, commit: str) -> None:
    Path("a").write_text("2")
    with worktree.check_out_worktree(commit) as root:
        assert (root / "a").read_text() == "1"
        assert len(git_repo("worktree", "list").splitlines()) == 2
        (root / "more").mkdir()
        (root / "more" / "b").write_text("3")
    assert not worktree.WORKTREES_FOLDER.exists()
    assert len(git_repo("worktree", "list").splitlines()) == 1
    assert git_repo("status", "--porcelain") == "M a"


def test_it_is_gone_also_after_ctrl_c(git_repo: Git, commit: str) -> None:
    with pytest.raises(KeyboardInterrupt), worktree.check_out_worktree(commit):
        raise KeyboardInterrupt
    assert not worktree.WORKTREES_FOLDER.exists()
    assert len(git_repo("worktree", "list").splitlines()) == 1


def test_what_a_killed_run_left_goes_with_the_next_and_other_worktrees_stay(git_repo: Git, commit: str) -> None:
    git_repo("worktree", "add", "--quiet", "--detach", ".merit/reproduce/left", commit)
    git_repo("worktree", "lock", ".merit/reproduce/left")
    git_repo("worktree", "add", "--quiet", "--detach", "../other", commit)
    with worktree.check_out_worktree(commit):
        places = git_repo("worktree", "list")
        assert "reproduce/left" not in places
        assert "other" in places


def test_the_project_may_be_a_folder_of_the_repository(git_repo: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("sub").mkdir()
    Path("sub/a").write_text("1")
    git_repo("add", ".")
    git_repo("commit", "--quiet", "-m", "a")
    commit = git_repo("rev-parse", "HEAD")
    monkeypatch.chdir("sub")
    with worktree.check_out_worktree(commit) as root:
        assert (root / "a").read_text() == "1"


def _root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / ".dvc").mkdir(parents=True)
    return root


def test_files_of_the_source_that_git_does_not_have_are_lent(workdir: Path) -> None:
    root = _root(workdir)
    Path("own").mkdir()
    Path("own/orders.csv").write_text("1")
    Path("shop.db").write_text("2")
    Path("there").write_text("here")
    (root / "there").write_text("there")
    source = {"_target_": "x.Y", "path": "own/orders.csv", "url": "sqlite:///shop.db", "q": "SELECT " + "a" * 5000}
    more = {"there": "there", "outside": "../x", "absolute": "/etc/passwd", "nobody": "nobody", "rows": 3}
    assert worktree.prepare_worktree(root, {"data": {"source": source | more}}) == ["own/orders.csv", "shop.db"]
    assert (root / "own/orders.csv").read_text() == "1"
    assert (root / "there").read_text() == "there"


def test_it_has_a_cache_of_its_own(workdir: Path) -> None:
    root = _root(workdir)
    worktree.prepare_worktree(root, {})
    assert "dir = cache" in (root / ".dvc/config.local").read_text()


def test_no_run_is_sent_anywhere(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _root(workdir)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example")
    worktree.prepare_worktree(root, {"seed": 7, "tracking": {"to": "wandb", "mode": "online"}})
    params = yaml.safe_load((root / "params.yaml").read_text())
    assert params == {"seed": 7, "tracking": {"to": "wandb", "mode": "offline"}}
    assert worktree.build_environment(root)["MLFLOW_TRACKING_URI"] == "sqlite:///mlflow.db"


def test_the_stages_run_the_source_of_the_worktree(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _root(workdir)
    monkeypatch.setenv("PYTHONPATH", "other")
    assert worktree.build_environment(root)["PYTHONPATH"] == "other"
    (root / "src").mkdir()
    assert worktree.build_environment(root)["PYTHONPATH"] == f"{root / 'src'}{os.pathsep}other"
