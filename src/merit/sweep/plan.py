"""The plan of a sweep, parsed from its overrides and conf/sweep and checked before any trial starts."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from merit import artifacts, git
from merit.config import lock as locks
from merit.config import tasks
from merit.config.compose import Composer
from merit.config.schema import Lock
from merit.config.schema.sweep import (
    COST_OBJECTIVES,
    EXHAUSTIVE_SAMPLERS,
    NUMERIC_SAMPLERS,
    Sweep,
    get_better_direction,
)
from merit.config.sweep import hydra_multirun, sweep_config
from merit.config.sweep import search_space as space
from merit.config.sweep.search_space import Choice, Dimension, Interval, Range
from merit.console.masking import mask_secrets
from merit.errors import ConfigError, MeritError, Problem
from merit.sweep import record

SWEPT_SECTIONS = ("model", "optimizer", "trainer", "seed")
"""Sections of the lock that a sweep may vary: those that affect training but not the features."""
FIXED_SECTIONS = ("tracking",)
"""Further sections that overrides may set, for all trials alike."""
ALLOWED_TEXT = f"{', '.join(SWEPT_SECTIONS)}, and experiment where it changes these alone"
MAX_TRIALS = 100_000
"""Maximum size of a grid: all of its points are enqueued in the study before the first trial."""
MAX_CHECKED_POINTS = 64
"""Maximum size of a grid of which all points are composed before the first trial; of others only samples are."""


@dataclass(frozen=True)
class Plan:
    """A checked sweep, before its first trial.

    Attributes:
        name: name of its folder in sweeps/.
        settings: the validated settings of conf/sweep.
        overrides: overrides of the lock, swept or not.
        sweep_overrides: overrides of the sweep's own settings, such as `sweep.trials=50`.
        launcher_overrides: overrides of Hydra's settings, such as `hydra/launcher=ray`.
        fixed_overrides: overrides that all trials share.
        space: the search space's dimensions by key.
        space_texts: the dimensions by key, as they were written.
        objectives: direction of each metric: minimize or maximize.
        planned_trials: number of trials; None if it is not known.
        base_lock: the lock that all trials vary.
        composer: composes the locks of trials.
    """

    name: str
    settings: Sweep
    overrides: tuple[str, ...]
    sweep_overrides: tuple[str, ...]
    launcher_overrides: tuple[str, ...]
    fixed_overrides: tuple[str, ...]
    space: dict[str, Dimension]
    space_texts: dict[str, str]
    objectives: dict[str, str]
    planned_trials: int | None
    base_lock: Lock
    composer: Composer

    @property
    def is_grid(self) -> bool:
        """Whether the sampler is a grid, so that every point is known beforehand."""
        return self.settings.sampler in EXHAUSTIVE_SAMPLERS

    def list_points(self) -> list[dict[str, str]]:
        """Return the points of a grid in Hydra's order, at most `planned_trials` of them."""
        values = [dimension.values for dimension in self.space.values()]
        combinations = (dict(zip(self.space, point, strict=True)) for point in itertools.product(*values))
        return list(itertools.islice(combinations, self.planned_trials))

    def compose_lock(self, point: dict[str, str]) -> Lock:
        """Compose the lock of a trial.

        Raises:
            ConfigError: conf/ doesn't accept these values.
            MeritError: they change a section that a sweep can't vary.
        """
        lock = self.composer.compose([*self.fixed_overrides, *(f"{key}={value}" for key, value in point.items())]).lock
        refuse_other_sections(self.base_lock, lock, point)
        return lock

    def build_definition(self) -> dict[str, Any]:
        """Return the settings that must not change when a sweep is resumed."""
        return {
            "space": self.space_texts,
            "fixed": _filter_training_overrides(self.fixed_overrides),
            "sampler": self.settings.sampler,
            "objectives": self.objectives,
            "task": self.base_lock.data.target.task,
        }


