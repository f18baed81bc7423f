"""The whole path in one go: compose, what DVC finds stale, gate, register. What is up to date is not done again."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merit import artifacts, tracking
from merit.config import lock as locks
from merit.config.compose import Composer
from merit.config.schema import Lock
from merit.console.tables import show_phase
from merit.dvc import restore
from merit.errors import ConfigError, MeritError, Refused
from merit.gate import freshness
from merit.mlflow import store
from merit.process import workspace_lock

PRELOAD_AFTER_SECONDS = 3.0
PATIENCE = 900.0
"""Seconds that a sweep waits for another run in this folder, which may be making the same features."""
DAMAGED = ("corrupted", "validation failed", "unable to read", "utf-8")
"""How DVC speaks of a file that it can't read."""
BEFORE, ALONE, BESIDE, AFTER = "features", "train", "baseline", {"train", "evaluate", "package"}
"""What both stages need that can go on side by side, the longer one, the other, and what leaves that as it is."""


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
        report: the gate's.
        version: the one that the package has, if it passed and MLflow keeps runs.
        is_of_overrides: whether conf/ alone says something else than what was run.
        fault: why the run was not kept, though it was judged.
    """

    report: dict[str, Any]
    version: str | None
    is_of_overrides: bool = False
    fault: MeritError | None = None


Tell = Callable[[str], object]
"""Is given a line for a person."""


def run(overrides: Sequence[str], tell: Tell = print) -> Outcome:
    """Lock the configuration, bring every stage up to date, judge, keep the run, and register what passed.

    Args:
        overrides: changes of conf/.
        tell: is given a line on what dvc.lock names and is not here.

    Raises:
        ConfigError: conf/ or the overrides are wrong; nothing was done.
        Refused: a stage did its work and said no.
        MeritError: something is broken.
    """
    composer = Composer()
    lock = composer.compose(overrides).lock
    is_of_overrides = bool(overrides) and _differs(composer, lock)
    with workspace_lock.lock_run():
        locks.write_lock(lock)
        with _preloading(lock):
            reproduce(tell=tell)
        last = freshness.load_current_report(lock)
        if last is not None and (receipt := _receipt(lock, last)) is not None:
            return Outcome(last, receipt.get("version"), is_of_overrides)
        # What is to be registered is judged here and now, whatever a file says.
        report = _judged(lock)
        try:
            return Outcome(report, _registered(lock, report), is_of_overrides)
        except MeritError as fault:  # the verdict is worth seeing all the same
            return Outcome(report, None, is_of_overrides, fault)


def _differs(composer: Composer, lock: Lock) -> bool:
    """Say whether conf/ alone makes another lock, or none."""
    try:
        return composer.compose().lock != lock
    except ConfigError:
        return True


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

    tracking.select_tracker(lock.tracking)
    if not store.has_registry(lock.tracking):
        return
    import merit.registry.mlflow_candidates  # noqa: F401  # loaded for those who ask for it later

    # A store that can't be opened is told by whoever needs it, in the foreground.
    with suppress(MeritError):
        store.open_store(lock.tracking)


def _judged(lock: Lock) -> dict[str, Any]:
    from merit.gate.judge import gate

    return gate(lock)


def _due(lock: Lock, report: dict[str, Any]) -> dict[str, str]:
    return {
        "package": report["candidate"]["digest"],
        "gate": report["inputs"],
        "uri": tracking.describe_location(lock.tracking),
    }


def _receipt(lock: Lock, report: dict[str, Any]) -> dict[str, Any] | None:
    """Return the receipt of this very registration, which spares asking again what keeps the runs."""
    runs = tracking.find_local_path(lock.tracking)
    if not artifacts.REGISTRATION.is_file() or (runs is not None and not runs.exists()):
        return None
    try:
        receipt = artifacts.read_json(artifacts.REGISTRATION, "register")
    except MeritError:
        return None
    return receipt if _due(lock, report).items() <= receipt.items() else None


def _registered(lock: Lock, report: dict[str, Any]) -> str | None:
    """Keep the run, and register the package in MLflow, if that keeps the runs and the gate passed it."""
    show_phase("run: recording the run, and registering what passed")
    run_id = tracking.select_tracker(lock.tracking).complete_run(lock)
    made = None
    if report["verdict"] == "pass" and store.has_registry(lock.tracking):
        from merit.registry.mlflow_candidates import register_candidate

        made = register_candidate(lock, run_id, report)
    artifacts.write_json(artifacts.REGISTRATION, {**_due(lock, report), "run_id": run_id, "version": made})
    return made


def reproduce(last: str | None = None, tell: Tell = print) -> list[str]:
    """Bring every stage up to date; return the names of those that were run.

    What dvc.lock names for the inputs that are here is brought from DVC's remote and not computed again.

    Args:
        last: the stage to end with; None for all.
        tell: is given a line on what was brought, or couldn't be.

    Raises:
        Refused: a stage did its work and said no.
        MeritError: a stage, or DVC itself, is broken; an output may not be brought here; runs can't be kept.
    """
    with _told() as repo:
        restore.restore_current(repo, tell)
        stale = set(repo.status() if last is None else repo.status(last, with_deps=True))
        if not stale:
            return []
        if ALONE in stale:  # said now, and not once the model is trained
            tracking.check_tracking(locks.read_lock().tracking)
        if last is not None:
            return [stage.addressing for stage in repo.reproduce(last)]
        if stale <= AFTER or not {ALONE, BESIDE} <= _stages(repo):
            return [stage.addressing for stage in repo.reproduce()]
        done = [stage.addressing for stage in repo.reproduce(BEFORE)]
        done += _side_by_side(repo)
    with _told() as repo:  # another process has written to its lock
        return done + [stage.addressing for stage in repo.reproduce()]


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
    with workspace_lock.lock_run(PATIENCE):
        reproduce(BEFORE)
    with _told() as repo:
        remotes = (each.get("url", "") for each in repo.config["remote"].values())
        return [Path(repo.dvc_dir), Path(repo.cache.local.path), *(Path(url) for url in remotes if "://" not in url)]


@contextmanager
def _told() -> Iterator[Any]:
    """Yield DVC's view of the repository, once it is checked; what it raises is told in a line."""
    # Stages call `merit` by name: they get the one that is running.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    from dvc.exceptions import DvcException, ReproductionError
    from dvc.stage.exceptions import StageCmdFailedError

    from merit.dvc.repo import open_checked

    try:
        with open_checked() as repo:
            repo.scm_context.quiet = True  # what to commit is said after the verdict
            yield repo
    except ReproductionError as error:
        cause = error.__cause__
        if isinstance(cause, MeritError):
            raise cause from error
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
    command = [sys.executable, "-m", "merit.pipeline.run", BESIDE]
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


def _one(stage: str) -> None:
    """Bring one stage up to date, and say nothing."""
    with _told() as repo:
        repo.reproduce(stage, single_item=True)


if __name__ == "__main__":
    _one(sys.argv[1])
