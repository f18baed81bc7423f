import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from merit.errors import MeritError
from merit.gate import champion as champions
from merit.gate.champion import IDENTITY, Champion, outputs_of

Git = Callable[..., str]

LOCK = yaml.safe_dump(
    {
        "schema": "2.0",
        "stages": {
            "validate": {"cmd": "merit validate"},
            "package": {"outs": [{"path": "model", "md5": "abc.dir", "size": 3}, {"path": "x", "md5": "d"}]},
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


def test_the_candidate_is_the_champion_only_if_both_of_its_files_are(workdir: Path) -> None:
    hashes = {}
    for number, (name, file) in enumerate(IDENTITY.items()):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes([number]))
        hashes[name] = hashlib.md5(bytes([number])).hexdigest()  # noqa: S324  # the hash that DVC takes
    assert Champion("a" * 40, hashes).is_candidate()
    for name in IDENTITY:
        assert not Champion("a" * 40, {**hashes, name: "0" * 32}).is_candidate()
        assert not Champion("a" * 40, {other: value for other, value in hashes.items() if other != name}).is_candidate()


def test_a_dvc_lock_names_the_hash_of_every_output() -> None:
    assert outputs_of(LOCK, "dvc.lock") == {"model": "abc.dir", "x": "d"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a word",
        "[1]",
        "schema: '2.0'",
        "stages: [a]",
        "stages: {a: 3}",
        "stages: {a: {outs: [b]}}",
        "stages: {a: {outs: [{path: b}]}}",
        "stages: [",
        "<<<<<<< HEAD\nstages: {}\n=======\n",
    ],
)
def test_what_is_no_dvc_lock_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(MeritError) as caught:
        outputs_of(text, "dvc.lock at abc1234")
    assert str(caught.value).startswith("dvc.lock at abc1234: not a lock of DVC's (")
    assert str(caught.value).endswith("; restore it from Git")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_the_champion_is_what_main_holds_and_not_what_the_branch_does(git_repo: Git) -> None:
    main = _commit(git_repo, LOCK)
    git_repo("switch", "--quiet", "--create", "candidate")
    branch = _commit(git_repo, LOCK.replace("abc", "def"))
    assert champions.find("shop") == Champion(main, {"model": "abc.dir", "x": "d"})
    assert champions.find("shop", "HEAD") == Champion(branch, {"model": "def.dir", "x": "d"})
    assert champions.find("shop", "main").package_hash == "abc.dir"


@pytest.mark.parametrize("text", [None, LOCK.replace("path: model", "path: other")])
def test_before_a_package_is_committed_there_is_no_champion(git_repo: Git, text: str | None) -> None:
    _commit(git_repo, text)
    assert champions.find("shop") is None


def test_before_the_first_commit_there_is_no_champion(git_repo: Git) -> None:
    assert champions.find("shop") is None


def test_a_commit_that_is_not_there_is_refused(git_repo: Git) -> None:
    _commit(git_repo, LOCK)
    with pytest.raises(MeritError) as caught:
        champions.find("shop", "no-such-branch")
    assert str(caught.value) == (
        "--against 'no-such-branch': no such commit; name a branch, a tag or a commit (a shallow clone lacks most)"
    )


def test_a_broken_lock_of_the_champion_is_told_with_its_commit(git_repo: Git) -> None:
    commit = _commit(git_repo, "stages: [")
    with pytest.raises(MeritError, match=f"^dvc.lock at {commit[:7]}: not a lock of DVC's"):
        champions.find("shop")


def test_a_champion_of_another_model_is_no_rival(git_repo: Git) -> None:
    Path("params.yaml").write_text("name: flights\n")
    _commit(git_repo, LOCK)
    assert champions.find("flights") is not None
    assert champions.find("orders") is None
