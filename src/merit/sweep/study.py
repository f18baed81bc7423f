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

from merit.config.space import Choice, Dimension, Interval
from merit.sweep import record, storage
from merit.sweep.plan import Plan, refuse_another

STATES = {"done": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
DEFINITION, GRID, RECORD = "definition", "grid", "record"


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
        place: index of this process among the sweep's workers; part of the sampler's seed, so that workers draw
            different points.

    Raises:
        MeritError: the storage can't be used, or holds another sweep of that name.
    """

    def __init__(self, plan: Plan, folder: Path, place: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        self._plan = plan
        self.is_shared = plan.settings.storage is not None and not plan.settings.storage.startswith("sqlite")
        self._url = storage.url_of(plan.settings.storage, folder)
        self._open: dict[int, optuna.trial.Trial] = {}
        self.restored = 0
        """Number of trials that were missing in the storage and were restored from files."""
        with storage.faults(self._url):
            self._storage = storage.at(self._url)
            self._study = optuna.create_study(
                storage=self._storage,
                study_name=plan.name,
                directions=[StudyDirection[each.upper()] for each in plan.objectives.values()],
                load_if_exists=True,
                pruner=_pruner(plan),
            )
            former = self._study.user_attrs.get(DEFINITION)
            if former is not None:
                refuse_another(former, plan)
            else:
                self._study.set_user_attr(DEFINITION, plan.definition())
            self._dimensions = {key: _distribution(each, plan) for key, each in plan.space.items()}
            if plan.is_grid:
                self._queue(plan)
            else:
                self._restore(record.trials_in(folder))
            self._study.sampler = _sampler(plan, (len(self._study.get_trials(deepcopy=False)), place))

    def _queue(self, plan: Plan) -> None:
        """Enqueue every point of a grid in the storage, from which each is taken once, by any worker."""
        done = len(self._study.get_trials(deepcopy=False))
        for point in plan.points()[done:]:
            self._study.enqueue_trial(point)

    def _restore(self, known: list[record.Trial]) -> None:
        """Add trials that the storage has lost, in the state RUNNING; `tell` then completes them."""
        by_number = {trial.number: trial for trial in known}
        for number in range(len(self._study.get_trials(deepcopy=False)), max(by_number, default=-1) + 1):
            if (trial := by_number.get(number)) is None:  # a duplicate point has no folder
                self._study.add_trial(optuna.create_trial(state=TrialState.FAIL))
                continue
            params = {key: self._value(key, trial.overrides[key]) for key in self._dimensions}
            begun = optuna.create_trial(state=TrialState.RUNNING, params=params, distributions=self._dimensions)
            self._study.add_trial(begun)
            self.restored += 1

    def _value(self, key: str, text: str) -> Any:
        """Parse a value from text into the storage's form; `_text` is the inverse."""
        dimension = self._plan.space[key]
        if isinstance(dimension, Interval):
            return int(text) if dimension.whole else float(text)
        return text if isinstance(dimension, Choice) else dimension.values.index(text)

    def ask(self) -> Suggestion | None:
        """Return the next trial, or None if none is left."""
        with storage.faults(self._url):
            while True:
                if self._plan.is_grid and not self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
                    return None
                trial = self._study.ask(self._dimensions)
                if self._plan.planned is not None and trial.number >= self._plan.planned:
                    self._study.tell(trial, state=TrialState.FAIL)
                    return None
                found = Suggestion(trial.number, self._point(trial.params))
                if not self._was_there(trial):
                    self._open[trial.number] = trial
                    return found

    def _point(self, params: dict[str, Any]) -> dict[str, str]:
        return {key: _text(each, params[key]) for key, each in self._plan.space.items()}

    def _was_there(self, trial: optuna.trial.Trial) -> bool:
        """Return whether the same point was tried before; if so, tell its result, as training is deterministic."""
        if self._plan.is_grid:
            return False
        for former in self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.RUNNING)):
            if former.number < trial.number and former.params == trial.params:
                known = former.values if former.state == TrialState.COMPLETE else None
                self._study.tell(trial, known, state=None if known else TrialState.FAIL)
                return True
        return False

    def report(self, number: int, epoch: int, metrics: dict[str, float]) -> bool:
        """Report a trial's epoch to the pruner; return whether the trial should be ended early."""
        if self._plan.settings.pruner.kind == "none":
            return False
        (metric,) = self._plan.objectives
        if (value := metrics.get(f"validation_{metric}")) is None or not math.isfinite(value):
            return False
        with storage.faults(self._url):
            trial = self._trial(number)
            trial.report(value, epoch)
            return trial.should_prune()

    def tell(self, number: int, state: str, values: dict[str, float], told: dict[str, Any]) -> None:
        """Report the result of an ended trial; a second call for the same trial changes nothing.

        Args:
            number: the trial.
            state: its final state.
            values: its metrics; a trial that is done without finite objectives is stored as failed.
            told: the content of its trial.json, stored for workers on other machines if the storage is shared.
        """
        with storage.faults(self._url):
            trial = self._trial(number)
            if self.is_shared:
                trial.set_user_attr(RECORD, told)
            known = [values.get(metric, math.nan) for metric in self._plan.objectives] if state == "done" else None
            is_wrong = known is not None and not all(map(math.isfinite, known))
            end = TrialState.FAIL if is_wrong else STATES.get(state, TrialState.FAIL)
            self._study.tell(trial, None if is_wrong else known, state=end, skip_if_finished=True)
            self._open.pop(number, None)

    def untold(self) -> set[int]:
        """Return the numbers of trials whose end hasn't been reported."""
        with storage.faults(self._url):
            found = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            return {trial.number for trial in found if trial.params.keys() == self._dimensions.keys()}

    def known(self, numbers: Iterable[int]) -> set[int]:
        """Return those of the numbers whose points are in the storage."""
        with storage.faults(self._url):
            found = self._study.get_trials(deepcopy=False)
            return {each.number for each in found if each.params.keys() == self._dimensions.keys()} & set(numbers)

    def again(self, number: int) -> Suggestion:
        """Return the suggestion of a trial that was started and never ended, to run it again."""
        with storage.faults(self._url):
            trial = self._trial(number)
            return Suggestion(number, self._point(trial.params))

    def elsewhere(self) -> dict[int, dict[str, Any]]:
        """Return the trial.json contents in a shared storage by number, including those of other machines."""
        if not self.is_shared:
            return {}
        with storage.faults(self._url):
            found = self._study.get_trials(deepcopy=False)
            return {trial.number: trial.user_attrs[RECORD] for trial in found if RECORD in trial.user_attrs}

    def close(self) -> None:
        """Close the storage."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def _trial(self, number: int) -> optuna.trial.Trial:
        if number not in self._open:
            found = next(each for each in self._study.get_trials(deepcopy=False) if each.number == number)
            if found.state == TrialState.WAITING:  # its files say that it ended; the storage lost that
                self._storage.set_trial_state_values(found._trial_id, TrialState.RUNNING)
                self.restored += 1
            self._open[number] = optuna.trial.Trial(self._study, found._trial_id)
        return self._open[number]


def _distribution(dimension: Dimension, plan: Plan) -> BaseDistribution:
    if plan.is_grid or isinstance(dimension, Choice):
        return CategoricalDistribution(sorted(set(dimension.values)))
    if isinstance(dimension, Interval):
        if dimension.whole:
            return IntDistribution(round(dimension.low), round(dimension.high), log=dimension.log)
        return FloatDistribution(dimension.low, dimension.high, log=dimension.log)
    return IntDistribution(0, len(dimension.values) - 1)  # an index: immune to rounding of floats


def _text(dimension: Dimension, value: Any) -> str:
    if isinstance(value, str):
        return value
    return dimension.text(value) if isinstance(dimension, Interval) else dimension.values[value]


def _pruner(plan: Plan) -> optuna.pruners.BasePruner:
    told = plan.settings.pruner
    if told.kind == "median":
        return optuna.pruners.MedianPruner(n_warmup_steps=told.warmup_epochs)
    if told.kind == "hyperband":
        return optuna.pruners.HyperbandPruner(max(1, told.warmup_epochs), plan.base.trainer.max_epochs)
    return optuna.pruners.NopPruner()


def _sampler(plan: Plan, draw: tuple[int, int]) -> optuna.samplers.BaseSampler:
    """Return the sampler, seeded so that a process that joins or resumes doesn't repeat earlier draws.

    Args:
        plan: the sweep's plan.
        draw: number of trials in the study so far, and index of this process.
    """
    seed = plan.settings.seed + 7919 * draw[0] + 104_729 * draw[1]
    if plan.settings.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=seed, multivariate=True)
    if plan.settings.sampler == "cmaes":
        return optuna.samplers.CmaEsSampler(seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)
