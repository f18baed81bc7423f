"""Reads the branch main: its tip, and the history of an environment's declared version."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from merit import artifacts, git
from merit.deploy import environments
from merit.errors import MeritError, Refused
from merit.registry import tags


@dataclass(frozen=True)
class Span:
    """A period in which main declared a version of a model for an environment; `until` is None if it still does."""

    version: str | None
    model: str | None
    commit: str
    since: datetime
    until: datetime | None

    def hours(self) -> float:
        """Return the length of the period in hours, up to now if it still lasts."""
        return ((self.until or datetime.now(UTC)) - self.since).total_seconds() / 3600


def tip() -> str:
    """Return the commit at main's tip: origin's main if there is one, else the local branch.

    Raises:
        MeritError: there is no branch main.
    """
    found = git.resolve("origin/main") or git.resolve("main")
    if found is None:
        raise MeritError("git: there is no branch main, here or at origin; 'git fetch origin main' brings it")
    return found


def fetch() -> None:
    """Bring main and the tags up to date with origin, if there is one.

    Raises:
        MeritError: origin can't be reached.
    """
    try:
        git.fetch_tags()
    except MeritError as error:
        raise MeritError(f"what main says now is not known, so nothing was changed: {error}") from error


def is_current(name: str) -> str:
    """Return main's tip, if the environment's file and params.yaml in the working tree equal those at the tip.

    Raises:
        Refused: one differs: an apply would deploy unmerged changes or undo newer merges.
    """
    commit = tip()
    for file in (environments.path(name), artifacts.LOCK):
        here = file.read_text(**git.TEXT).rstrip("\n") if file.is_file() else None
        if git.show(commit, file) != here:
            raise Refused(
                f"apply: {file} is not what main says ({commit[:7]}); merge it first, or bring this checkout up to "
                "date with 'git pull'"
            )
    return commit


def spans(name: str) -> Iterator[Span]:
    """Yield the periods of an environment's declared versions on main, latest first; a merge counts from its merge."""
    path, end = environments.path(name), tip()
    files = [each.as_posix() for each in (path, artifacts.LOCK)]
    log = git.git("log", "--first-parent", "--format=%H %cI", end, "--", *files) or ""
    counted, last = tags.declaring(path, end), None
    for line in log.splitlines():
        commit, _, when = line.partition(" ")
        if commit not in counted:
            continue
        declared, since = environments.at(commit, name), datetime.fromisoformat(when)
        version = None if declared is None else declared.version
        model = tags.model_at(commit)
        # Only another key of the file changed: extend the same period backwards in time.
        if last is not None and (last.version, last.model) == (version, model):
            last = Span(version, model, commit, since, last.until)
            continue
        if last is not None:
            yield last
        last = Span(version, model, commit, since, None if last is None else last.since)
    if last is not None:
        yield last
