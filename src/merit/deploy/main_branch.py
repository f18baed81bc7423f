"""Reads the branch main: its tip, and the history of an environment's declared version."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from merit import artifacts, git
from merit.deploy import environments
from merit.errors import MeritError, Refused
from merit.registry import tags


@dataclass(frozen=True)
class DeclarationPeriod:
    """A period in which main declared a version of a model for an environment; `until` is None if it still does."""

    version: str | None
    model: str | None
    commit: str
    since: datetime
    until: datetime | None

    def compute_hours(self) -> float:
        """Return the length of the period in hours, up to now if it still lasts."""
        return ((self.until or datetime.now(UTC)) - self.since).total_seconds() / 3600


def resolve_tip() -> str:
    """Return the commit at main's tip: origin's main if there is one, else the local branch.

    Raises:
        MeritError: there is no branch main.
    """
    commit = git.resolve_commit("origin/main") or git.resolve_commit("main")
    if commit is None:
        raise MeritError("git: there is no branch main, here or at origin; 'git fetch origin main' brings it")
    return commit


def fetch_main() -> None:
    """Bring main and the tags up to date with origin, if there is one.

    Raises:
        MeritError: origin can't be reached.
    """
    try:
        git.fetch_tags()
    except MeritError as error:
        raise MeritError(f"what main says now is not known, so nothing was changed: {error}") from error


def require_current(name: str) -> str:
    """Return main's tip, if the environment's file and params.yaml in the working tree equal those at the tip.

    Raises:
        Refused: one differs: an apply would deploy unmerged changes or undo newer merges.
    """
    commit = resolve_tip()
    for file in (environments.get_path(name), artifacts.LOCK):
        local_text = file.read_text(**git.TEXT_OPTIONS).rstrip("\n") if file.is_file() else None
        if git.read_file(commit, file) != local_text:
            raise Refused(
                f"apply: {file} is not what main says ({commit[:7]}); merge it first, or bring this checkout up to "
                "date with 'git pull'"
            )
    return commit


def iter_periods(name: str) -> Iterator[DeclarationPeriod]:
    """Yield the periods of an environment's declared versions on main, latest first; a merge counts from its merge."""
    path, tip_commit = environments.get_path(name), resolve_tip()
    files = [each.as_posix() for each in (path, artifacts.LOCK)]
    log = git.run_git("log", "--first-parent", "--format=%H %cI", tip_commit, "--", *files) or ""
    declaring_commits, period = tags.find_declaring_commits(path, tip_commit), None
    for line in log.splitlines():
        commit, _, committed_at = line.partition(" ")
        if commit not in declaring_commits:
            continue
        declared, since = environments.read_at_commit(commit, name), datetime.fromisoformat(committed_at)
        version = None if declared is None else declared.version
        model = tags.read_model_name(commit)
        # Only another key of the file changed: extend the same period backwards in time.
        if period is not None and (period.version, period.model) == (version, model):
            period = DeclarationPeriod(version, model, commit, since, period.until)
            continue
        if period is not None:
            yield period
        period = DeclarationPeriod(version, model, commit, since, None if period is None else period.since)
    if period is not None:
        yield period
