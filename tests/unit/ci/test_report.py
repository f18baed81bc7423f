import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rehearse.api import BOT
from rehearse.forge import Forge, Pull

from merit import github
from merit.ci import report as post
from merit.errors import MeritError
from merit.github import GitHubApi, GitHubError, pull_requests
from tests.conftest import ROOT
from tests.unit.ci.conftest import REPOSITORY, push

FORK = "stranger/model"


def _check(name: str, verdict: str) -> dict[str, Any]:
    return {"name": name, "verdict": verdict, "found": "0.7", "allowed": "at least 0.6"}


REPORT = {"form": 1, "verdict": "pass", "model": "flights", "task": "binary", "checks": [_check("floor", "pass")]}
ALL = {"pull-requests": "write", "issues": "read", "statuses": "write", "actions": "read", "contents": "write"}


@pytest.fixture
def forge(pull_forge: Forge) -> Forge:
    return pull_forge


@pytest.fixture
def told(forge: Forge) -> dict[str, Any]:
    """The event: a run of the pull request's head has ended well."""
    pull = forge.pulls[0]
    return {
        "repository": {"full_name": REPOSITORY, "default_branch": "main"},
        "workflow_run": {
            "id": 7,
            "event": "pull_request",
            "conclusion": "success",
            "created_at": forge.now(),
            "head_sha": pull.sha,
            "head_branch": pull.head,
            "head_repository": {"full_name": REPOSITORY},
            "html_url": "https://forge.invalid/runs/7",
        },
    }


