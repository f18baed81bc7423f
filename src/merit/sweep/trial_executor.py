"""Who runs trials: any launcher of Hydra's, each trial one job, from threads of ours so that the sweep can look on."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from merit.errors import MeritError
from merit.sweep import supervise

FOREIGN = 8
"""Trials at once where a launcher doesn't say and nobody asks for another number."""


class Launcher(Protocol):
    """A launcher as Hydra has them."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[Any]:
        """Run jobs and return when all of them have ended."""


class Crew:
    """Runs trials by a launcher.

    A launcher that says its `width` is given one job at a time from so many threads: who is free gets the next trial at
    once. Any other gets jobs by the batch, as Hydra's sweepers do it, so that a cluster's queue sees one array.

    Args:
        launcher: Hydra's or ours.
        workers: how many trials at once; None leaves it to the launcher.
        threads: that a trial needs.
        gpu: whether trials need a GPU.
    """

    def __init__(self, launcher: Launcher, workers: int | None, threads: int, *, gpu: bool) -> None:
        self._launcher = launcher
        own, alone = getattr(launcher, "width", None), type(launcher).__name__ == "BasicLauncher"
        self.by_batch = own is None and not alone
        self.width = workers or (1 if alone else own(threads, gpu=gpu) if own is not None else FOREIGN)
        if alone:
            self.width = 1
        self._threads = ThreadPoolExecutor(1 if self.by_batch else self.width)
        self._running: dict[Future[Any], list[Path]] = {}

    @property
    def running(self) -> list[Path]:
        """The trials that run now."""
        return [folder for folders in self._running.values() for folder in folders]

    def room(self) -> int:
        """Return how many trials can be begun now."""
        if self.by_batch:
            return 0 if self._running else self.width
        return self.width - len(self._running)

    def start(self, folders: Sequence[Path]) -> None:
        """Begin trials."""
        for batch in [folders] if self.by_batch else [[folder] for folder in folders]:
            jobs = [[f"trial={_quoted(folder)}"] for folder in batch]
            first = int(batch[0].name)
            self._running[self._threads.submit(self._launcher.launch, jobs, first)] = list(batch)

    def ended(self) -> list[Path]:
        """Return the trials whose jobs have ended since this was last asked.

        Raises:
            MeritError: the launcher itself failed.
        """
        done = [future for future in self._running if future.done()]
        folders: list[Path] = []
        for future in done:
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

    def end(self, reason: str) -> None:
        """Kill what runs, and wait until it has ended."""
        for folder in self.running:
            supervise.end(folder, reason)
        self._threads.shutdown(wait=True, cancel_futures=True)

    def ended_now(self) -> list[Path]:
        """Return what had not been told as ended, whatever became of the launcher."""
        folders, self._running = self.running, {}
        return folders

    def close(self) -> None:
        """Let go of the launcher."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if callable(close := getattr(self._launcher, "close", None)):
            close()


def _quoted(folder: Path) -> str:
    """Return a path as a value in Hydra's grammar."""
    text = str(folder.absolute())
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'" if not text.isalnum() else text
