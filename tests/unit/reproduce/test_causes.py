from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from merit.doctor import machine
from merit.reproduce import causes, output_diff
from merit.tracking import run_facts

Git = Callable[..., str]
NOW = {"python": "3.11.7", "processor": "B", "instructions": "avx512"}


@pytest.fixture
def commits(git_repo: Git, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three commits: code and a lock of packages, other code, a text."""
    monkeypatch.setattr(run_facts, "describe_machine", lambda: NOW)
    made = []
    for name, text in (("a.py", "1"), ("a.py", "2"), ("b.txt", "3")):
        Path(name).write_text(text)
        Path("requirements.lock").write_text("# pinned\nnosuch-name==1.0\n")
        git_repo("add", ".")
        git_repo("commit", "--quiet", "-m", text)
        made.append(git_repo("rev-parse", "HEAD"))
    return made


def test_what_differs_of_the_machine_the_packages_and_the_code_is_named(commits: list[str]) -> None:
    then = {"python": "3.11.2", "processor": "A", "instructions": "avx512", "commit": commits[0], "dirty": "true"}
    assert causes.find_causes(commits[2], then | {"package nosuch-torch": "2.0+cpu"}) == [
        "Python was 3.11.2, is 3.11.7",
        "processor was A, is B",
        "package nosuch-torch none, not 2.0+cpu",
        "package nosuch-name none, not 1.0",
        "it was made with changes that were not committed",
        f"code that changed since it was made at {commits[0][:7]}: a.py",
        "the same: processor's instructions avx512",
    ]


def test_what_nobody_recorded_is_told_as_such(commits: list[str]) -> None:
    assert causes.find_causes(commits[2], {"commit": commits[1]}) == [
        "package nosuch-name none, not 1.0",
        "not recorded of the training: Python, processor, processor's instructions "
        "(here: Python 3.11.7, processor B, processor's instructions avx512)",
    ]


@pytest.mark.parametrize(
    ("then", "is_other"),
    [({}, None), ({"processor": "B"}, False), ({"processor": "A"}, True), ({"instructions": "avx2"}, True)],
)
def test_a_kind_of_processor_is_its_name_and_its_instructions(
    commits: list[str], then: dict[str, str], is_other: bool | None
) -> None:
    assert causes.is_other_processor(then) is is_other


def test_the_package_and_the_run_tell_what_was_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = {"commit": "c", "dirty": False, "libraries": {"python": "3.11.7", "torch": "2.13.0+cpu"}}
    monkeypatch.setattr(output_diff, "load_manifest", lambda commit: manifest)
    params = {"tracking": {"to": "csv", "experiment": "none"}}
    assert causes.load_recorded_facts("HEAD", "w", params) == {
        "package torch": "2.13.0+cpu",
        "python": "3.11.7",
        "commit": "c",
        "dirty": "false",
    }
    assert causes.load_recorded_facts("HEAD", None, {})["python"] == "3.11.7"


def test_a_package_that_names_no_commit_is_of_the_first_that_locked_it(
    git_repo: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_diff, "load_manifest", lambda commit: {})
    commits = []
    for package in ("a", "b", "b"):
        outs = [{"path": "model", "md5": package * 32 + ".dir"}]
        Path("dvc.lock").write_text(yaml.safe_dump({"stages": {"package": {"cmd": str(len(commits)), "outs": outs}}}))
        git_repo("add", ".")
        git_repo("commit", "--quiet", "--message", package)
        commits.append(git_repo("rev-parse", "HEAD"))
    assert causes.load_recorded_facts(commits[2], None, {}) == {"commit": commits[1]}
    git_repo("rm", "--quiet", "dvc.lock")
    git_repo("commit", "--quiet", "--message", "none")
    assert causes.load_recorded_facts("HEAD", None, {}) == {}


def test_the_minor_version_of_python_is_the_same_python(commits: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        causes.run_facts, "describe_machine", lambda: {"python": "3.11.7", "processor": "A", "instructions": "B"}
    )
    assert "the same: Python 3.11.7" in causes.find_causes(commits[0], {"python": "3.11"})
    assert "Python was 3.1, is 3.11.7" in causes.find_causes(commits[0], {"python": "3.1"})


def test_a_build_for_one_kind_of_machine_is_the_locked_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "get_installed_version", lambda name: "2.13.0+cpu")
    assert machine.find_mismatches({"torch": "2.13.0"}) == []