@pytest.fixture
def report(forge: Forge, told: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run `merit report` for an artifact; `permissions` are its token's."""
    monkeypatch.setattr(github.time, "sleep", lambda _: None)
    monkeypatch.setattr(post.render, "render_markdown", lambda found: f"## {found['verdict']}\n")

    def run(artifact: object = REPORT, *, permissions: dict[str, str] = ALL) -> str:
        file, event = tmp_path / "gate.json", tmp_path / "event.json"
        if artifact is not None:
            file.write_text(json.dumps(artifact), encoding="utf-8")
        event.write_text(json.dumps(told), encoding="utf-8")
        variables = {
            "API_URL": forge.url,
            "REPOSITORY": REPOSITORY,
            "TOKEN": forge.grant(permissions),
            "EVENT_PATH": event,
        }
        for name, value in variables.items():
            monkeypatch.setenv(f"GITHUB_{name}", str(value))
        return post.post_report(file)

    return run


def _status(forge: Forge) -> tuple[str, str, str]:
    return forge.statuses[-1]["context"], forge.statuses[-1]["state"], forge.statuses[-1]["description"]


def _bodies(forge: Forge) -> list[str]:
    return [comment["body"] for comment in forge.comments.get(1, [])]


def test_a_pass_of_a_run_that_succeeded_is_a_success(forge: Forge, report: Callable[..., str]) -> None:
    assert report() == "#1: status merit/gate success (pass: may merge: 1 check passed), comment made"
    assert _status(forge) == ("merit/gate", "success", "pass: may merge: 1 check passed")
    assert forge.statuses[-1]["sha"] == forge.pulls[0].sha
    assert _bodies(forge) == [f"{post.COMMENT_MARK}\n## pass\n"]


def test_a_second_report_changes_the_comment_of_the_first(forge: Forge, report: Callable[..., str]) -> None:
    report()
    assert report({**REPORT, "verdict": "inconclusive"}).endswith("comment updated")
    assert _bodies(forge) == [f"{post.COMMENT_MARK}\n## inconclusive\n"]


@pytest.mark.parametrize("verdict", ["fail", "inconclusive"])
def test_what_did_not_pass_is_a_failure_that_names_its_checks(
    forge: Forge, report: Callable[..., str], verdict: str
) -> None:
    report({**REPORT, "verdict": verdict, "checks": [_check(f"check {number}", verdict) for number in range(40)]})
    context, state, description = _status(forge)
    assert (context, state) == ("merit/gate", "failure")
    assert description.startswith(f"{verdict}: check 0, check 1, ")
    assert len(description) == 140


def test_a_pass_of_a_run_that_failed_is_an_error_that_names_the_step(
    forge: Forge, told: dict[str, Any], report: Callable[..., str]
) -> None:
    told["workflow_run"]["conclusion"] = "failure"
    steps = [{"name": "lint", "conclusion": "success"}, {"name": "lock `x` <b>\n@all", "conclusion": "failure"}]
    forge.jobs[7] = [{"name": "gate", "conclusion": "failure", "steps": steps}]
    report()
    assert _status(forge) == ("merit/gate", "error", "no verdict: stopped at: lock `x` <b> @all")
    assert "at the step `lock x <b> @all`. What was found" in _bodies(forge)[0].replace("  ", " ")
    assert "<details><summary>The gate's own report, which does not count" in _bodies(forge)[0]


def test_without_a_report_there_is_no_success(forge: Forge, report: Callable[..., str]) -> None:
    report(None)
    assert _status(forge) == ("merit/gate", "error", "no verdict: there is none")


def test_whatever_a_report_does_to_its_reader_it_gets_no_success(
    forge: Forge, report: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> str:
        raise RecursionError

    monkeypatch.setattr(post.render, "render_markdown", fail)
    report()
    assert _status(forge) == ("merit/gate", "error", "no verdict: unreadable report: RecursionError")


def test_a_text_that_no_comment_holds_gets_no_success(
    forge: Forge, report: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(post.render, "render_markdown", lambda _: "x" * 65_000)
    report()
    assert _status(forge)[1:] == ("error", "no verdict: its text has 65,000 characters, more than a comment holds")


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "large", "binary"])
def test_a_file_that_is_no_plain_text_is_not_read(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "gate.json"
    if kind == "link":
        (tmp_path / "secret").write_text("{}")
        file.symlink_to(tmp_path / "secret")
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    else:
        file.write_bytes(b" " * (post.schema.MAX_REPORT_BYTES + 1) if kind == "large" else b"\xff\xfe")
    with pytest.raises(MeritError, match=r"can't be read|no plain file|larger than 8,000,000 bytes|not UTF-8"):
        post.read_untrusted_text(file, post.schema.MAX_REPORT_BYTES)


@pytest.mark.parametrize("conclusion", sorted(pull_requests.NO_VERDICT_CONCLUSIONS))
def test_a_run_that_was_not_to_say_anything_is_not_reported(
    forge: Forge, told: dict[str, Any], report: Callable[..., str], conclusion: str
) -> None:
    told["workflow_run"]["conclusion"] = conclusion
    assert report() == f"nothing to tell: the run was {conclusion}"
    assert (forge.statuses, forge.comments) == ([], {})


def test_a_branch_that_has_moved_on_is_left_to_its_newer_run(
    forge: Forge, told: dict[str, Any], report: Callable[..., str], tmp_path: Path
) -> None:
    push(forge, tmp_path / "clone", "change")
    forge.refresh(forge.pulls[0])
    assert report().endswith("its newer run reports")
    assert (forge.statuses, forge.comments) == ([], {})


def test_what_asks_into_another_branch_gets_no_status(forge: Forge, report: Callable[..., str]) -> None:
    forge.pulls[0].base = "dev"
    assert report() == "nothing to tell: #1 asks into 'dev', and only main has a gate"
    assert (forge.statuses, forge.comments) == ([], {})


DOUBTS: dict[str, Callable[[Forge, Pull], object]] = {
    "open": lambda forge, other: None,
    "closed while its run went on": lambda forge, other: forge.shut(other),
    "asked into main since": lambda forge, other: forge.retarget(other, "main"),
    "asked into main by its base's end": lambda forge, other: forge.retarget(
        other, "main", "automatic_base_change_succeeded"
    ),
}


@pytest.mark.parametrize("kind", DOUBTS)
def test_a_commit_that_another_branch_was_asked_for_too_gets_no_success(
    forge: Forge, report: Callable[..., str], kind: str
) -> None:
    other = forge.open("change", title="Change", author="writer", base="main")
    other.base = "dev"
    DOUBTS[kind](forge, other)
    report()
    context, state, description = _status(forge)
    assert (context, state) == ("merit/gate", "error")
    assert description.startswith("no verdict: #2 asked for ")
    assert "push a new commit" in _bodies(forge)[0]


@pytest.mark.parametrize("kind", [kind for kind in DOUBTS if kind != "open"])
def test_what_ended_long_before_the_run_began_is_no_doubt(
    forge: Forge, told: dict[str, Any], report: Callable[..., str], kind: str
) -> None:
    other = forge.open("change", title="Change", author="writer", base="main")
    other.base = "dev"
    DOUBTS[kind](forge, other)
    forge.minutes = 10
    told["workflow_run"]["created_at"] = forge.now()
    report()
    assert _status(forge)[1] == "success"


def test_more_events_than_can_be_read_are_a_doubt(forge: Forge, report: Callable[..., str]) -> None:
    forge.events[1] = [{"event": "labeled", "created_at": forge.now()}] * pull_requests.MAX_ITEMS
    forge.retarget(forge.pulls[0], "main")
    report()
    assert _status(forge)[1:] == ("error", f"no verdict: {pull_requests.TOO_MANY_ITEMS}")


def test_a_fork_is_advised_under_another_name(
    forge: Forge, told: dict[str, Any], report: Callable[..., str], tmp_path: Path
) -> None:
    forge.fork(FORK)
    push(forge, tmp_path / "clone", "change", repository=FORK)
    pull = forge.open("change", title="Theirs", author="stranger", repository=FORK)
    told["workflow_run"].update(head_sha=pull.sha, head_repository={"full_name": FORK})
    assert report().startswith("#2: status merit/advisory success")
    assert "> **Advisory.**" in forge.comments[2][0]["body"]
    assert not [each for each in forge.statuses if each["context"] == "merit/gate"]


def test_a_comment_by_another_hand_is_not_taken_for_ours(forge: Forge, report: Callable[..., str]) -> None:
    forge.say(1, f"{post.COMMENT_MARK}\nforged", {"login": "stranger", "type": "User"})
    forge.say(1, f"{post.COMMENT_MARK}\nforged", {"login": "other[bot]", "type": "Bot"})
    assert report().endswith("comment made")
    assert len(_bodies(forge)) == 3


def test_our_comment_is_found_behind_many_others(forge: Forge, report: Callable[..., str]) -> None:
    for number in range(250):
        forge.say(1, f"comment {number}", {"login": "writer", "type": "User"})
    forge.say(1, f"{post.COMMENT_MARK}\nours", BOT)
    assert report().endswith("comment updated")


def test_faults_and_limits_are_waited_out_and_one_comment_is_made(forge: Forge, report: Callable[..., str]) -> None:
    forge.faults = [502, 429, 503]
    assert report().endswith("comment made")
    assert len(_bodies(forge)) == 1


def test_a_forge_that_stays_broken_is_told_and_nothing_is_a_success(forge: Forge, report: Callable[..., str]) -> None:
    forge.faults = [500] * 100
    with pytest.raises(GitHubError, match=r"^GitHub: GET /repos/house/model/pulls: 500 planted$"):
        report()
    assert forge.statuses == []


def test_a_token_without_the_permission_is_told(forge: Forge, report: Callable[..., str]) -> None:
    with pytest.raises(GitHubError, match=r"POST /repos/house/model/statuses/\w+: 403 Resource not accessible"):
        report(permissions={"pull-requests": "write", "issues": "read"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"event": "push"}, "the run is of 'push'; only those of pull_request report"),
        ({"head_repository": None}, "the event is no workflow_run"),
        ({"head_repository": {"full_name": "../x/y"}}, "allowed: owner/name"),
        ({"id": "seven"}, "the event is no workflow_run"),
    ],
)
def test_an_event_of_another_kind_is_told(
    told: dict[str, Any], report: Callable[..., str], change: dict[str, Any], message: str
) -> None:
    told["workflow_run"].update(change)
    with pytest.raises(MeritError, match=message):
        report()


