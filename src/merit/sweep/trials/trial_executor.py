"""Runs trials through any Hydra launcher: one job per trial, launched from threads so that the sweep can monitor it."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from merit.errors import MeritError
from merit.sweep.trials import supervise

DEFAULT_WIDTH = 8
"""Concurrent trials for a launcher that doesn't report its width, if sweep.workers isn't set."""


class Launcher(Protocol):
    """The interface of Hydra's launchers."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[Any]:
        """Run jobs, and return when all of them have ended."""


class TrialExecutor:
    """Runs trials by a launcher.

    A launcher with a `width` method gets one job at a time from each of `width` threads, so that a free thread takes
    the next trial at once. Any other launcher gets jobs in batches, as from Hydra's sweepers: a cluster's queue then
    sees one job array. Hydra's BasicLauncher runs in this process, so it gets one job at a time.

    Args:
        launcher: one of Hydra's launchers or of merit's.
        workers: number of concurrent trials; None leaves it to the launcher.
        threads: processor threads that a trial needs.
        gpu: whether a trial needs a GPU.
    """

    def __init__(self, launcher: Launcher, workers: int | None, threads: int, *, gpu: bool) -> None:
        self._launcher = launcher
        launcher_width, is_basic = getattr(launcher, "width", None), type(launcher).__name__ == "BasicLauncher"
        self.is_batch = launcher_width is None and not is_basic
        self.width = workers or (
            1 if is_basic else launcher_width(threads, gpu=gpu) if launcher_width is not None else DEFAULT_WIDTH
        )
        if is_basic:
            self.width = 1
        self._threads = ThreadPoolExecutor(1 if self.is_batch else self.width)
        self._running: dict[Future[Any], list[Path]] = {}

    @property
    def running(self) -> list[Path]:
        """The folders of the trials that run now."""
        return [folder for folders in self._running.values() for folder in folders]

    def count_free_slots(self) -> int:
        """Return how many trials can be started now."""
        if self.is_batch:
            return 0 if self._running else self.width
        return self.width - len(self._running)

    def start_trials(self, folders: Sequence[Path]) -> None:
        """Start trials."""
        for batch in [folders] if self.is_batch else [[folder] for folder in folders]:
            jobs = [[f"trial={_quote_path(folder)}"] for folder in batch]
            first = int(batch[0].name)
            self._running[self._threads.submit(self._launcher.launch, jobs, first)] = list(batch)

    def pop_ended(self) -> list[Path]:
        """Return the folders of the trials that have ended since the last call.

        Raises:
            MeritError: the launcher itself failed.
        """
        finished = [future for future in self._running if future.done()]
        folders: list[Path] = []
        for future in finished:
            folders += self._running.pop(future)
            try:
                for job in future.result():
                    _ = job.return_value  # raises what the job raised
            except MeritError:
                raise
            except Exception as error:  # each launcher raises its own
                reason = " ".join(str(error).split())[:300]
                raise MeritError(f"hydra/launcher: can't run a trial ({type(error).__name__}: {reason})") from error
        return folders

    def kill_running(self, reason: str) -> None:
        """Kill the running trials, and wait until they have ended."""
        for folder in self.running:
            supervise.request_kill(folder, reason)
        self._threads.shutdown(wait=True, cancel_futures=True)

    def pop_running(self) -> list[Path]:
        """Return the trials that `pop_ended` has not reported, even if the launcher failed, and forget them."""
        folders, self._running = self.running, {}
        return folders

    def close(self) -> None:
        """Release the threads and the launcher."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if callable(close := getattr(self._launcher, "close", None)):
            close()


def _quote_path(folder: Path) -> str:
    """Return a path quoted as a value in Hydra's override grammar."""
    text = str(folder.absolute())
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'" if not text.isalnum() else text
