"""main as it is now: its tip, and since when it declares what."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from merit import artifacts, git
from merit.deploy import environments
from merit.errors import MeritError, Refused
from merit.registry import tags


@dataclass(frozen=True)
class Span:
    """A time in which main declared a version of a model for an environment; `until` is None while it does."""

    version: str | None
    model: str | None
    commit: str
    since: datetime
    until: datetime | None

    def hours(self) -> float:
        """Return how long it was, or has been."""
        return ((self.until or datetime.now(UTC)) - self.since).total_seconds() / 3600


def tip() -> str:
    """Return the commit that main is at, at origin if there is one.

    Raises:
        MeritError: there is no main.
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
    """Return main's commit, if an environment's file and the lock here are what main's tip says.

    Raises:
        Refused: one is not, so this would apply what is not merged, or undo what was merged since.
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
    """Yield what main has declared for an environment, the latest first; a merge counts from when it was merged."""
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
        if last is not None and (last.version, last.model) == (version, model):  # another key changed
            last = Span(version, model, commit, since, last.until)
            continue
        if last is not None:
            yield last
        last = Span(version, model, commit, since, None if last is None else last.since)
    if last is not None:
        yield last
