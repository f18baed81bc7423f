"""The whole path in one go: compose, what DVC finds stale, gate, register. What is up to date is not done again."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merit import artifacts, exclusive, git, store, tracking
from merit.config import lock as locks
from merit.config.compose import compose
from merit.config.schema import Lock
from merit.errors import MeritError, Refused
from merit.gate import freshness
from merit.terminal import show_phase

PRELOAD_AFTER_SECONDS = 3.0
PATIENCE = 900.0
"""Seconds that a sweep waits for another run in this folder, which may be making the same features."""
DAMAGED = ("corrupted", "validation failed", "unable to read", "utf-8")
"""How DVC speaks of a file that it can't read."""
BEFORE, ALONE, BESIDE, AFTER = "features", "train", "baseline", {"train", "evaluate", "package"}
"""What both stages need that can go on side by side, the longer one, the other, and what leaves that as it is."""


@dataclass(frozen=True)
class Outcome:
    """What a run came to: the gate's report, and the version the package has, if it passed and MLflow keeps runs."""

    report: dict[str, Any]
    version: str | None


def run(overrides: Sequence[str]) -> Outcome:
    """Lock the configuration, bring every stage up to date, judge, keep the run, and register what passed.

    Raises:
        ConfigError: conf/ or the overrides are wrong; nothing was done.
        Refused: a stage did its work and said no.
        MeritError: something is broken.
    """
    lock = compose(overrides)
    with exclusive.run():
        locks.write(lock)
        with _preloading(lock):
            reproduce()
        last = freshness.current(lock)
        if last is not None and (receipt := _receipt(lock, last)) is not None:
            return Outcome(last, receipt.get("version"))
        # What is to be registered is judged here and now, whatever a file says.
        report = _judged(lock)
        return Outcome(report, _registered(lock, report))


@contextmanager
def _preloading(lock: Lock) -> Iterator[None]:
    """Load what follows the stages while they run in processes of their own, and this one would only wait.

    It begins late enough that a run with nothing to do never pays for it.
    """
    timer = threading.Timer(PRELOAD_AFTER_SECONDS, _preload, [lock])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _preload(lock: Lock) -> None:
    import merit.gate.judge

    tracking.tracker(lock.tracking)
    if not store.keeps_versions(lock.tracking):
        return
    import merit.registry.versions  # noqa: F401  # loaded for those who ask for it later

    # A store that can't be opened is told by whoever needs it, in the foreground.
    with suppress(MeritError):
        store.open_store(lock.tracking)


def _judged(lock: Lock) -> dict[str, Any]:
    from merit.gate.judge import gate

    return gate(lock)


def _due(lock: Lock, report: dict[str, Any]) -> dict[str, str]:
    return {"package": report["candidate"]["digest"], "gate": report["inputs"], "uri": tracking.place(lock.tracking)}


def _receipt(lock: Lock, report: dict[str, Any]) -> dict[str, Any] | None:
    """Return the receipt of this very registration, which spares asking again what keeps the runs."""
    runs = tracking.local(lock.tracking)
    if not artifacts.REGISTRATION.is_file() or (runs is not None and not runs.exists()):
        return None
    try:
        receipt = artifacts.read_json(artifacts.REGISTRATION, "register")
    except MeritError:
        return None
    return receipt if _due(lock, report).items() <= receipt.items() else None


def _registered(lock: Lock, report: dict[str, Any]) -> str | None:
    """Keep the run, and register the package in MLflow, if that keeps the runs and the gate passed it."""
    show_phase("run: keeping it with the others, and registering what passed")
    run_id = tracking.tracker(lock.tracking).record(lock)
    made = None
    if report["verdict"] == "pass" and store.keeps_versions(lock.tracking):
        from merit.registry.versions import register

        made = register(lock, run_id, report)
    artifacts.write_json(artifacts.REGISTRATION, {**_due(lock, report), "run_id": run_id, "version": made})
    return made


