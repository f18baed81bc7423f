"""The sweep's main loop: starts trials, monitors them, reports their results to Optuna and tracking, and shuts down."""

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from merit import artifacts
from merit.config.schema import Trainer
from merit.errors import MeritError, Refused
from merit.sweep import claims, labels, local, plan, prepare, process, record, report, supervise, view
from merit.sweep.record import Sweep, Trial
from merit.sweep.trial_executor import Crew
from merit.tracking.sweeps import Teller

if TYPE_CHECKING:
    from merit.sweep.study import Study

LOOK, BEAT = 0.05, 5.0
"""Seconds between two polls of the running trials, and between two heartbeats."""


class Loop:
    """Starts, monitors and ends the trials of a sweep.

    Args:
        made: the plan.
        folder: the sweep's folder.
        study: suggests the next point.
        crew: runs trials.
        owner: this process, recorded as the owner of the trials that it starts.
        teller: reports trials to the tracking store.
    """

    def __init__(
        self, made: plan.Plan, folder: Path, study: "Study", crew: Crew, owner: claims.Owner, *, teller: Teller
    ) -> None:
        self._made, self._folder, self._study, self._crew, self._owner = made, folder, study, crew, owner
        self._console = Console()
        self._teller = teller
        self._trials: dict[int, Trial] = {}
        self._epochs: dict[int, int] = {}
        self._begun: dict[int, float] = {}
        self._followed: set[int] = set()
        self._lost: set[int] = set()
        self._beaten = 0.0
        self._is_out = False
        self._looks_back = made.settings.resume is not None or study.is_shared
        self._stop: str | None = None
        self._about = record.about_of(made.name)

    def run(self) -> Sweep:
        """Run until no trial is left, and return the sweep.

        Raises:
            Refused: the sweep was stopped (sweep.fail_fast, sweep.max_failures), or no trial is done.
            MeritError: the launcher, the storage or tracking failed.
        """
        self._console.print(self._said(), highlight=False, soft_wrap=True)
        try:
            self._take_up()
            with view.Live(self._console, self._made.objectives, self._made.planned) as live:
                while True:
                    self._begin()
                    self._look()
                    live.update(self._sweep())
                    if self._is_over():
                        break
                    time.sleep(LOOK)
            self._hear(self._teller.end("FAILED" if self._stop else "FINISHED"))
        except BaseException as error:
            self._interrupt(error)
            raise
        return self._finish()

    def _is_over(self) -> bool:
        """Return whether no trial runs and none is left, including trials that other, now dead, workers started."""
        if self._crew.running or self._followed or not (self._is_out or self._stop):
            return False
        if self._stop is None and self._left():
            self._is_out, self._looks_back = False, True
        return (self._is_out or self._stop is not None) and not self._followed

    def _said(self) -> str:
        threads = threads_of(self._made.base.trainer)
        width, planned = self._crew.width, self._made.planned
        return (
            f"sweep {self._made.name}: {planned} trials by {self._made.settings.sampler}, {width} at once with "
            f"{threads} thread{'s' * (threads > 1)} each; this machine has {local.cores()} cores"
        )

    def _take_up(self) -> None:
        """Load the trials of an earlier process: report ended ones, and note those that must run again."""
        for trial in record.trials_in(self._folder):
            self._trials[trial.number] = trial
            if trial.state in record.FINAL:
                self._settle(trial.number)
        self._lost = self._study.known(record.damaged(self._folder))
        for number in sorted(self._lost):
            told = f"trial {number:>3}  its {record.TRIAL} is damaged: it is trained again"
            self._console.print(told, highlight=False, soft_wrap=True)
        if self._study.restored:
            told = f"{self._study.restored} trials were missing in sweep.storage; restored from their files"
            self._console.print(told, highlight=False, soft_wrap=True)

    def _begin(self) -> None:
        """Start as many trials as there is room for."""
        folders: list[Path] = []
        while not self._stop and not self._is_out and len(folders) < self._crew.room():
            with claims.claiming(self._folder):
                if (place := self._next()) is not None:
                    folders.append(place)
            if not self._crew.by_batch:
                break  # start it before asking for the next, which costs time
        for place in folders:
            number = int(place.name)
            self._begun[number], self._epochs[number] = time.time(), 0
            self._trials[number] = record.trial_in(place)
        if folders:
            self._crew.start(folders)

    def _next(self) -> Path | None:
        """Return the folder of the next trial; None if there is none, or if its point doesn't compose."""
        left = self._left() if self._looks_back else []
        suggestion = self._study.again(left[0]) if left else self._study.ask()
        self._lost -= set(left[:1])
        if suggestion is None:
            self._is_out = True
            return None
        try:
            return prepare.trial(self._folder, self._made, suggestion.number, suggestion.point, self._owner.name)
        except MeritError:
            self._trials[suggestion.number] = record.trial_in(record.folder_of(self._folder, suggestion.number))
            self._settle(suggestion.number)
            return None

    def _left(self) -> list[int]:
        """Return the trials that were started, have no final state and belong to no live process."""
        return [number for number in sorted(self._study.untold() | self._lost) if self._is_left(number)]

    def _is_left(self, number: int) -> bool:
        place = record.folder_of(self._folder, number)
        if number in self._lost:
            return True
        if not (place / record.TRIAL).is_file():
            return not self._study.is_shared  # in a shared study it may be another machine's trial
        if number in self._begun or number in self._followed or record.is_final(place):
            return False
        if claims.is_there(self._folder, record.owner_of(place)):
            return False
        if not supervise.is_alive(place):
            return True
        self._followed.add(number)  # a cluster's job outlives the sweep that started it
        told = f"trial {number:>3}  still runs, begun by an earlier process: waiting for it"
        self._console.print(told, highlight=False)
        return False

    def _look(self) -> None:
        """Poll the running trials: new epochs, timeouts and exits."""
        if time.monotonic() - self._beaten > BEAT:
            self._owner.beat()
            self._beaten = time.monotonic()
        ended = {int(place.name) for place in self._crew.ended()}
        for number in [*ended, *(int(place.name) for place in self._crew.running), *self._followed]:
            self._follow(number)
        for number in ended:
            self._settle(number)
        for number in list(self._followed):
            place = record.folder_of(self._folder, number)
            if record.is_final(place):
                self._followed.discard(number)
                self._settle(number)
            elif not supervise.is_alive(place):
                self._followed.discard(number)
                self._is_out = False  # the trial must run again
        self._hear(self._teller.runs())

    def _follow(self, number: int) -> None:
        """Report a trial's new epochs to the pruner, and end a trial that is pruned or exceeds the time limit."""
        place = record.folder_of(self._folder, number)
        known = self._epochs.get(number, 0)
        size = (place / record.HISTORY).stat().st_size if (place / record.HISTORY).exists() else 0
        if size > known:
            rows = record.epochs(place)
            done = self._trials[number].epochs if number in self._trials else 0
            for row in rows[done:]:
                if self._study.report(number, int(row["epoch"]), row):
                    (place / process.STOP).touch()
            self._epochs[number] = size
            self._trials[number] = record.trial_in(place, epochs=len(rows))
        limit = self._made.settings.timeout_seconds
        if limit and self._ran(number) > limit and not (place / process.KILL).exists():
            supervise.end(place, f"took longer than sweep.timeout_seconds, {limit} s")

    def _ran(self, number: int) -> float:
        """Return for how many seconds a trial's process has run: 0 while the trial waits in a queue."""
        began = record.told(record.folder_of(self._folder, number)).get("started")
        return time.time() - began if began is not None else 0.0

    def _settle(self, number: int) -> None:
        """Report an ended trial to Optuna and to tracking, and stop the sweep if too many have failed."""
        place = record.folder_of(self._folder, number)
        trial = self._trials[number] = record.trial_in(place)
        self._begun.pop(number, None)
        if trial.state not in record.FINAL:
            return
        told = record.told(place)
        self._study.tell(number, trial.state, trial.values, told)
        if trial.run is None and (place / artifacts.LOCK.name).is_file():
            self._teller.trial(place, told)
        failed = [each for each in self._trials.values() if each.state in {"failed", "killed"}]
        limit = self._made.settings.max_failures
        if self._made.settings.fail_fast and trial in failed and not self._stop:
            self._stop = f"trial {number} {trial.state}: {trial.error} (sweep.fail_fast)"
            for place in self._crew.running:
                supervise.end(place, supervise.INTERRUPTED)
        elif limit is not None and len(failed) > limit and not self._stop:
            self._stop = f"{len(failed)} trials failed, and sweep.max_failures is {limit}; the last: {trial.error}"

    def _hear(self, runs: dict[int, str]) -> None:
        for number, run in runs.items():
            record.tell(record.folder_of(self._folder, number), run=run)
            self._trials[number] = record.trial_in(record.folder_of(self._folder, number))

    def _interrupt(self, error: BaseException) -> None:
        """Kill the running trials so that a resume runs them again, and print the command for it."""
        self._crew.end(supervise.INTERRUPTED)
        for place in self._crew.ended_now():
            self._settle(int(place.name))
        with suppress(MeritError):
            self._hear(self._teller.end("KILLED"))
        done = sum(trial.state in record.FINAL for trial in self._trials.values())
        self._console.print(
            f"sweep {self._made.name}: {done} of {self._made.planned} trials are done and kept; go on with "
            f"'merit train -m sweep.resume={self._made.name}'",
            highlight=False,
            soft_wrap=True,
        )

    def _sweep(self) -> Sweep:
        return record.sweep_of(self._about, self._folder, self._trials.values())

    def _finish(self) -> Sweep:
        for number, told in self._study.elsewhere().items():
            if not (record.folder_of(self._folder, number) / record.TRIAL).is_file():
                record.tell(record.folder_of(self._folder, number), **told)
        found = record.read(self._made.name)
        view.show(self._console, found)
        written = report.write(found)
        done = [trial for trial in found.trials if trial.state == "done"]
        self._console.print(f"{written} shows it{labels.following(found)}", highlight=False, soft_wrap=True)
        if self._stop:
            raise Refused(f"sweep {self._made.name}: given up: {self._stop}")
        self._say_who_goes_on([trial for trial in found.trials if trial.state not in record.FINAL])
        if not done and found.trials:
            last = found.trials[-1]
            raise Refused(
                f"sweep {self._made.name}: none of {len(found.trials)} trials is done; the last: {last.error}"
            )
        return found

    def _say_who_goes_on(self, running: list[Trial]) -> None:
        """Print which live processes work on the unfinished trials.

        Raises:
            Refused: no live process does.
        """
        told = ", ".join(str(trial.number) for trial in running)
        owners = {record.owner_of(trial.folder) for trial in running} - {self._owner.name}
        there = sorted(owner for owner in owners if owner and claims.is_there(self._folder, owner))
        resume = f"'merit train -m sweep.resume={self._made.name}'"
        if there:
            self._console.print(
                f"still running: {told}, by {', '.join(there)} (machine and process), which reports them at its end; "
                f"if it is gone, {resume} runs them again",
                highlight=False,
                soft_wrap=True,
            )
        elif running:
            raise Refused(f"sweep {self._made.name}: {told}: ended without a final state; {resume} runs them again")


def threads_of(how: Trainer) -> int:
    """Return the threads of a trial; on CPU each of its devices is a process with that many threads."""
    return how.threads * (how.devices if how.accelerator == "cpu" else 1)
