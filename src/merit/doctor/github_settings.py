"""Checks of the GitHub settings on which the workflows rely: code owners, deployment environments and secrets.

These settings are not in the repository: they are read from GitHub's API. Settings that the API doesn't show are
listed in a note.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from merit import artifacts
from merit.console.findings import Finding
from merit.doctor import git_repository
from merit.github import GitHubApi, GitHubError

CHECK_NAME = "github"
WORKFLOWS_FOLDER, OWNERS_FILE = Path(".github/workflows"), Path(".github/CODEOWNERS")
OWNER_PLACEHOLDER = "@OWNER/"
MAIN_BRANCH = "main"
READ_ONLY_SECRETS = {"DVC_READ", "GITHUB_TOKEN"}
"""Secrets that the code of any branch may read, because they grant no write access."""
DOCS_HINT = "docs/how-to/pull-requests.md says how"
NO_ACCESS_STATUSES = {401, 403, 404}
"""GitHub's status codes for a token without access; a private repository answers 404."""


def check_workflows() -> Iterator[Finding]:
    """Check that GitHub reserves environments and secrets with write access for main."""
    origin = git_repository.get_origin_url()
    if origin is None or not WORKFLOWS_FOLDER.is_dir():
        return
    api = GitHubApi.from_remote(origin)
    if api is None:
        yield Finding(
            CHECK_NAME, "note", "'origin' is not at github.com, where the workflows run", f"elsewhere: {DOCS_HINT}"
        )
        return
    try:
        yield from _check_owners(api)
        yield from _check_default_branch(api.send_request("GET", f"/repos/{api.repository}", tries=1))
        yield from _check_environments(api)
    except GitHubError as error:
        yield _report_unreadable(error)
        return
    yield from _check_secrets(api)
    yield Finding(
        CHECK_NAME,
        "note",
        "not looked at: rules of main and of tags, an organisation's secrets, approval of forks' runs",
        DOCS_HINT,
    )


def _report_unreadable(error: GitHubError) -> Finding:
    if error.status in NO_ACCESS_STATUSES:
        return Finding(
            CHECK_NAME,
            "note",
            f"environments can't be seen ({error})",
            "set GITHUB_TOKEN to a token that may read 'actions'",
        )
    return Finding(CHECK_NAME, "missing", str(error), "see that GitHub can be reached")


def _check_owners(api: GitHubApi) -> Iterator[Finding]:
    """Check that CODEOWNERS exists and has no line that GitHub ignores, such as one with an unknown owner."""
    if not OWNERS_FILE.is_file():
        yield Finding("owners", "missing", f"no {OWNERS_FILE}", f"let what decides have owners; {DOCS_HINT}")
    elif OWNER_PLACEHOLDER in OWNERS_FILE.read_text(encoding="utf-8"):
        message = f"{OWNERS_FILE} names {OWNER_PLACEHOLDER}…, who is nobody, so nothing has an owner"
        yield Finding("owners", "missing", message, "name who answers for the model")
    else:
        errors = api.send_request("GET", "codeowners/errors", tries=1)["errors"]
        for error in errors:
            message = f"{OWNERS_FILE}:{error['line']}: {error['kind']}, so GitHub passes the line over"
            yield Finding("owners", "missing", message, str(error.get("suggestion") or "correct it"))


def _check_default_branch(response: dict[str, Any]) -> Iterator[Finding]:
    if response["default_branch"] != MAIN_BRANCH:
        message = f"the default branch is {response['default_branch']!r}"
        yield Finding(CHECK_NAME, "missing", message, f"let it be {MAIN_BRANCH}: verdicts are about merges into that")


def find_environment_secrets() -> dict[str, set[str]]:
    """Return the environments of the workflows' jobs, each with the secrets for write access that its jobs read."""
    environments: dict[str, set[str]] = {}
    for file in sorted(WORKFLOWS_FOLDER.glob("*.yml")):
        for job in yaml.safe_load(file.read_text(encoding="utf-8")).get("jobs", {}).values():
            secrets = set(re.findall(r"secrets\.(\w+)", yaml.safe_dump(job))) - READ_ONLY_SECRETS
            for name in _list_names(job.get("environment")):
                environments.setdefault(name, set()).update(secrets)
    return environments


def _list_names(environment: Any) -> list[str]:
    """Return the possible names of a job's environment; for an expression, all environments that conf/ declares."""
    name = environment.get("name") if isinstance(environment, dict) else environment
    if name is None:
        return []
    return [file.stem for file in (artifacts.CONF / "environment").glob("*.yaml")] if "${{" in name else [name]


def _check_environments(api: GitHubApi) -> Iterator[Finding]:
    response = api.send_request("GET", "environments?per_page=100", tries=1)
    existing = {environment["name"].casefold(): environment for environment in response["environments"]}
    restricted = []
    for name in sorted(find_environment_secrets()):
        fault = _describe_exposure(api, existing.get(name.casefold()))
        if fault:
            yield Finding(
                "environments", "missing", f"'{name}' {fault}", f"let it admit {MAIN_BRANCH} alone; {DOCS_HINT}"
            )
        else:
            restricted.append(name)
    if restricted:
        yield Finding("environments", "ok", f"{', '.join(restricted)}: {MAIN_BRANCH} alone")


def _describe_exposure(api: GitHubApi, environment: dict[str, Any] | None) -> str:
    """Return why branches other than main can use an environment; empty if they can't."""
    if environment is None:
        return "is not there; the first job that names it makes one that is open to all branches"
    policy = environment["deployment_branch_policy"]
    if policy is None:
        return "is open to all branches"
    if not policy["custom_branch_policies"]:
        return "is open to every protected branch, and to all where none is protected"
    path = f"environments/{quote(environment['name'], safe='')}/deployment-branch-policies?per_page=100"
    rules = {
        (rule["name"], rule.get("type", "branch")) for rule in api.send_request("GET", path, tries=1)["branch_policies"]
    }
    if other_branches := sorted(name for name, _ in rules - {(MAIN_BRANCH, "branch")}):
        return f"is open to {', '.join(other_branches)} too"
    return "" if rules else f"is not open to {MAIN_BRANCH}"


def _check_secrets(api: GitHubApi) -> Iterator[Finding]:
    """Check that no secret for write access is a repository secret, because workflows of every branch read those."""
    writable = sorted(set().union(*find_environment_secrets().values()))
    try:
        names = {secret["name"] for secret in api.iter_items("actions/secrets")}
    except GitHubError:
        remedy = f"see that none of {', '.join(writable)} is among them; they belong to environments"
        yield Finding("secrets", "note", "those of the repository itself can't be seen with this token", remedy)
        return
    if misplaced := [name for name in writable if name in names]:
        message = f"the repository itself holds {', '.join(misplaced)}, and every branch's workflow reads it"
        yield Finding("secrets", "missing", message, f"move it into an environment, and create it again; {DOCS_HINT}")
    else:
        yield Finding("secrets", "ok", "the repository itself holds none that can write")
