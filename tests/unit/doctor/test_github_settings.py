"""What doctor finds at GitHub, and what it says that it can't see."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from merit import github
from merit.doctor import github_settings
from merit.github import GitHubApi, GitHubError
from tests.conftest import ROOT

Git = Callable[..., str]
ENVIRONMENTS = ("merit/release", "merit/write", "production", "staging")
OPEN: dict[str, Any] = {"protected_branches": False, "custom_branch_policies": True}
POLICIES = "environments/{}/deployment-branch-policies?per_page=100"


@pytest.fixture
def clone(git_repo: Git) -> Path:
    """A clone of a repository at GitHub that has the workflows, owners and environments."""
    for folder in (".github", "conf/environment"):
        shutil.copytree(ROOT / folder, folder)
    Path(".github/workflows/docs.yml").unlink()  # publishes merit's own site; a project doesn't have it
    Path(".github/CODEOWNERS").write_text("* @house/owners\n", encoding="utf-8")
    git_repo("remote", "add", "origin", "git@github.com:house/model.git")
    return Path.cwd()


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What GitHub answers by path; here all is as docs/how-to/pull-requests.md says."""
    main = {"branch_policies": [{"name": "main", "type": "branch"}]}
    given: dict[str, Any] = {
        "/repos/house/model": {"default_branch": "main"},
        "codeowners/errors": {"errors": []},
        "environments?per_page=100": {
            "environments": [{"name": name, "deployment_branch_policy": OPEN} for name in ENVIRONMENTS]
        },
        "actions/secrets?per_page=100&page=1": {"secrets": [{"name": "DVC_READ"}]},
        **{POLICIES.format(name.replace("/", "%2F")): main for name in ENVIRONMENTS},
    }

    def call(self: GitHubApi, method: str, path: str, body: object = None, *, tries: int = 1) -> Any:
        found = given.get(path, 404)
        if isinstance(found, int):
            raise GitHubError(f"GitHub: {method} {path}: {found}", found)
        return json.loads(json.dumps(found))

    monkeypatch.setattr(GitHubApi, "send_request", call)
    return given


def _said() -> list[str]:
    return [f"{each.state}: {each.name}: {each.found}" for each in github_settings.check_workflows()]


LAST = "note: github: not looked at: rules of main and of tags, an organisation's secrets, approval of forks' runs"


def test_what_is_set_up_as_the_page_says_is_well(clone: Path, answers: dict[str, Any]) -> None:
    assert _said() == [
        "ok: environments: merit/release, merit/write, production, staging: main alone",
        "ok: secrets: the repository itself holds none that can write",
        LAST,
    ]


def _environment(answers: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in answers["environments?per_page=100"]["environments"] if each["name"] == name)


def _policies(*names: str, kind: str = "branch") -> dict[str, Any]:
    return {"branch_policies": [{"name": name, "type": kind} for name in names]}


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (lambda has: has["environments?per_page=100"]["environments"].pop(1),
         "'merit/write' is not there; the first job that names it makes one that is open to all branches"),
        (lambda has: _environment(has, "merit/write").update(deployment_branch_policy=None),
         "'merit/write' is open to all branches"),
        (lambda has: _environment(has, "production").update(
            deployment_branch_policy={"protected_branches": True, "custom_branch_policies": False}),
         "'production' is open to every protected branch, and to all where none is protected"),
        (lambda has: has.update({POLICIES.format("staging"): _policies("main", "release/*")}),
         "'staging' is open to release/* too"),
        (lambda has: has.update({POLICIES.format("staging"): _policies("main", kind="tag")}),
         "'staging' is open to main too"),
        (lambda has: has.update({POLICIES.format("staging"): _policies()}), "'staging' is not open to main"),
    ],
)  # fmt: skip
def test_an_environment_that_admits_others_than_main_is_missing(
    clone: Path, answers: dict[str, Any], edit: Callable[[dict[str, Any]], object], found: str
) -> None:
    edit(answers)
    assert f"missing: environments: {found}" in _said()


def test_a_secret_that_can_write_does_not_belong_to_the_repository(clone: Path, answers: dict[str, Any]) -> None:
    answers["actions/secrets?per_page=100&page=1"]["secrets"] += [{"name": "SIGNING_KEY"}, {"name": "OTHER"}]
    assert "missing: secrets: the repository itself holds SIGNING_KEY, and every branch's workflow reads it" in _said()


def test_secrets_that_may_not_be_listed_are_said_to_be_unseen(clone: Path, answers: dict[str, Any]) -> None:
    answers["actions/secrets?per_page=100&page=1"] = 403
    (note,) = [each for each in github_settings.check_workflows() if each.name == "secrets"]
    assert note.state == "note"
    assert note.do.startswith(
        "see that none of DVC_WRITE, MERIT_TOKEN, REGISTRY_PASSWORD, REGISTRY_USER, SIGNING_KEY is"
    )


@pytest.mark.parametrize(("status", "state"), [(404, "note"), (401, "note"), (0, "missing"), (500, "missing")])
def test_what_github_does_not_show_is_not_called_well(
    clone: Path, answers: dict[str, Any], status: int, state: str
) -> None:
    answers["/repos/house/model"] = status
    (found,) = github_settings.check_workflows()
    assert (found.state, found.name) == (state, "github")


def test_owners_who_are_nobody_and_another_default_branch_are_told(clone: Path, answers: dict[str, Any]) -> None:
    answers["/repos/house/model"]["default_branch"] = "trunk"
    answers["codeowners/errors"]["errors"] = [{"line": 1, "kind": "Unknown owner", "suggestion": "make the team"}]
    assert _said()[:2] == [
        "missing: owners: .github/CODEOWNERS:1: Unknown owner, so GitHub passes the line over",
        "missing: github: the default branch is 'trunk'",
    ]
    shutil.copy(ROOT / ".github/CODEOWNERS", ".github/CODEOWNERS")
    assert _said()[0] == ("missing: owners: .github/CODEOWNERS names @OWNER/…, who is nobody, so nothing has an owner")
    Path(".github/CODEOWNERS").unlink()
    assert _said()[0] == "missing: owners: no .github/CODEOWNERS"


def test_elsewhere_than_at_github_nobody_is_asked(clone: Path, git_repo: Git) -> None:
    git_repo("remote", "set-url", "origin", "https://gitlab.com/house/model.git")
    (found,) = github_settings.check_workflows()
    assert (found.state, found.found) == ("note", "'origin' is not at github.com, where the workflows run")
    shutil.rmtree(".github/workflows")
    assert list(github_settings.check_workflows()) == []


@pytest.mark.parametrize(
    ("origin", "repository"),
    [
        ("https://github.com/house/model", "house/model"),
        ("https://user:token@github.com/house/model.git", "house/model"),
        ("ssh://git@github.com/house/my.model.git", "house/my.model"),
        ("git@github.com:house/model.git", "house/model"),
        ("https://github.com.example.org/house/model", None),
        ("https://example.org/github.com/house/model", None),
        ("https://github.com/house", None),
        ("/srv/github.com:house/model", None),
    ],
)
def test_the_repository_is_known_by_its_remote(
    monkeypatch: pytest.MonkeyPatch, origin: str, repository: str | None
) -> None:
    monkeypatch.delenv("GITHUB_API_URL", raising=False)
    api = GitHubApi.from_remote(origin)
    assert (api and (api.url, api.repository)) == (repository and (github.PUBLIC_URL, repository))
