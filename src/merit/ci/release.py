"""Steps of release.yml and deploy.yml: find main's version, propose its promotion, list the environments to apply."""

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from merit import artifacts, git
from merit.ci.commits import commit, start
from merit.config.schema import Lock
from merit.deploy import environments, main_branch, requirements, targets
from merit.deploy.promote import promote
from merit.deploy.targets import Desired
from merit.errors import MeritError, Refused
from merit.github import Api, event
from merit.registry import release_tags, tags
from merit.registry.tags import Version

NOTHING = "0" * 40
"""The sha that GitHub gives as the previous commit of a new branch."""


def version_of_main(lock: Lock) -> Version:
    """Return the version of the package in model/.

    Raises:
        MeritError: the package is not registered.
    """
    digest = artifacts.package_digest(artifacts.PACKAGE)
    for version in tags.versions(lock.name):
        if version.lineage.package == digest:
            return version
    raise MeritError(f"{artifacts.PACKAGE}/: is no version yet; 'merit register' makes it one")


def image_of(name: str) -> tuple[str, str]:
    """Return the repository and the digest of a version's image.

    Raises:
        MeritError: there is no such version, or it has no image.
    """
    found = release_tags.find(tags.find(name))
    if found is None:
        raise MeritError(f"{name}: has no image; 'merit release {name}' makes it")
    place, _, digest = found.image.partition("@")
    return place, digest


def propose(name: str, environment: str, lock: Lock, sha: str) -> str:
    """Open a pull request that promotes a version to an environment; return a line about it.

    Args:
        name: the version, such as flights@v3.
        environment: the environment.
        lock: the configuration.
        sha: the commit of main that is checked out and becomes the branch's parent.
    """
    version = tags.find(name)
    if tags.package_at(main_branch.tip()) != version.lineage.dvc:
        return f"main names another package than that of {name} by now: nothing to propose"
    former = environments.read(environment).environment.version
    made = promote(name, environment, lock)
    if not made.changed:
        return f"{environment} declares {name} already"
    files = [environments.path(environment).as_posix(), *_rendered(environment, lock)]
    contents = {file: Path(file).read_text(encoding="utf-8") for file in files}
    api, branch = Api.of_workflow(), f"promote/{environment}-{version.short_name}"
    title = f"{environment}: {name}"
    try:
        start(api, branch, commit(api, sha, contents, title))
    except Refused:
        if _is_asked(api, branch):
            return f"{branch}: is proposed already"
    base = str(event()["repository"]["default_branch"])
    body = {"title": title, "head": branch, "base": base, "body": _body(version, former)}
    opened = api.call("POST", "pulls", body, tries=1)
    return f"#{opened['number']}: {branch}"


def _is_asked(api: Api, branch: str) -> bool:
    """Return whether a branch has or had a pull request; it has none if the job that created it was interrupted."""
    asked = urlencode({"head": f"{api.repository.partition('/')[0]}:{branch}", "state": "all"})
    return bool(api.call("GET", f"pulls?{asked}"))


def _rendered(environment: str, lock: Lock) -> list[str]:
    """Render the files of an environment's target into deploy/ and return their paths; none for the target local."""
    declared = environments.read(environment)
    if declared.environment.target == "local":
        return []
    held = requirements.hold(declared, lock)
    targets.of(Desired(environment, declared.environment, lock, held.versions, held.releases)).apply()
    return [path.as_posix() for path in sorted(Path("deploy", environment).rglob("*")) if path.is_file()]


def _body(version: Version, former: str | None) -> str:
    lineage = version.lineage
    lines = [f"{version.name} in the place of {former or 'nothing'}.", "", "| | |", "|---|---|"]
    told: dict[str, Any] = {
        "commit": lineage.commit,
        "package": lineage.package,
        "gate": f"{lineage.verdict}: {lineage.checks} checks passed",
        "waived": ", ".join(lineage.waived) or "none",
        **{name: f"{value:.4f}" for name, value in lineage.metrics.items()},
    }
    return "\n".join([*lines, *(f"| {name} | {value} |" for name, value in told.items())]) + "\n"


def changed() -> list[str]:
    """Return the environments that a push or a pull request changed; those that require another one come last.

    Raises:
        MeritError: the clone is too shallow to compare with the previous commit.
    """
    told = event()
    pull = told.get("pull_request")
    before = git.target_commit() if pull else str(told.get("before") or NOTHING)
    every = environments.read_all()
    every.sort(key=lambda each: (each.environment.demands.after is not None, each.name))
    if before is None or before == NOTHING:
        return [each.name for each in every]
    if git.resolve(before) is None:
        raise MeritError(f"git: {before[:7]} is not here; check out the whole history ('fetch-depth: 0')")
    listed = git.git("diff", "--name-only", before, "HEAD", "--", "conf/environment", "deploy") or ""
    files = {Path(line) for line in listed.splitlines()}
    return [each.name for each in every if any(_is_of(file, each.name) for file in files)]


def _is_of(file: Path, name: str) -> bool:
    return file == environments.path(name) or Path("deploy", name) in file.parents
