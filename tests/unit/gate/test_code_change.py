"""The project's own code: what of it changed, and which of it decides verdicts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from merit.gate import code_change
from merit.gate.code_change import list_changed_code, list_code_rules

Git = Callable[..., str]
VALUES: dict[str, Any] = {
    "code": {"own": "sha256:1"},
    "model": {"_target_": "own.net.Net"},
    "gate": {"checks": {"fair": {"_target_": "own.checks.Fair"}}},
    "evaluate": {"metrics": {"profit": {"_target_": "own.metrics.Profit"}}},
}
FILES = {
    "own/__init__.py": "",
    "own/net.py": "class Net:\n    scale = 1\n",
    "own/checks.py": "from own.limits import LIMIT\n\n\nclass Fair:\n    limit = LIMIT\n",
    "own/limits.py": "LIMIT = 1\n",
    "own/metrics.py": "from . import prices\n\n\nclass Profit:\n    price = prices.PRICE\n",
    "own/prices.py": "PRICE = 1\n",
    "own/table.json": "{}",
    "other/__init__.py": "",
    "dvc.yaml": "stages: {}\n",
}


@pytest.fixture
def commit(git_repo: Git) -> str:
    """A commit with a network, a check, a metric, and what both import."""
    for name, text in FILES.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)
    git_repo("add", ".")
    git_repo("commit", "--quiet", "--message", "x")
    return git_repo("rev-parse", "HEAD")


def _decides(commit: str, after: dict[str, Any] = VALUES, before: dict[str, Any] = VALUES) -> dict[str, bool]:
    return {each["file"]: each["decides"] for each in list_changed_code(before, after, commit)}


def test_code_that_is_the_same_is_no_change(commit: str) -> None:
    assert list_changed_code(VALUES, VALUES, commit) == []


@pytest.mark.parametrize(
    ("file", "decides"),
    [
        ("own/net.py", False),
        ("own/checks.py", True),
        ("own/limits.py", True),
        ("own/metrics.py", True),
        ("own/prices.py", True),
        ("own/__init__.py", True),  # it runs whenever a check is imported
        ("own/table.json", False),
        ("dvc.yaml", False),
    ],
)
def test_what_checks_and_metrics_consist_of_decides_and_the_rest_is_shown(
    commit: str, file: str, decides: bool
) -> None:
    Path(file).write_text(FILES[file] + "VALUE = 2\n")
    assert _decides(commit) == {file: decides}


def test_a_file_outside_the_trusted_packages_is_not_the_gates_business(commit: str) -> None:
    Path("other/__init__.py").write_text("VALUE = 2\n")
    assert _decides(commit) == {}


def test_comments_and_spaces_are_shown_and_decide_nothing(commit: str) -> None:
    Path("own/limits.py").write_text("# A limit.\nLIMIT =  1\n")
    assert _decides(commit) == {"own/limits.py": False}


def test_a_new_file_counts_once_a_check_imports_it_and_so_does_one_that_is_gone(commit: str) -> None:
    Path("own/more.py").write_text("MORE = 1\n")
    assert _decides(commit) == {"own/more.py": False}  # not tracked yet
    Path("own/limits.py").write_text("from own.more import MORE as LIMIT\n")
    assert _decides(commit) == {"own/limits.py": True, "own/more.py": True}
    Path("own/prices.py").unlink()
    assert _decides(commit)["own/prices.py"] is True


def test_a_check_that_is_taken_out_of_the_lock_still_decides_by_its_former_code(commit: str) -> None:
    Path("own/limits.py").write_text("LIMIT = 2\n")
    assert _decides(commit, {**VALUES, "gate": {}}) == {"own/limits.py": True}
    assert _decides(commit, {**VALUES, "gate": {}}, {**VALUES, "gate": {}}) == {"own/limits.py": False}


@pytest.mark.parametrize(
    "text",
    [
        "import importlib\n",
        "from importlib import resources\n",
        "TABLE = open('own/table.json').read()\n",
        "import json\nTABLE = json.loads('1')\n",
        "VALUE = __import__('own.net')\n",
        "what is this?\n",
    ],
)
def test_of_a_module_that_may_read_what_no_import_names_all_of_the_package_decides(
    commit: str, git_repo: Git, text: str
) -> None:
    Path("own/limits.py").write_text(text)
    git_repo("commit", "--quiet", "--all", "--message", "y")
    Path("own/table.json").write_text('{"limit": 9}')
    assert _decides("HEAD") == {"own/table.json": True}


def test_the_difference_is_unified_and_cut_with_what_decides_first(
    commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("own/limits.py").write_text("LIMIT = 2\n")
    Path("dvc.yaml").write_text("stages: {}\nplots: []\nvars: []\n")
    rule, other = list_changed_code(VALUES, VALUES, commit)
    assert (rule["file"], rule["lines"], rule["more"]) == (
        "own/limits.py",
        ["@@ -1 +1 @@", "-LIMIT = 1", "+LIMIT = 2"],
        0,
    )
    assert (other["file"], len(other["lines"]), other["more"]) == ("dvc.yaml", 4, 0)
    monkeypatch.setattr(code_change, "MAX_DIFF_LINES", 5)
    rule, other = list_changed_code(VALUES, VALUES, commit)
    assert (len(rule["lines"]), rule["more"], len(other["lines"]), other["more"]) == (3, 0, 2, 2)
    assert list_code_rules([rule, other]) == [
        {"key": "code: own/limits.py", "before": rule["before"], "after": rule["after"], "weaker": True}
    ]
    assert rule["before"] != rule["after"]


def test_a_module_of_one_file_is_compared_too(git_repo: Git) -> None:
    Path("own.py").write_text("class Fair:\n    limit = 1\n")
    git_repo("add", ".")
    git_repo("commit", "--quiet", "--message", "x")
    values = {"code": {"own": "sha256:1"}, "gate": {"checks": {"fair": {"_target_": "own.Fair"}}}}
    Path("own.py").write_text("class Fair:\n    limit = 2\n")
    assert _decides("HEAD", values, values) == {"own.py": True}


def test_an_installed_package_is_told_by_its_hashes(commit: str) -> None:
    def installed(digest: str, **values: Any) -> dict[str, Any]:
        return {"code": {"bought": f"sha256:{digest}"}, **values}

    (found,) = list_changed_code(installed("1"), installed("2"), commit)
    assert found["file"] == "bought (installed; not in this repository)"
    assert (found["before"], found["after"], found["decides"]) == ("sha256:1", "sha256:2", False)
    checks = {"gate": {"checks": {"fair": {"_target_": "bought.Fair"}}}}
    (found,) = list_changed_code(installed("1"), installed("2", **checks), commit)
    assert found["decides"] is True
    assert list_changed_code(installed("1"), installed("1"), commit) == []
