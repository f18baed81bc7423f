from collections.abc import Callable
from pathlib import Path

import pytest

from merit import git
from merit.errors import MeritError

Git = Callable[..., str]


def _commit(run: Git, name: str, text: str) -> str:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)
    run("add", name)
    run("commit", "--quiet", "-m", name)
    return run("rev-parse", "HEAD")


def test_outside_of_a_repository_nothing_is_known(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(workdir.parent))
    assert git.get_head() is None
    assert git.find_target_commit() is None
    assert git.resolve_commit("main") is None
    assert git.read_file("HEAD", Path("a")) is None
    assert not git.is_dirty()


def test_before_the_first_commit_there_is_no_head(git_repo: Git) -> None:
    assert git.get_head() is None
    assert git.find_target_commit() is None


def test_bytes_that_are_not_utf8_hide_nothing_else(git_repo: Git) -> None:
    Path("a").write_bytes(b"caf\xe9\n")
    git_repo("add", "a")
    git_repo("commit", "--quiet", "-m", "a")
    assert git.read_file("HEAD", Path("a")) == f"caf{git.REPLACEMENT_CHARACTER}"


def test_head_is_the_commit_that_is_checked_out(git_repo: Git) -> None:
    first = _commit(git_repo, "a", "1")
    assert git.get_head() == first
    second = _commit(git_repo, "a", "2")
    assert git.get_head() == second != first


def test_only_changes_of_tracked_files_make_a_tree_dirty(git_repo: Git) -> None:
    _commit(git_repo, "a", "1")
    Path("untracked").write_text("x")
    assert not git.is_dirty()
    Path("a").write_text("2")
    assert git.is_dirty()
    git_repo("add", "a")
    assert git.is_dirty()


def test_a_branch_a_tag_and_a_short_hash_are_resolved_to_their_commit(git_repo: Git) -> None:
    commit = _commit(git_repo, "a", "1")
    git_repo("tag", "-a", "flights@v1", "-m", "v1")
    assert {git.resolve_commit(name) for name in ("main", "flights@v1", commit[:8], "HEAD")} == {commit}


@pytest.mark.parametrize("ref", ["nothing", "--help", "-v", "HEAD:a", "", "HEAD~5"])
def test_what_is_no_commit_is_not_resolved(git_repo: Git, ref: str) -> None:
    _commit(git_repo, "a", "1")
    assert git.resolve_commit(ref) is None


def test_the_target_of_a_branch_is_where_it_left_main(git_repo: Git) -> None:
    base = _commit(git_repo, "a", "1")
    git_repo("checkout", "--quiet", "-b", "work")
    _commit(git_repo, "a", "2")
    git_repo("checkout", "--quiet", "main")
    _commit(git_repo, "b", "1")
    git_repo("checkout", "--quiet", "work")
    assert git.find_target_commit() == base


def test_the_latest_commit_shared_with_either_main_is_the_target(git_repo: Git) -> None:
    _commit(git_repo, "a", "1")
    newer = _commit(git_repo, "a", "2")
    git_repo("update-ref", "refs/remotes/origin/main", newer)
    git_repo("checkout", "--quiet", "-b", "work")
    git_repo("branch", "--force", "main", "HEAD~1")
    assert git.find_target_commit() == newer


def test_without_a_main_the_target_is_head(git_repo: Git) -> None:
    git_repo("checkout", "--quiet", "-b", "trunk")
    assert git.find_target_commit() is None
    commit = _commit(git_repo, "a", "1")
    assert git.find_target_commit() == commit


def test_a_main_without_common_history_is_told_to_be_fetched(git_repo: Git) -> None:
    _commit(git_repo, "a", "1")
    git_repo("checkout", "--quiet", "--orphan", "other")
    _commit(git_repo, "b", "1")
    with pytest.raises(MeritError, match="the history shared with main is not here"):
        git.find_target_commit()


def test_on_main_itself_the_latest_commit_counts_even_if_origin_has_not_seen_it(git_repo: Git) -> None:
    seen = _commit(git_repo, "a", "1")
    git_repo("update-ref", "refs/remotes/origin/main", seen)
    here = _commit(git_repo, "a", "2")
    assert git.find_target_commit() == here