def make_plan(arguments: Sequence[str]) -> Plan:
    """Parse the overrides of `merit train -m` and conf/ into a plan, and check it.

    Raises:
        ConfigError: the overrides can't be parsed, or name unknown keys or metrics.
        MeritError: nothing is swept, or a section that a sweep can't vary.
    """
    composer = Composer()
    sweep_overrides = [text for text in arguments if sweep_config.is_sweep_override(text)]
    launcher_overrides = [text for text in arguments if hydra_multirun.is_hydra_override(text)]
    overrides = [
        text for text in arguments if not sweep_config.is_sweep_override(text) and text not in launcher_overrides
    ]
    resumed = sweep_config.read_sweep(sweep_overrides, composer.files).sweep.resume
    if resumed is not None:
        former_json = record.read_sweep_json(resumed)
        sweep_overrides = [*former_json["settings"], *sweep_overrides]
        overrides = _merge_overrides(former_json["overrides"], overrides)
    selected = sweep_config.read_sweep(sweep_overrides, composer.files)
    search_space = space.parse_search_space(
        overrides, selected.sweep.space, composer.files, selected.file, selected.sources
    )
    _refuse_fixed_keys(search_space)
    if not search_space.dimensions:
        raise MeritError(
            "train -m: nothing is swept; give a key several values, as optimizer.lr=1e-3,3e-3, or a space by sweep=NAME"
        )
    base_lock = _compose_base_lock(composer, search_space)
    plan = Plan(
        name=resumed or selected.sweep.name or _generate_name(),
        settings=selected.sweep,
        overrides=tuple(overrides),
        sweep_overrides=tuple(text for text in sweep_overrides if not text.startswith("sweep.resume=")),
        launcher_overrides=tuple(launcher_overrides),
        fixed_overrides=search_space.fixed_overrides,
        space=search_space.dimensions,
        space_texts=search_space.texts,
        objectives=_resolve_objectives(selected.sweep, base_lock),
        planned_trials=_count_trials(selected.sweep, search_space.dimensions),
        base_lock=base_lock,
        composer=composer,
    )
    _refuse_invalid_points(plan)
    return plan


def _merge_overrides(former: Sequence[str], current: Sequence[str]) -> list[str]:
    """Return the overrides of a resumed sweep: the former ones, in which new ones may replace the tracking settings."""
    if any(_parse_section(text) not in FIXED_SECTIONS for text in current):
        return list(current)
    keys = {_parse_key(text) for text in current}
    return [*(text for text in former if not {_parse_key(text), _parse_section(text)} & keys), *current]


def _filter_training_overrides(fixed: Sequence[str]) -> list[str]:
    """Return the overrides that affect the trained weights."""
    return sorted(text for text in fixed if _parse_section(text) not in FIXED_SECTIONS)


def _parse_key(text: str) -> str:
    return text.lstrip("+~").partition("=")[0]


def _generate_name() -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}"


def _compose_base_lock(composer: Composer, search_space: space.SearchSpace) -> Lock:
    """Compose the lock that all trials vary; its data and features must be those of params.yaml.

    Raises:
        ConfigError: conf/ doesn't accept the fixed overrides.
        MeritError: params.yaml has other data or features.
    """
    first_values: list[str] = []
    try:
        base_lock = composer.compose(search_space.fixed_overrides).lock
    except ConfigError:
        # A fixed value may depend on a swept one: model.dropout=0.1 needs model=mlp, if the default has no dropout.
        first_values = [f"{key}={dimension.values[0]}" for key, dimension in search_space.dimensions.items()]
        base_lock = composer.compose([*search_space.fixed_overrides, *first_values]).lock
    current_lock = locks.read_lock()
    for section in ("data", "features"):
        if getattr(current_lock, section) != getattr(base_lock, section):
            raise MeritError(
                f"{artifacts.LOCK}: its section {section} is not what conf/ says; a sweep trains on the features "
                "that it describes: run 'merit compose'"
            )
    return base_lock


def _refuse_fixed_keys(search_space: space.SearchSpace) -> None:
    """Refuse keys, swept or fixed, of sections that a sweep can't change."""
    for key in search_space.dimensions:
        if (section := _parse_section(key)) not in {*SWEPT_SECTIONS, "experiment"} and section in {
            *Lock.model_fields,
            "sweep",
        }:
            raise MeritError(
                f"{key}: can't be swept, for all trials share one set of features; allowed: {ALLOWED_TEXT}"
            )
    for text in search_space.fixed_overrides:
        section = _parse_section(text.partition("=")[0])
        if section in Lock.model_fields and section not in {*SWEPT_SECTIONS, *FIXED_SECTIONS, "experiment"}:
            raise MeritError(
                f"{text}: a sweep leaves {artifacts.LOCK} as it is; put it into conf/ and run 'merit compose' first; "
                f"allowed beside -m: {ALLOWED_TEXT}, {', '.join(FIXED_SECTIONS)}"
            )


def _parse_section(key: str) -> str:
    return _parse_key(key).split(".")[0].partition("@")[0]


def refuse_other_sections(base_lock: Lock, lock: Lock, point: dict[str, str]) -> None:
    """Refuse a trial whose lock differs from the base in a section that a sweep can't vary.

    Raises:
        MeritError: it does; a swept experiment may change any section.
    """
    allowed_sections = {*SWEPT_SECTIONS, *FIXED_SECTIONS, "code", "merit"}
    for name in Lock.model_fields:
        if name not in allowed_sections and getattr(base_lock, name) != getattr(lock, name):
            point_text = " ".join(f"{key}={value}" for key, value in point.items())
            raise MeritError(f"{point_text}: changes the section {name}, which can't be swept; allowed: {ALLOWED_TEXT}")


