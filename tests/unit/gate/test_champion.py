import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from merit import artifacts
from merit.config import lock as locks
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.gate import champion as champions
from merit.gate.champion import Champion

Git = Callable[..., str]

ABC, DEF = "abc".ljust(32, "0") + ".dir", "def".ljust(32, "0") + ".dir"
LOCK = yaml.safe_dump(
    {
        "schema": "2.0",
        "stages": {
            "validate": {"cmd": "merit validate"},
            "package": {"outs": [{"path": "model", "md5": ABC, "size": 3}, {"path": "x", "md5": "d" * 32}]},
        },
    }
)


def _commit(git: Git, text: str | None) -> str:
    if text is not None:
        Path("dvc.lock").write_text(text)
    Path("other").write_text(f"{text}")
    git("add", ".")
    git("commit", "--quiet", "-m", "x")
    return git("rev-parse", "HEAD")


def test_the_champion_is_what_main_holds_and_not_what_the_branch_does(git_repo: Git) -> None:
    main = _commit(git_repo, LOCK)
    git_repo("switch", "--quiet", "--create", "candidate")
    branch = _commit(git_repo, LOCK.replace(ABC, DEF))
    assert champions.find_champion("shop") == Champion(main, {"model": ABC, "x": "d" * 32})
    assert champions.find_champion("shop", "HEAD") == Champion(branch, {"model": DEF, "x": "d" * 32})
    assert champions.find_champion("shop", "main").package_hash == ABC


@pytest.mark.parametrize("text", [None, LOCK.replace("path: model", "path: other")])
def test_before_a_package_is_committed_there_is_no_champion(git_repo: Git, text: str | None) -> None:
    _commit(git_repo, text)
    assert champions.find_champion("shop") is None


def test_before_the_first_commit_there_is_no_champion(git_repo: Git) -> None:
    assert champions.find_champion("shop") is None


def test_a_commit_that_is_not_there_is_refused(git_repo: Git) -> None:
    _commit(git_repo, LOCK)
    with pytest.raises(MeritError) as caught:
        champions.find_champion("shop", "no-such-branch")
    assert str(caught.value) == (
        "--against 'no-such-branch': no such commit; name a branch, a tag or a commit (a shallow clone lacks most)"
    )


def test_a_broken_lock_of_the_champion_is_told_with_its_commit(git_repo: Git) -> None:
    commit = _commit(git_repo, "stages: [")
    with pytest.raises(MeritError, match=f"^dvc.lock at {commit[:7]}: not a lock of DVC's"):
        champions.find_champion("shop")


def test_a_champion_of_another_model_is_no_rival(git_repo: Git) -> None:
    Path("params.yaml").write_text("name: flights\n")
    _commit(git_repo, LOCK)
    assert champions.find_champion("flights") is not None
    assert champions.find_champion("orders") is None


def test_the_champion_names_its_data_and_what_its_lock_says_of_it(git_repo: Git, lock: Lock) -> None:
    Path("params.yaml").write_text(locks.render_lock(lock))
    outputs = [{"path": "model", "md5": ABC}, {"path": "data/raw.parquet", "md5": hash_of(b"rows")}]
    _commit(git_repo, yaml.safe_dump({"stages": {"all": {"outs": outputs}}}))
    champion = champions.find_champion("tiny")
    assert champion is not None
    assert champion.read_data_section() == lock.data
    artifacts.RAW.parent.mkdir()
    artifacts.RAW.write_bytes(b"rows")
    assert champion.has_same_data()
    artifacts.RAW.write_bytes(b"other rows")
    assert not champion.has_same_data()


def hash_of(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()  # noqa: S324  # the hash that DVC takes


@pytest.mark.parametrize("text", ["", "a word", "name: shop", "data: {columns: 3}", "data: 3"])
def test_a_champion_whose_lock_says_nothing_known_of_its_data_is_told(git_repo: Git, text: str) -> None:
    Path("params.yaml").write_text(text)
    commit = _commit(git_repo, LOCK)
    with pytest.raises(MeritError, match=r"^its params\.yaml describes its data in a format that merit can't read$"):
        Champion(commit, {"model": "m"}).read_data_section()


def test_a_champion_whose_lock_names_no_data_has_other_data(git_repo: Git) -> None:
    artifacts.RAW.parent.mkdir()
    artifacts.RAW.write_bytes(b"rows")
    assert not Champion("a" * 40, {"model": "m"}).has_same_data()


def test_data_that_nobody_has_is_told(git_repo: Git) -> None:
    git_repo("init")
    Path(".dvc").mkdir()
    Path("dvc.yaml").write_text("stages: {ingest: {cmd: 'true', outs: [data/raw.parquet]}}\n")
    lock = {"schema": "2.0", "stages": {"ingest": {"cmd": "true", "outs": [
        {"path": "data/raw.parquet", "hash": "md5", "md5": "0" * 32, "size": 3}]}}}  # fmt: skip
    commit = _commit(git_repo, yaml.safe_dump(lock))
    champion = Champion(commit, {"data/raw.parquet": "0" * 32})
    with (
        pytest.raises(MeritError, match=r"^its data is neither in DVC's cache nor in a remote \("),
        champion.fetch_data(),
    ):
        pass
