import json
from collections.abc import Callable
from typing import Any

import pytest

from merit.config import compose
from merit.config import lock as locks
from merit.config.schema import Lock
from merit.console.tables import DEFAULT_WIDTH
from merit.gate import freshness, judge
from merit.registry import mlflow, rebuild
from merit.registry.mlflow import ProjectionDifference
from merit.registry.tags import Version
from tests.support.versioned import Repository, report

Call = Callable[..., tuple[int, str, str]]

pytestmark = pytest.mark.usefixtures("repository")


@pytest.fixture(autouse=True)
def _is_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no conf/ here; it would say what the lock does."""
    monkeypatch.setattr(compose, "compose", lambda *_, **__: locks.read_lock())


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """The gate passes everything, and MLflow is left alone; what was asked of the gate."""
    asked: list[tuple[str, str | None]] = []

    def current(lock: Lock, against: str | None = None) -> None:
        asked.append(("current", against))

    def gate(lock: Lock, against: str | None = None) -> dict[str, Any]:
        asked.append(("gate", against))
        return report()

    monkeypatch.setattr(freshness, "load_current_report", current)
    monkeypatch.setattr(judge, "gate", gate)
    monkeypatch.setattr(
        mlflow, "project_to_mlflow", lambda lock, version: f"{version.name}: made as MLflow's version 1"
    )
    return asked


def test_register_makes_a_version_and_then_says_that_it_is_there(
    call: Call, repository: Repository, judged: list[tuple[str, str | None]]
) -> None:
    before = repository.git("rev-parse", "HEAD")
    repository.package(1)
    commit = repository.commit("package")[:7]
    told = "MLflow: tiny@v1: made as MLflow's version 1\n"
    assert call("register") == (0, f"tiny@v1: made, on {commit}\n{told}", "")
    assert judged == [("current", before), ("gate", before)]
    assert call("register") == (0, f"tiny@v1: is this package already, on {commit}\n{told}", "")
    code, out, err = call("register", "--json")
    assert (code, err) == (0, told)
    found = json.loads(out)
    assert (found["version"], found["made"], found["lineage"]["verdict"]) == ("tiny@v1", False, "pass")


def test_a_report_that_still_holds_is_not_asked_for_again(
    call: Call, repository: Repository, judged: list[tuple[str, str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.package(1)
    repository.commit("package")
    monkeypatch.setattr(freshness, "load_current_report", lambda lock, against: report(verdict="fail"))
    code, _, err = call("register")
    assert (code, err) == (1, "error: register: the gate does not pass this package; read reports/gate.md\n")
    assert judged == []


def test_a_branch_is_refused_with_its_name(call: Call, repository: Repository) -> None:
    repository.git("switch", "--quiet", "--create", "work")
    repository.package(1)
    repository.commit("package")
    code, out, err = call("register")
    assert (code, out) == (1, "")
    assert err == "error: register: found work; only what is on main becomes a version: merge it first\n"


def test_the_list_says_when_how_good_and_where(
    call: Call, repository: Repository, release: Callable[..., Version]
) -> None:
    release(1, auc=0.71)
    latest = release(2, auc=0.72)
    repository.declare("production", "v1", "production")
    code, out, _ = call("registry", "list")
    lines = [line.split() for line in out.splitlines() if "tiny@" in line]
    assert code == 0
    assert "pass (1, 1 waived)" in out
    assert [(line[0], line[3], line[-1]) for line in lines] == [
        ("tiny@v2", "0.7200", "no"),
        ("tiny@v1", "0.7100", "production"),
    ]
    found = json.loads(call("registry", "list", "--json")[1])
    assert [each["environments"] for each in found] == [[], ["production"]]
    assert found[0]["commit"] == latest.commit
    assert found[0]["image"] is None


def test_without_versions_the_list_says_what_makes_one(call: Call) -> None:
    code, out, _ = call("registry", "list")
    assert code == 0
    assert out == "tiny: no versions here; 'merit register' makes one, 'git fetch --tags' brings others\n"
    assert json.loads(call("registry", "list", "--json")[1]) == []


def test_a_tag_that_is_no_version_is_noted(call: Call, repository: Repository) -> None:
    repository.git("tag", "tiny@v4")
    assert call("registry", "list")[2].startswith("note: tiny@v4: its tag has no message: ")


def test_one_version_is_shown_with_its_lineage(call: Call, release: Callable[..., Version]) -> None:
    version = release(1)
    code, out, _ = call("registry", "show", "v1")
    assert code == 0
    for text in (version.lineage.package, version.lineage.dvc, version.commit, "champion: roc_auc", "none yet"):
        assert text in out
    found = json.loads(call("registry", "show", "tiny@v1", "--json")[1])
    assert found["lineage"] == version.lineage.model_dump(mode="json")
    assert found["signature"] == "none"
    assert found["commit"] == version.commit


def test_an_unknown_version_is_told_with_those_that_are_there(call: Call, release: Callable[..., Version]) -> None:
    release(1)
    code, out, err = call("registry", "show", "v9")
    assert (code, out) == (2, "")
    assert err == (
        "error: tiny@v9: no such version here; there are tiny@v1 ('git fetch --tags' brings those of others)\n"
    )


def test_the_history_is_told_on_a_terminal_and_as_json(
    call: Call, repository: Repository, release: Callable[..., Version]
) -> None:
    release(1)
    repository.declare("production", "v1", "Promote v1")
    code, out, _ = call("registry", "history", "production")
    assert code == 0
    assert "Promote v1" in out
    assert json.loads(call("registry", "history", "--json")[1])[0]["version"] == "tiny@v1"
    code, _, err = call("registry", "history", "prod")
    assert (code, err.startswith("error: history: conf/environment/prod.yaml is not in main's history")) == (2, True)


def test_two_versions_are_compared_by_parameters_data_and_metrics(
    call: Call, repository: Repository, lock: Lock, release: Callable[..., Version]
) -> None:
    release(1, auc=0.7)
    other = lock.model_copy(update={"seed": 8})
    (repository.folder / "params.yaml").write_text(locks.render_lock(other))
    release(2, auc=0.75)
    code, out, _ = call("registry", "diff", "v1", "v2")
    assert code == 1
    shown = [line.split() for line in out.splitlines()]
    assert ["data", "d" * 19, "d" * 19, "the", "same"] in shown
    assert [line[-1] for line in shown if line[:1] == ["package"]] == ["differs"]
    assert ["roc_auc", "0.7000", "0.7500", "+0.0500"] in shown
    assert [shown[-3], shown[-1]] == [["params.yaml", "tiny@v1", "tiny@v2"], ["seed", "7", "8"]]
    found = json.loads(call("registry", "diff", "tiny@v1", "tiny@v2", "--json")[1])
    assert found["config"] == [{"key": "seed", "before": "7", "after": "8"}]
    assert found["metrics"] == [{"metric": "roc_auc", "before": 0.7, "after": 0.75}]
    assert (found["hashes"]["data"]["same"], found["hashes"]["package"]["same"]) == (True, False)
    assert call("registry", "diff", "v1", "v1")[0] == 0


def test_check_exits_0_without_a_difference_and_1_with_one(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    faults: list[ProjectionDifference] = []
    monkeypatch.setattr(rebuild, "find_differences", lambda lock: faults)
    assert call("registry", "check") == (0, "MLflow shows what Git says\n", "")
    faults.append(ProjectionDifference("alias production", "no version", "tiny@v1"))
    code, out, _ = call("registry", "check")
    assert code == 1
    assert out.startswith("alias production: found no version; Git says tiny@v1\nnext: ")
    code, out, _ = call("registry", "check", "--json")
    assert (code, json.loads(out)[0]["what"]) == (1, "alias production")


def test_the_names_of_metrics_are_never_broken(
    release: Callable[..., Version], capsys: pytest.CaptureFixture[str]
) -> None:
    from merit.registry import display, queries

    release(1)
    found = queries.list_versions("tiny")[0]
    names = ("roc_auc", "average_precision", "log_loss", "calibration_error")
    image = "a-registry.example/with/a/long/path/tiny@sha256:" + "1" * 64
    display.print_versions(
        [{**found, "metrics": dict.fromkeys(names, 0.5), "image": image, "environments": ["staging"]}]
    )
    shown = capsys.readouterr().out
    assert all(name in shown for name in names)
    assert max(map(len, shown.splitlines())) <= DEFAULT_WIDTH


def test_a_version_of_which_nothing_was_waived_is_listed_with_its_checks_alone(
    release: Callable[..., Version], capsys: pytest.CaptureFixture[str]
) -> None:
    from merit.registry import display, queries

    release(1)
    image = "r.example/tiny@sha256:" + "1" * 64
    display.print_versions([{**queries.list_versions("tiny")[0], "waived": [], "image": image, "metrics": {}}])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "tiny@" in line]
    assert line.split()[3:] == ["pass", "(1)", "r.example/tiny@1111111", "no"]


def test_a_tag_made_by_hand_is_told_in_words(call: Call, repository: Repository) -> None:
    repository.git("tag", "--annotate", "--message", "tiny@v4: mine", "tiny@v4")
    repository.git("tag", "--annotate", "--message", "tiny@v5: mine\n\ncommit: 3\n", "tiny@v5")
    four, five = call("registry", "list")[2].splitlines()
    assert "its tag holds no lineage (its message holds no keys): no version that" in four
    assert "its tag holds no lineage (missing or wrong: commit, package, dvc and 9 more): no version that" in five
