"""An Optuna study that suggests the next trial; only the sweep's own process uses its storage, never a trial's."""

import logging
import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState

from merit.config.sweep.search_space import Choice, Dimension, Interval
from merit.sweep import record
from merit.sweep.plan import Plan, refuse_other_definition
from merit.sweep.search import storage
from merit.sweep.search.samplers.registry import create_sampler

STATES = {"done": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
DEFINITION_ATTRIBUTE, GRID, RECORD_ATTRIBUTE = "definition", "grid", "record"


@dataclass(frozen=True)
class Suggestion:
    """A trial to run: its number in the study, and the value of each swept key as text of an override."""

    number: int
    point: dict[str, str]


class Study:
    """Wraps an Optuna study in a sweep's terms: numbers, points of text values, states and metrics.

    Args:
        plan: the sweep's plan.
        folder: the sweep's folder, which holds the storage if sweep.storage isn't set.
        worker_index: index of this process among the sweep's workers; part of the sampler's seed, so that workers draw
            different points.

    Raises:
        MeritError: the storage can't be used, or holds another sweep of that name.
    """

    def __init__(self, plan: Plan, folder: Path, worker_index: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        self._plan = plan
        self.is_shared = plan.settings.storage is not None and not plan.settings.storage.startswith("sqlite")
        self._url = storage.build_url(plan.settings.storage, folder)
        self._trials: dict[int, optuna.trial.Trial] = {}
        self.restored_count = 0
        """Number of trials that were missing in the storage and were restored from files."""
        with storage.convert_errors(self._url):
            self._storage = storage.open_storage(self._url)
            self._study = optuna.create_study(
                storage=self._storage,
                study_name=plan.name,
                directions=[StudyDirection[each.upper()] for each in plan.objectives.values()],
                load_if_exists=True,
                pruner=_build_pruner(plan),
            )
            stored_definition = self._study.user_attrs.get(DEFINITION_ATTRIBUTE)
            if stored_definition is not None:
                refuse_other_definition(stored_definition, plan)
            else:
                self._study.set_user_attr(DEFINITION_ATTRIBUTE, plan.build_definition())
            self._dimensions = {key: _build_distribution(each, plan) for key, each in plan.space.items()}
            if plan.is_grid:
                self._enqueue_grid(plan)
            else:
                self._restore_trials(record.read_trials(folder))
            seed = _compute_seed(plan, (len(self._study.get_trials(deepcopy=False)), worker_index))
            self._study.sampler = create_sampler(plan.settings.sampler, seed)

    def _enqueue_grid(self, plan: Plan) -> None:
        """Enqueue every point of a grid in the storage, from which each is taken once, by any worker."""
        enqueued = len(self._study.get_trials(deepcopy=False))
        for point in plan.list_points()[enqueued:]:
            self._study.enqueue_trial(point)

    def _restore_trials(self, recorded: list[record.Trial]) -> None:
        """Add trials that the storage has lost, in the state RUNNING; `tell` then completes them."""
        by_number = {trial.number: trial for trial in recorded}
        for number in range(len(self._study.get_trials(deepcopy=False)), max(by_number, default=-1) + 1):
            if (trial := by_number.get(number)) is None:  # a duplicate point has no folder
                self._study.add_trial(optuna.create_trial(state=TrialState.FAIL))
                continue
            params = {key: self._parse_value(key, trial.overrides[key]) for key in self._dimensions}
            running = optuna.create_trial(state=TrialState.RUNNING, params=params, distributions=self._dimensions)
            self._study.add_trial(running)
            self.restored_count += 1

    def _parse_value(self, key: str, text: str) -> Any:
        """Parse a value from text into the storage's form; `_format_value` is the inverse."""
        dimension = self._plan.space[key]
        if isinstance(dimension, Interval):
            return int(text) if dimension.is_integer else float(text)
        return text if isinstance(dimension, Choice) else dimension.values.index(text)

    def ask(self) -> Suggestion | None:
        """Return the next trial, or None if none is left."""
        with storage.convert_errors(self._url):
            while True:
                if self._plan.is_grid and not self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
                    return None
                trial = self._study.ask(self._dimensions)
                if self._plan.planned_trials is not None and trial.number >= self._plan.planned_trials:
                    self._study.tell(trial, state=TrialState.FAIL)
                    return None
                suggestion = Suggestion(trial.number, self._format_point(trial.params))
                if not self._reuse_known_result(trial):
                    self._trials[trial.number] = trial
                    return suggestion

    def _format_point(self, params: dict[str, Any]) -> dict[str, str]:
        return {key: _format_value(each, params[key]) for key, each in self._plan.space.items()}

    def _reuse_known_result(self, trial: optuna.trial.Trial) -> bool:
        """Return whether the same point was tried before; if so, tell its result, as training is deterministic."""
        if self._plan.is_grid:
            return False
        for former in self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.RUNNING)):
            if former.number < trial.number and former.params == trial.params:
                values = former.values if former.state == TrialState.COMPLETE else None
                self._study.tell(trial, values, state=None if values else TrialState.FAIL)
                return True
        return False

    def report(self, number: int, epoch: int, metrics: dict[str, float]) -> bool:
        """Report a trial's epoch to the pruner; return whether the trial should be ended early."""
        if self._plan.settings.pruner.kind == "none":
            return False
        (metric,) = self._plan.objectives
        if (value := metrics.get(f"validation_{metric}")) is None or not math.isfinite(value):
            return False
        with storage.convert_errors(self._url):
            trial = self._load_trial(number)
            trial.report(value, epoch)
            return trial.should_prune()

    def tell(self, number: int, state: str, values: dict[str, float], payload: dict[str, Any]) -> None:
        """Report the result of an ended trial; a second call for the same trial changes nothing.

        Args:
            number: the trial.
            state: its final state.
            values: its metrics; a trial that is done without finite objectives is stored as failed.
            payload: the content of its trial.json, stored for workers on other machines if the storage is shared.
        """
        with storage.convert_errors(self._url):
            trial = self._load_trial(number)
            if self.is_shared:
                trial.set_user_attr(RECORD_ATTRIBUTE, payload)
            objective_values = (
                [values.get(metric, math.nan) for metric in self._plan.objectives] if state == "done" else None
            )
            is_invalid = objective_values is not None and not all(map(math.isfinite, objective_values))
            final_state = TrialState.FAIL if is_invalid else STATES.get(state, TrialState.FAIL)
            self._study.tell(trial, None if is_invalid else objective_values, state=final_state, skip_if_finished=True)
            self._trials.pop(number, None)

    def list_unfinished(self) -> set[int]:
        """Return the numbers of trials whose end hasn't been reported."""
        with storage.convert_errors(self._url):
            running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            return {trial.number for trial in running if trial.params.keys() == self._dimensions.keys()}

    def filter_known(self, numbers: Iterable[int]) -> set[int]:
        """Return those of the numbers whose points are in the storage."""
        with storage.convert_errors(self._url):
            stored = self._study.get_trials(deepcopy=False)
            return {each.number for each in stored if each.params.keys() == self._dimensions.keys()} & set(numbers)

    def repeat_suggestion(self, number: int) -> Suggestion:
        """Return the suggestion of a trial that was started and never ended, to run it again."""
        with storage.convert_errors(self._url):
            trial = self._load_trial(number)
            return Suggestion(number, self._format_point(trial.params))

    def read_shared_records(self) -> dict[int, dict[str, Any]]:
        """Return the trial.json contents in a shared storage by number, including those of other machines."""
        if not self.is_shared:
            return {}
        with storage.convert_errors(self._url):
            stored = self._study.get_trials(deepcopy=False)
            return {
                trial.number: trial.user_attrs[RECORD_ATTRIBUTE]
                for trial in stored
                if RECORD_ATTRIBUTE in trial.user_attrs
            }

    def close(self) -> None:
        """Close the storage."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def _load_trial(self, number: int) -> optuna.trial.Trial:
        if number not in self._trials:
            stored = next(each for each in self._study.get_trials(deepcopy=False) if each.number == number)
            study_id = self._storage.get_study_id_from_name(self._study.study_name)
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(study_id, number)
            if stored.state == TrialState.WAITING:  # its files say that it ended; the storage lost that
                self._storage.set_trial_state_values(trial_id, TrialState.RUNNING)
                self.restored_count += 1
            self._trials[number] = optuna.trial.Trial(self._study, trial_id)
        return self._trials[number]


def _build_distribution(dimension: Dimension, plan: Plan) -> BaseDistribution:
    if plan.is_grid or isinstance(dimension, Choice):
        return CategoricalDistribution(sorted(set(dimension.values)))
    if isinstance(dimension, Interval):
        if dimension.is_integer:
            return IntDistribution(round(dimension.low), round(dimension.high), log=dimension.is_log)
        return FloatDistribution(dimension.low, dimension.high, log=dimension.is_log)
    return IntDistribution(0, len(dimension.values) - 1)  # an index: immune to rounding of floats


def _format_value(dimension: Dimension, value: Any) -> str:
    if isinstance(value, str):
        return value
    return dimension.format_number(value) if isinstance(dimension, Interval) else dimension.values[value]


def _build_pruner(plan: Plan) -> optuna.pruners.BasePruner:
    settings = plan.settings.pruner
    if settings.kind == "median":
        return optuna.pruners.MedianPruner(n_warmup_steps=settings.warmup_epochs)
    if settings.kind == "hyperband":
        return optuna.pruners.HyperbandPruner(max(1, settings.warmup_epochs), plan.base_lock.trainer.max_epochs)
    return optuna.pruners.NopPruner()


def _compute_seed(plan: Plan, position: tuple[int, int]) -> int:
    """Return the sampler's seed, such that a process that joins or resumes doesn't repeat earlier draws.

    Args:
        plan: the sweep's plan.
        position: number of trials in the study so far, and index of this process.
    """
    return plan.settings.seed + 7919 * position[0] + 104_729 * position[1]
