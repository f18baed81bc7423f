"""Steps of release.yml and deploy.yml: find main's version, propose its promotion, list the environments to apply."""

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from merit import artifacts, git
from merit.ci.api_commits import create_branch, create_commit
from merit.config.schema import Lock
from merit.config.schema.environment import FILELESS_TARGETS
from merit.deploy import environments, main_branch, requirements
from merit.deploy.promote import promote
from merit.deploy.targets import registry
from merit.deploy.targets.interface import DesiredState
from merit.errors import MeritError, Refused
from merit.github import GitHubApi, read_event
from merit.registry import release_tags, tags
from merit.registry.tags import Version

NULL_SHA = "0" * 40
"""The sha that GitHub gives as the previous commit of a new branch."""


def find_main_version(lock: Lock) -> Version:
    """Return the version of the package in model/.

    Raises:
        MeritError: the package is not registered.
    """
    digest = artifacts.hash_package(artifacts.PACKAGE)
    for version in tags.list_versions(lock.name):
        if version.lineage.package == digest:
            return version
    raise MeritError(f"{artifacts.PACKAGE}/: is no version yet; 'merit register' makes it one")


def find_image(name: str) -> tuple[str, str]:
    """Return the repository and the digest of a version's image.

    Raises:
        MeritError: there is no such version, or it has no image.
    """
    release = release_tags.find_release(tags.find_version(name))
    if release is None:
        raise MeritError(f"{name}: has no image; 'merit release {name}' makes it")
    repository, _, digest = release.image.partition("@")
    return repository, digest


def propose_promotion(name: str, environment: str, lock: Lock, sha: str) -> str:
    """Open a pull request that promotes a version to an environment; return a line about it.

    Args:
        name: the version, such as flights@v3.
        environment: the environment.
        lock: the configuration.
        sha: the commit of main that is checked out and becomes the branch's parent.
    """
    version = tags.find_version(name)
    if tags.read_package_hash(main_branch.resolve_tip()) != version.lineage.dvc:
        return f"main names another package than that of {name} by now: nothing to propose"
    previous = environments.read_environment(environment).environment.version
    promotion = promote(name, environment, lock)
    if not promotion.changes:
        return f"{environment} declares {name} already"
    files = [environments.get_path(environment).as_posix(), *_render_files(environment, lock)]
    contents = {file: Path(file).read_text(encoding="utf-8") for file in files}
    api, branch = GitHubApi.from_workflow(), f"promote/{environment}-{version.short_name}"
    title = f"{environment}: {name}"
    try:
        create_branch(api, branch, create_commit(api, sha, contents, title))
    except Refused:
        if _has_pull_request(api, branch):
            return f"{branch}: is proposed already"
    base = str(read_event()["repository"]["default_branch"])
    body = {"title": title, "head": branch, "base": base, "body": _render_body(version, previous)}
    pull_request = api.send_request("POST", "pulls", body, tries=1)
    return f"#{pull_request['number']}: {branch}"


def _has_pull_request(api: GitHubApi, branch: str) -> bool:
    """Return whether a branch has or had a pull request; it has none if the job that created it was interrupted."""
    query = urlencode({"head": f"{api.repository.partition('/')[0]}:{branch}", "state": "all"})
    return bool(api.send_request("GET", f"pulls?{query}"))


def _render_files(environment: str, lock: Lock) -> list[str]:
    """Render the files of an environment's target into deploy/ and return their paths; some targets have none."""
    declared = environments.read_environment(environment)
    if declared.environment.target in FILELESS_TARGETS:
        return []
    resolved = requirements.resolve_environment(declared, lock)
    registry.create_target(
        DesiredState(environment, declared.environment, lock, resolved.versions, resolved.releases)
    ).apply()
    return [path.as_posix() for path in sorted(Path("deploy", environment).rglob("*")) if path.is_file()]


def _render_body(version: Version, previous: str | None) -> str:
    lineage = version.lineage
    lines = [f"{version.name} in the place of {previous or 'nothing'}.", "", "| | |", "|---|---|"]
    rows: dict[str, Any] = {
        "commit": lineage.commit,
        "package": lineage.package,
        "gate": f"{lineage.verdict}: {lineage.checks} checks passed",
        "waived": ", ".join(lineage.waived) or "none",
        **{name: f"{value:.4f}" for name, value in lineage.metrics.items()},
    }
    return "\n".join([*lines, *(f"| {name} | {value} |" for name, value in rows.items())]) + "\n"


def find_changed_environments() -> list[str]:
    """Return the environments that a push or a pull request changed; those that require another one come last.

    Raises:
        MeritError: the clone is too shallow to compare with the previous commit.
    """
    payload = read_event()
    pull_request = payload.get("pull_request")
    base_commit = git.find_target_commit() if pull_request else str(payload.get("before") or NULL_SHA)
    declared_environments = environments.read_all()
    declared_environments.sort(key=lambda each: (each.environment.demands.after is not None, each.name))
    if base_commit is None or base_commit == NULL_SHA:
        return [each.name for each in declared_environments]
    if git.resolve_commit(base_commit) is None:
        raise MeritError(f"git: {base_commit[:7]} is not here; check out the whole history ('fetch-depth: 0')")
    diff_output = git.run_git("diff", "--name-only", base_commit, "HEAD", "--", "conf/environment", "deploy") or ""
    files = {Path(line) for line in diff_output.splitlines()}
    return [each.name for each in declared_environments if any(_belongs_to(file, each.name) for file in files)]


def _belongs_to(file: Path, environment: str) -> bool:
    return file == environments.get_path(environment) or Path("deploy", environment) in file.parents
