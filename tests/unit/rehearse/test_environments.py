"""What a hostile contributor gets who edits a workflow on a branch of their own: nothing that may write."""

from typing import Any

import pytest
import yaml
from rehearse.bare import git
from rehearse.environments import Environment
from rehearse.forge import Forge
from rehearse.runner import Runner
from rehearse.runs import Trigger
from rehearse.workflow import Workflow
from rehearse.world import ENVIRONMENTS

from tests.conftest import ROOT

TRIGGERS = {
    "a push to a branch": ("push", "refs/heads/work"),
    "a push of a tag called main": ("push", "refs/tags/main"),
    "a branch whose name ends in main": ("push", "refs/heads/work/main"),
    "started by hand on a branch": ("workflow_dispatch", "refs/heads/work"),
    "a pull request": ("pull_request", "refs/pull/1/merge"),
}
PRINT = {"run": 'echo "$ALL"', "env": {"ALL": "${{ toJSON(secrets) }}"}}
MAIN = ("issue_comment", "refs/heads/main")


@pytest.fixture
def runner(runner: Runner) -> Runner:
    """Each environment of the repository holds a secret; the repository itself has the one that may be read."""
    runner.secrets = {"DVC_READ": "readable"}
    runner.environments = {name: Environment(("main",), {f"HELD by {name}": "writable"}) for name in ENVIRONMENTS}
    return runner


def _edited() -> Workflow:
    """Return lock.yml on every event, its jobs printing all secrets, and jobs that ask for any other environment."""
    jobs: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows/lock.yml").read_text(encoding="utf-8"))["jobs"]
    own = {name: {key: value for key, value in job.items() if key == "environment"} for name, job in jobs.items()}
    asked = {f"asks-{number}": {"environment": name} for number, name in enumerate((*ENVIRONMENTS, "new"))}
    common = {"runs-on": "ubuntu-24.04", "permissions": {}, "steps": [PRINT]}
    values = {"on": list({event for event, _ in TRIGGERS.values()}), "jobs": {}}
    values["jobs"] = {name: {**common, **more} for name, more in {**own, **asked}.items()}
    return Workflow.read("lock.yml", yaml.safe_dump(values))


def _log(forge: Forge, runner: Runner, trigger: tuple[str, str], *, is_fork: bool = False) -> str:
    sha = git(forge.place(), "rev-parse", "main")
    return runner.run(_edited(), Trigger(trigger[0], {}, sha, trigger[1], "writer", is_fork)).log


@pytest.mark.parametrize("kind", TRIGGERS)
def test_an_edited_workflow_on_a_branch_reads_nothing_of_an_environment(
    forge: Forge, runner: Runner, kind: str
) -> None:
    log = _log(forge, runner, TRIGGERS[kind])
    assert "HELD" not in log
    assert '"DVC_READ"' in log  # so it may be able to do no more than read
    name = TRIGGERS[kind][1].removeprefix("refs/heads/")
    refusal = f'Branch "{name}" is not allowed to deploy to merit/write due to environment protection rules.'
    assert log.count(refusal) == 2  # lock.yml's own job, and one that was added


def test_a_forks_edited_workflow_reads_nothing_at_all(forge: Forge, runner: Runner) -> None:
    runner.environments["merit/write"] = Environment(("refs/pull/*/merge",), {"HELD": "by mistake"})
    log = _log(forge, runner, TRIGGERS["a pull request"], is_fork=True)
    assert "HELD" not in log
    assert "DVC_READ" not in log


def test_main_reads_what_its_environments_hold(forge: Forge, runner: Runner) -> None:
    log = _log(forge, runner, MAIN)
    assert [name for name in ENVIRONMENTS if f'"HELD by {name}"' not in log] == []


def test_an_environment_that_nobody_set_up_admits_every_branch(forge: Forge, runner: Runner) -> None:
    """So it does at GitHub: whoever names it first makes it, and what it is given later everybody reads."""
    _log(forge, runner, MAIN)
    runner.environments["new"].secrets["HELD"] = "given later"
    assert '"HELD"' in _log(forge, runner, TRIGGERS["a push to a branch"])


@pytest.mark.parametrize(
    ("pattern", "ref", "admits"),
    [
        ("main", "refs/heads/main", True),
        ("*", "refs/heads/work", True),
        ("*", "refs/heads/a/b", False),
        ("main", "refs/pull/1/merge", False),
        ("refs/pull/*/merge", "refs/pull/1/merge", True),
        ("main", "refs/heads/Main", False),
    ],
)
def test_a_rule_is_held_against_the_ref_of_the_run(pattern: str, ref: str, admits: bool) -> None:
    assert Environment((pattern,)).admits(Trigger("push", {}, "", ref, "writer")) is admits