def reproduce() -> list[str]:
    """Bring every stage up to date; return the names of those that were run.

    Raises:
        Refused: a stage did its work and said no.
        MeritError: a stage, or DVC itself, is broken.
    """
    with _told() as repo:
        stale = set(repo.status())
        if not stale:
            return []
        if stale <= AFTER or not {ALONE, BESIDE} <= _stages(repo):
            return [stage.addressing for stage in repo.reproduce()]
        done = [stage.addressing for stage in repo.reproduce(BEFORE)]
        done += _side_by_side(repo)
    with _told() as repo:  # another process has written to its lock
        return done + [stage.addressing for stage in repo.reproduce()]


def is_uncommitted() -> bool:
    """Say whether Git has another lock, or none, than what was run; without a repository that is nobody's question."""
    if git.head() is None:
        return False
    names = [name.as_posix() for name in (artifacts.LOCK, artifacts.DVC_LOCK)]
    return bool(git.git("status", "--porcelain", "--ignored=no", "--", *names))


def anew() -> None:
    """Run every stage, whatever is up to date or cached, and keep nothing in DVC's cache; dvc.lock says what came out.

    Raises:
        Refused: a stage did its work and said no.
        MeritError: a stage, or DVC itself, is broken.
    """
    with _told() as repo:
        repo.reproduce(force=True, run_cache=False, no_commit=True)


def features() -> list[Path]:
    """Bring the stages up to the features up to date; return where DVC keeps data on this machine.

    Raises:
        Refused: a stage did its work and said no.
        MeritError: a stage, or DVC itself, is broken.
    """
    with exclusive.run(PATIENCE), _told() as repo:
        if repo.status(BEFORE, with_deps=True):
            repo.reproduce(BEFORE)
        remotes = (each.get("url", "") for each in repo.config["remote"].values())
        return [Path(repo.dvc_dir), Path(repo.cache.local.path), *(Path(url) for url in remotes if "://" not in url)]


@contextmanager
def _told() -> Iterator[Any]:
    """Yield DVC's view of the repository; what it raises is told in a line."""
    # Stages call `merit` by name: they get the one that is running.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    from dvc.exceptions import DvcException, ReproductionError
    from dvc.repo import Repo
    from dvc.stage.exceptions import StageCmdFailedError

    try:
        with Repo() as repo:
            repo.scm_context.quiet = True  # what to commit is said after the verdict
            yield repo
    except ReproductionError as error:
        cause = error.__cause__
        if isinstance(cause, StageCmdFailedError):
            raise _failed(error, cause) from error
        raise MeritError(f"pipeline: {_line(error)} ({_line(cause)})") from error
    except DvcException as error:
        raise MeritError(f"pipeline: {_line(error)}{_mended(error)}") from error


def _mended(error: Exception) -> str:
    """Return what to do about a dvc.lock that DVC can't read; empty if that is not the trouble."""
    told, name = str(error), artifacts.DVC_LOCK.name
    if f"{name}'" not in told or not any(word in told for word in DAMAGED):
        return ""
    return f"; run 'git checkout {name}', or remove it and run again"


def _stages(repo: Any) -> set[str]:
    return {stage.addressing for stage in repo.index.stages}


def _side_by_side(repo: Any) -> list[str]:
    """Fit the baseline in a process of its own while the network trains, which leaves processors idle.

    If it fails there it is fitted again in its turn, where what it says is seen.
    """
    command = [sys.executable, "-m", "dvc", "repro", "--quiet", "--single-item", BESIDE]
    nowhere = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere) as side:
        try:
            done = repo.reproduce(ALONE, single_item=True)
        except BaseException:
            side.terminate()
            raise
    return [BESIDE, *(stage.addressing for stage in done)]


def _failed(error: Exception, cause: Exception) -> MeritError:
    """Return what a stage's exit code means; DVC gives both only inside its messages."""
    stage = re.search(r"'(.+)'", str(error))
    status = re.search(r"exited with (-?\d+)", str(cause))
    name, code = stage[1] if stage else "?", int(status[1]) if status else -1
    if code in {-signal.SIGINT, 128 + signal.SIGINT}:
        raise KeyboardInterrupt
    if code == Refused.exit_code:
        return Refused(f"pipeline: stage '{name}' refused; its reason stands above")
    return MeritError(
        f"pipeline: stage '{name}' broke with exit code {code}; its reason stands above, 'merit run' tries again"
    )


def _line(error: BaseException | None) -> str:
    return " ".join(str(error).split())