def test_a_shallow_clone_that_lacks_main_is_told_what_to_fetch(git_repo: Git, tmp_path_factory, monkeypatch) -> None:
    _commit(git_repo, "a", "1")
    git_repo("checkout", "--quiet", "-b", "work")
    _commit(git_repo, "a", "2")
    clone = tmp_path_factory.mktemp("clone") / "shallow"
    git_repo("clone", "--quiet", "--depth", "1", "--branch", "work", f"file://{Path.cwd()}", str(clone))
    monkeypatch.chdir(clone)
    with pytest.raises(MeritError, match="git fetch --unshallow"):
        git.find_target_commit()


def test_a_git_that_will_not_answer_is_not_taken_for_a_no(git_repo: Git, monkeypatch) -> None:
    _commit(git_repo, "a", "1")
    Path(".git/config").write_text("[core\n")
    with pytest.raises(MeritError, match="bad config"):
        git.find_target_commit()


def test_a_file_is_shown_as_it_was_at_a_commit(git_repo: Git) -> None:
    first = _commit(git_repo, "dvc.lock", "old\n")
    _commit(git_repo, "dvc.lock", "new\n")
    assert git.read_file(first, Path("dvc.lock")) == "old"
    assert git.read_file("HEAD", Path("dvc.lock")) == "new"
    assert git.read_file(first, Path("other")) is None


def test_a_file_is_looked_for_in_the_folder_that_merit_runs_in(
    git_repo: Git, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = _commit(git_repo, "models/flights/dvc.lock", "inner")
    monkeypatch.chdir(workdir / "models" / "flights")
    assert git.read_file(commit, Path("dvc.lock")) == "inner"


def test_a_machine_without_git_is_told_so(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(workdir))
    with pytest.raises(MeritError, match=r"^git: not found on PATH; install it$"):
        git.get_head()


def test_main_is_the_later_of_main_here_and_at_origin(git_repo: Git) -> None:
    assert git.find_main_tip() is None
    first = _commit(git_repo, "a", "1")
    assert git.find_main_tip() == first
    second = _commit(git_repo, "a", "2")
    git_repo("update-ref", "refs/remotes/origin/main", first)
    assert git.find_main_tip() == second
    git_repo("update-ref", "refs/remotes/origin/main", second)
    git_repo("reset", "--quiet", "--hard", first)
    assert git.find_main_tip() == second
    _commit(git_repo, "a", "3")
    assert git.find_main_tip() == second, "they went apart: origin's counts"
    git_repo("switch", "--quiet", "--create", "other")
    git_repo("branch", "--quiet", "-D", "main")
    assert git.find_main_tip() == second


def test_without_an_origin_there_is_nothing_to_push_or_fetch(git_repo: Git) -> None:
    _commit(git_repo, "a", "1")
    git_repo("config", "user.name", "t")
    git_repo("config", "user.email", "t@example.org")
    assert not git.has_origin()
    assert git.create_tag("a@v1", "one\n\nx: 1\n")
    assert git.push_tag("a@v1")
    git.fetch_tags()
    git.delete_tag("a@v1")
    assert git.get_tag_object("a@v1") is None
    git.delete_tag("a@v1")


def test_a_tag_goes_to_origin_once_and_another_of_its_name_does_not(git_repo: Git, workdir: Path) -> None:
    _commit(git_repo, "a", "1")
    for key, value in {"user.name": "t", "user.email": "t@example.org"}.items():
        git_repo("config", key, value)
    git_repo("init", "--quiet", "--bare", "origin.git")
    git_repo("remote", "add", "origin", str(workdir / "origin.git"))
    assert git.create_tag("a@v1", "one")
    assert git.push_tag("a@v1")
    assert git.push_tag("a@v1"), "the same tag again"
    git.delete_tag("a@v1")
    assert git.create_tag("a@v1", "another")
    assert not git.push_tag("a@v1")
    git.delete_tag("a@v1")
    git.fetch_tags()
    assert git_repo("for-each-ref", "--format=%(subject)", "refs/tags/a@v1") == "one"


def test_a_commit_that_is_not_there_is_no_place_for_a_tag(git_repo: Git) -> None:
    _commit(git_repo, "a", "1")
    git_repo("config", "user.name", "t")
    git_repo("config", "user.email", "t@example.org")
    with pytest.raises(MeritError, match=r"^git tag a@v1: "):
        git.create_tag("a@v1", "one", "0" * 40)