def test_outside_of_a_workflow_it_says_where_it_belongs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("GITHUB_"):
            monkeypatch.delenv(name)
    with pytest.raises(MeritError, match=r"^GITHUB_API_URL: not set; this command is for a step of a GitHub workflow"):
        post.post_report(tmp_path / "gate.json")


@pytest.mark.parametrize("url", ["http://example.org", "file:///etc", "ftp://127.0.0.1"])
def test_the_token_goes_nowhere_without_encryption(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    for name, value in {"API_URL": url, "REPOSITORY": "a/b", "TOKEN": "t"}.items():
        monkeypatch.setenv(f"GITHUB_{name}", value)
    with pytest.raises(MeritError, match="allowed: https, or http on loopback"):
        GitHubApi.from_workflow()


def test_no_answer_is_told_without_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(github.time, "sleep", lambda _: None)
    with pytest.raises(GitHubError, match="no answer") as raised:
        GitHubApi("http://127.0.0.1:9", "a/b", "a-secret").send_request("GET", "pulls")
    assert "a-secret" not in str(raised.value)


PINNED = {
    ("report", "report"): "merit.ci.report",
    ("report", "plan"): "merit.ci.plan_comment",
    ("lock", None): "merit.ci.lock",
    ("train", None): "merit.ci.train",
}


@pytest.mark.parametrize(("workflow", "job"), PINNED)
def test_a_workflow_that_checks_nothing_out_installs_what_its_command_imports(workflow: str, job: str | None) -> None:
    jobs = yaml.safe_load((ROOT / f".github/workflows/{workflow}.yml").read_text(encoding="utf-8"))["jobs"]
    asked = jobs.values() if job is None else [jobs[job]]
    (command,) = [s["run"] for each in asked for s in each["steps"] if "pip install" in s.get("run", "")]
    pins = {word for word in command.split() if "==" in word}
    code = f"import sys, merit.cli, {PINNED[workflow, job]}; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={
        "PYTHONPATH": str(ROOT / "src"), "PATH": os.environ["PATH"]}).stdout.split()  # fmt: skip
    loaded = {name.partition(".")[0] for name in shown}
    allowed = {pin.partition("==")[0].replace("pyyaml", "yaml").replace("-", "_") for pin in pins}
    ours = (ROOT / "requirements.lock").read_text(encoding="utf-8").lower().replace("pyyaml", "yaml")
    packages = {line.partition("==")[0].replace("-", "_") for line in ours.splitlines()}
    assert loaded & packages <= allowed