def _resolve_objectives(settings: Sweep, base_lock: Lock) -> dict[str, str]:
    known_metrics = [*tasks.METRICS[base_lock.data.target.task], *COST_OBJECTIVES]
    if not settings.objectives:
        metric = settings.metric or base_lock.trainer.monitor
        _refuse_unknown_metrics({"sweep.metric": metric}, known_metrics)
        return {metric: settings.direction or get_better_direction(metric)}
    _refuse_unknown_metrics({f"sweep.objectives.{name}": name for name in settings.objectives}, known_metrics)
    return dict(settings.objectives)


def _refuse_unknown_metrics(metrics: dict[str, str], known_metrics: list[str]) -> None:
    problems = [
        Problem("", key, f"found '{name}', which no run reports", ", ".join(known_metrics))
        for key, name in metrics.items()
        if name not in known_metrics
    ]
    if problems:
        raise ConfigError(problems)


def _count_trials(settings: Sweep, dimensions: dict[str, Dimension]) -> int:
    if settings.sampler not in EXHAUSTIVE_SAMPLERS:
        if settings.trials is None:
            raise MeritError(f"sweep.trials: missing; say how many trials {settings.sampler} may take")
        if settings.sampler in NUMERIC_SAMPLERS and any(isinstance(each, Choice) for each in dimensions.values()):
            choices = ", ".join(key for key, each in dimensions.items() if isinstance(each, Choice))
            raise MeritError(
                f"sweep.sampler: {settings.sampler} searches numbers alone, and {choices} is a choice; "
                "take tpe or random"
            )
        return settings.trials
    for key, dimension in dimensions.items():
        if isinstance(dimension, Interval):
            raise MeritError(
                f"{key}: a grid can't try all of an interval; give values or a range, or choose sweep=tpe or random"
            )
    grid_size = math.prod(len(dimension.values) for dimension in dimensions.values())
    planned = min(grid_size, settings.trials or grid_size)
    if planned > MAX_TRIALS:
        raise MeritError(
            f"train -m: a grid of {planned:,} trials; allowed: up to {MAX_TRIALS:,}; give fewer values, or let "
            "a sampler choose some: sweep=tpe sweep.trials=50"
        )
    return planned


def _refuse_invalid_points(plan: Plan) -> None:
    """Compose points that are known beforehand, so that a wrong key or value costs no trial.

    These are all points of a small grid; else the first point, and one for each further value of each dimension (of a
    range its last value alone).
    """
    if plan.is_grid and (plan.planned_trials or 0) <= MAX_CHECKED_POINTS:
        points = plan.list_points()
    else:
        first = {key: dimension.values[0] for key, dimension in plan.space.items()}
        points = [
            first,
            *({**first, key: each} for key, dim in plan.space.items() for each in _list_end_values(dim)[1:]),
        ]
    for point in points:
        try:
            plan.compose_lock(point)
        except ConfigError as error:
            point_text = " ".join(f"{key}={value}" for key, value in point.items())
            raise MeritError(f"a trial with {point_text} can't be composed: {error.problems[0]}") from error


def _list_end_values(dimension: Dimension) -> Sequence[str]:
    return dimension.values if not isinstance(dimension, Range) else (dimension.values[0], dimension.values[-1])


def refuse_other_definition(stored: dict[str, Any], plan: Plan) -> None:
    """Refuse to resume a sweep with another definition.

    Args:
        stored: the definition that the sweep started with.
        plan: the plan of the resumed sweep.

    Raises:
        MeritError: the definitions differ; the message says in what.
    """
    current = plan.build_definition()
    stored = {**stored, "fixed": _filter_training_overrides(stored.get("fixed", ()))}
    differences = [
        f"{key} was {mask_secrets(_format_value(stored.get(key)))}, is {mask_secrets(_format_value(current[key]))}"
        for key in current
        if stored.get(key) != current[key]
    ]
    if differences:
        raise MeritError(
            f"sweep {plan.name}: not the one that is there: {'; '.join(differences)}; resume it with "
            f"'merit train -m sweep.resume={plan.name}' alone, or give another sweep.name"
        )


def _format_value(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={each}" for key, each in value.items())
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def build_sweep_json(plan: Plan, features: str, machine: dict[str, Any]) -> dict[str, Any]:
    """Return the content of sweep.json.

    Args:
        plan: the plan.
        features: digest of the features.
        machine: cores, system, processor and Python version.
    """
    return {
        "name": plan.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "sampler": plan.settings.sampler,
        "objectives": plan.objectives,
        "overrides": list(plan.overrides),
        "settings": list(plan.sweep_overrides),
        "launcher": list(plan.launcher_overrides),
        "space": plan.space_texts,
        "planned": plan.planned_trials,
        "seed": plan.settings.seed,
        "definition": plan.build_definition(),
        "commit": git.get_head() or "",
        "features": features,
        "machine": machine,
    }
