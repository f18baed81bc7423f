"""The sweep's main loop: starts trials, monitors them, reports their results to Optuna and tracking, and shuts down."""

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from merit import artifacts
from merit.config.schema import Trainer
from merit.console import logging
from merit.errors import MeritError, Refused
from merit.process.cores import count_cores
from merit.sweep import ownership, plan, record
from merit.sweep.record import Sweep, Trial
from merit.sweep.report import labels, page, terminal
from merit.sweep.trials import prepare, process, supervise
from merit.sweep.trials.trial_executor import TrialExecutor
from merit.tracking.sweep_logger import SweepLogger

if TYPE_CHECKING:
    from merit.sweep.search.study import Study

POLL_INTERVAL_S, HEARTBEAT_INTERVAL_S = 0.05, 5.0
"""Seconds between two polls of the running trials, and between two heartbeats."""


class SweepLoop:
    """Starts, monitors and ends the trials of a sweep.

    Args:
        sweep_plan: the plan.
        folder: the sweep's folder.
        study: suggests the next point.
        executor: runs trials.
        owner: this process, recorded as the owner of the trials that it starts.
        sweep_logger: reports trials to the tracking store.
    """

    def __init__(
        self,
        sweep_plan: plan.Plan,
        folder: Path,
        study: "Study",
        executor: TrialExecutor,
        owner: ownership.Owner,
        *,
        sweep_logger: SweepLogger,
    ) -> None:
        self._plan, self._folder, self._study, self._executor, self._owner = sweep_plan, folder, study, executor, owner
        self._console = Console()
        self._sweep_logger = sweep_logger
        self._trials: dict[int, Trial] = {}
        self._history_sizes: dict[int, int] = {}
        self._started_at: dict[int, float] = {}
        self._external: set[int] = set()
        self._damaged: set[int] = set()
        self._last_heartbeat = 0.0
        self._is_exhausted = False
        self._checks_unfinished = sweep_plan.settings.resume is not None or study.is_shared
        self._stop_reason: str | None = None
        self._sweep_json = record.read_sweep_json(sweep_plan.name)

    def run(self) -> Sweep:
        """Run until no trial is left, and return the sweep.

        Raises:
            Refused: the sweep was stopped (sweep.fail_fast, sweep.max_failures), or no trial is done.
            MeritError: the launcher, the storage or tracking failed.
        """
        logging.show_line(self._describe_start())
        try:
            self._load_existing_trials()
            with terminal.LiveTable(self._console, self._plan.objectives, self._plan.planned_trials) as live:
                while True:
                    self._start_trials()
                    self._poll_trials()
                    live.update(self._build_sweep())
                    if self._is_finished():
                        break
                    time.sleep(POLL_INTERVAL_S)
            self._record_runs(self._sweep_logger.end_sweep("FAILED" if self._stop_reason else "FINISHED"))
        except BaseException as error:
            self._handle_interrupt(error)
            raise
        return self._finish_sweep()

    def _is_finished(self) -> bool:
        """Return whether no trial runs and none is left, including trials that other, now dead, workers started."""
        if self._executor.running or self._external or not (self._is_exhausted or self._stop_reason):
            return False
        if self._stop_reason is None and self._list_unfinished():
            self._is_exhausted, self._checks_unfinished = False, True
        return (self._is_exhausted or self._stop_reason is not None) and not self._external

    def _describe_start(self) -> str:
        threads = count_threads(self._plan.base_lock.trainer)
        width, planned = self._executor.width, self._plan.planned_trials
        return (
            f"sweep {self._plan.name}: {planned} trials by {self._plan.settings.sampler}, {width} at once with "
            f"{threads} thread{'s' * (threads > 1)} each; this machine has {count_cores()} cores"
        )

    def _load_existing_trials(self) -> None:
        """Load the trials of an earlier process: report ended ones, and note those that must run again."""
        for trial in record.read_trials(self._folder):
            self._trials[trial.number] = trial
            if trial.state in record.FINAL_STATES:
                self._record_result(trial.number)
        self._damaged = self._study.filter_known(record.find_damaged(self._folder))
        for number in sorted(self._damaged):
            message = f"trial {number:>3}  its {record.TRIAL_JSON} is damaged: it is trained again"
            logging.show_line(message)
        if self._study.restored_count:
            message = f"{self._study.restored_count} trials were missing in sweep.storage; restored from their files"
            logging.show_line(message)

    def _start_trials(self) -> None:
        """Start as many trials as there is room for."""
        folders: list[Path] = []
        while not self._stop_reason and not self._is_exhausted and len(folders) < self._executor.count_free_slots():
            with ownership.lock_claims(self._folder):
                if (trial_folder := self._prepare_next_trial()) is not None:
                    folders.append(trial_folder)
            if not self._executor.is_batch:
                break  # start it before asking for the next, which costs time
        for trial_folder in folders:
            number = int(trial_folder.name)
            self._started_at[number], self._history_sizes[number] = time.time(), 0
            self._trials[number] = record.read_trial(trial_folder)
        if folders:
            self._executor.start_trials(folders)

    def _prepare_next_trial(self) -> Path | None:
        """Return the folder of the next trial; None if there is none, or if its point doesn't compose."""
        unfinished = self._list_unfinished() if self._checks_unfinished else []
        suggestion = self._study.repeat_suggestion(unfinished[0]) if unfinished else self._study.ask()
        self._damaged -= set(unfinished[:1])
        if suggestion is None:
            self._is_exhausted = True
            return None
        try:
            return prepare.prepare_trial(
                self._folder, self._plan, suggestion.number, suggestion.point, self._owner.name
            )
        except MeritError:
            self._trials[suggestion.number] = record.read_trial(record.locate_trial(self._folder, suggestion.number))
            self._record_result(suggestion.number)
            return None

    def _list_unfinished(self) -> list[int]:
        """Return the trials that were started, have no final state and belong to no live process."""
        return [
            number for number in sorted(self._study.list_unfinished() | self._damaged) if self._is_unfinished(number)
        ]

    def _is_unfinished(self, number: int) -> bool:
        trial_folder = record.locate_trial(self._folder, number)
        if number in self._damaged:
            return True
        if not (trial_folder / record.TRIAL_JSON).is_file():
            return not self._study.is_shared  # in a shared study it may be another machine's trial
        if number in self._started_at or number in self._external or record.is_final(trial_folder):
            return False
        if ownership.is_active(self._folder, record.read_owner(trial_folder)):
            return False
        if not supervise.is_alive(trial_folder):
            return True
        self._external.add(number)  # a cluster's job outlives the sweep that started it
        message = f"trial {number:>3}  still runs, begun by an earlier process: waiting for it"
        logging.show_line(message)
        return False

    def _poll_trials(self) -> None:
        """Poll the running trials: new epochs, timeouts and exits."""
        if time.monotonic() - self._last_heartbeat > HEARTBEAT_INTERVAL_S:
            self._owner.send_heartbeat()
            self._last_heartbeat = time.monotonic()
        ended = {int(trial_folder.name) for trial_folder in self._executor.pop_ended()}
        for number in [*ended, *(int(place.name) for place in self._executor.running), *self._external]:
            self._check_progress(number)
        for number in ended:
            self._record_result(number)
        for number in list(self._external):
            place = record.locate_trial(self._folder, number)
            if record.is_final(place):
                self._external.discard(number)
                self._record_result(number)
            elif not supervise.is_alive(place):
                self._external.discard(number)
                self._is_exhausted = False  # the trial must run again
        self._record_runs(self._sweep_logger.pop_runs())

    def _check_progress(self, number: int) -> None:
        """Report a trial's new epochs to the pruner, and end a trial that is pruned or exceeds the time limit."""
        trial_folder = record.locate_trial(self._folder, number)
        known_size = self._history_sizes.get(number, 0)
        size = (trial_folder / record.HISTORY_CSV).stat().st_size if (trial_folder / record.HISTORY_CSV).exists() else 0
        if size > known_size:
            rows = record.read_epochs(trial_folder)
            reported = self._trials[number].epochs if number in self._trials else 0
            for row in rows[reported:]:
                if self._study.report(number, int(row["epoch"]), row):
                    (trial_folder / process.STOP_FILE).touch()
            self._history_sizes[number] = size
            self._trials[number] = record.read_trial(trial_folder, epochs=len(rows))
        limit = self._plan.settings.timeout_seconds
        if limit and self._measure_runtime(number) > limit and not (trial_folder / process.KILL_FILE).exists():
            supervise.request_kill(trial_folder, f"took longer than sweep.timeout_seconds, {limit} s")

    def _measure_runtime(self, number: int) -> float:
        """Return for how many seconds a trial's process has run: 0 while the trial waits in a queue."""
        started = record.read_trial_json(record.locate_trial(self._folder, number)).get("started")
        return time.time() - started if started is not None else 0.0

    def _record_result(self, number: int) -> None:
        """Report an ended trial to Optuna and to tracking, and stop the sweep if too many have failed."""
        trial_folder = record.locate_trial(self._folder, number)
        trial = self._trials[number] = record.read_trial(trial_folder)
        self._started_at.pop(number, None)
        if trial.state not in record.FINAL_STATES:
            return
        payload = record.read_trial_json(trial_folder)
        self._study.tell(number, trial.state, trial.values, payload)
        if trial.run is None and (trial_folder / artifacts.LOCK.name).is_file():
            self._sweep_logger.log_trial(trial_folder, payload)
        failed = [each for each in self._trials.values() if each.state in {"failed", "killed"}]
        limit = self._plan.settings.max_failures
        if self._plan.settings.fail_fast and trial in failed and not self._stop_reason:
            self._stop_reason = f"trial {number} {trial.state}: {trial.error} (sweep.fail_fast)"
            for trial_folder in self._executor.running:
                supervise.request_kill(trial_folder, supervise.INTERRUPTED)
        elif limit is not None and len(failed) > limit and not self._stop_reason:
            self._stop_reason = (
                f"{len(failed)} trials failed, and sweep.max_failures is {limit}; the last: {trial.error}"
            )

    def _record_runs(self, runs: dict[int, str]) -> None:
        for number, run in runs.items():
            record.update_trial_json(record.locate_trial(self._folder, number), run=run)
            self._trials[number] = record.read_trial(record.locate_trial(self._folder, number))

    def _handle_interrupt(self, error: BaseException) -> None:
        """Kill the running trials so that a resume runs them again, and print the command for it."""
        self._executor.kill_running(supervise.INTERRUPTED)
        for trial_folder in self._executor.pop_running():
            self._record_result(int(trial_folder.name))
        with suppress(MeritError):
            self._record_runs(self._sweep_logger.end_sweep("KILLED"))
        done = sum(trial.state in record.FINAL_STATES for trial in self._trials.values())
        logging.show_line(
            f"sweep {self._plan.name}: {done} of {self._plan.planned_trials} trials are done and kept; go on with "
            f"'merit train -m sweep.resume={self._plan.name}'"
        )

    def _build_sweep(self) -> Sweep:
        return record.build_sweep(self._sweep_json, self._folder, self._trials.values())

    def _finish_sweep(self) -> Sweep:
        for number, payload in self._study.read_shared_records().items():
            if not (record.locate_trial(self._folder, number) / record.TRIAL_JSON).is_file():
                record.update_trial_json(record.locate_trial(self._folder, number), **payload)
        finished_sweep = record.read_sweep(self._plan.name)
        terminal.print_sweep(self._console, finished_sweep)
        report_path = page.write_report(finished_sweep)
        done = [trial for trial in finished_sweep.trials if trial.state == "done"]
        logging.show_line(f"{report_path} shows it{labels.describe_next_step(finished_sweep)}")
        if self._stop_reason:
            raise Refused(f"sweep {self._plan.name}: given up: {self._stop_reason}")
        self._report_owners([trial for trial in finished_sweep.trials if trial.state not in record.FINAL_STATES])
        if not done and finished_sweep.trials:
            last = finished_sweep.trials[-1]
            raise Refused(
                f"sweep {self._plan.name}: none of {len(finished_sweep.trials)} trials is done; the last: {last.error}"
            )
        return finished_sweep

    def _report_owners(self, running: list[Trial]) -> None:
        """Print which live processes work on the unfinished trials.

        Raises:
            Refused: no live process does.
        """
        numbers = ", ".join(str(trial.number) for trial in running)
        owners = {record.read_owner(trial.folder) for trial in running} - {self._owner.name}
        active_owners = sorted(owner for owner in owners if owner and ownership.is_active(self._folder, owner))
        resume_command = f"'merit train -m sweep.resume={self._plan.name}'"
        if active_owners:
            logging.show_line(
                f"still running: {numbers}, by {', '.join(active_owners)} (machine and process), which reports them at "
                f"its end; if it is gone, {resume_command} runs them again"
            )
        elif running:
            raise Refused(
                f"sweep {self._plan.name}: {numbers}: ended without a final state; {resume_command} runs them again"
            )


def count_threads(settings: Trainer) -> int:
    """Return the threads of a trial; on CPU each of its devices is a process with that many threads."""
    return settings.threads * (settings.devices if settings.accelerator == "cpu" else 1)
