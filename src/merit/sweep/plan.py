"""The plan of a sweep, parsed from its overrides and conf/sweep and checked before any trial starts."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from merit import artifacts, git
from merit.config import lock as locks
from merit.config import multirun as hydra
from merit.config import space, sweeps, tasks
from merit.config.compose import Composer
from merit.config.schema import Lock
from merit.config.schema.sweep import COSTS, Sweep, better
from merit.config.space import Choice, Dimension, Interval, Range
from merit.console.masking import masked
from merit.errors import ConfigError, MeritError, Problem
from merit.sweep import record

SECTIONS = ("model", "optimizer", "trainer", "seed")
"""Sections of the lock that a sweep may vary: those that affect training but not the features."""
FIXED = ("tracking",)
"""Further sections that overrides may set, for all trials alike."""
ALLOWED = f"{', '.join(SECTIONS)}, and experiment where it changes these alone"
MOST_TRIALS = 100_000
"""Maximum size of a grid: all of its points are enqueued in the study before the first trial."""
MOST_CHECKED = 64
"""Maximum size of a grid of which all points are composed before the first trial; of others only samples are."""


@dataclass(frozen=True)
class Plan:
    """A checked sweep, before its first trial.

    Attributes:
        name: name of its folder in sweeps/.
        settings: the validated settings of conf/sweep.
        overrides: overrides of the lock, swept or not.
        about: overrides of the sweep's own settings, such as `sweep.trials=50`.
        launcher: overrides of Hydra's settings, such as `hydra/launcher=ray`.
        fixed: overrides that all trials share.
        space: the search space's dimensions by key.
        texts: the dimensions by key, as they were written.
        objectives: direction of each metric: minimize or maximize.
        planned: number of trials; None if it is not known.
        base: the lock that all trials vary.
        composer: composes the locks of trials.
    """

    name: str
    settings: Sweep
    overrides: tuple[str, ...]
    about: tuple[str, ...]
    launcher: tuple[str, ...]
    fixed: tuple[str, ...]
    space: dict[str, Dimension]
    texts: dict[str, str]
    objectives: dict[str, str]
    planned: int | None
    base: Lock
    composer: Composer

    @property
    def is_grid(self) -> bool:
        """Whether the sampler is a grid, so that every point is known beforehand."""
        return self.settings.sampler == "grid"

    def points(self) -> list[dict[str, str]]:
        """Return the points of a grid in Hydra's order, at most `planned` of them."""
        values = [dimension.values for dimension in self.space.values()]
        found = (dict(zip(self.space, point, strict=True)) for point in itertools.product(*values))
        return list(itertools.islice(found, self.planned))

    def lock_of(self, point: dict[str, str]) -> Lock:
        """Compose the lock of a trial.

        Raises:
            ConfigError: conf/ doesn't accept these values.
            MeritError: they change a section that a sweep can't vary.
        """
        made = self.composer.composition([*self.fixed, *(f"{key}={value}" for key, value in point.items())]).lock
        refuse_other_sections(self.base, made, point)
        return made

    def definition(self) -> dict[str, Any]:
        """Return the settings that must not change when a sweep is resumed."""
        return {
            "space": self.texts,
            "fixed": _trained_by(self.fixed),
            "sampler": self.settings.sampler,
            "objectives": self.objectives,
            "task": self.base.data.target.task,
        }


def make(arguments: Sequence[str]) -> Plan:
    """Parse the overrides of `merit train -m` and conf/ into a plan, and check it.

    Raises:
        ConfigError: the overrides can't be parsed, or name unknown keys or metrics.
        MeritError: nothing is swept, or a section that a sweep can't vary.
    """
    composer = Composer()
    about = [text for text in arguments if sweeps.is_about(text)]
    launcher = [text for text in arguments if hydra.is_hydras(text)]
    overrides = [text for text in arguments if not sweeps.is_about(text) and text not in launcher]
    resumed = sweeps.read(about, composer.files).sweep.resume
    if resumed is not None:
        former = record.about_of(resumed)
        about = [*former["settings"], *about]
        overrides = _resumed(former["overrides"], overrides)
    chosen = sweeps.read(about, composer.files)
    asked = space.asked(overrides, chosen.sweep.space, composer.files, chosen.file, chosen.places)
    _refuse_keys(asked)
    if not asked.space:
        raise MeritError(
            "train -m: nothing is swept; give a key several values, as optimizer.lr=1e-3,3e-3, or a space by sweep=NAME"
        )
    base = _base(composer, asked)
    made = Plan(
        name=resumed or chosen.sweep.name or _name(),
        settings=chosen.sweep,
        overrides=tuple(overrides),
        about=tuple(text for text in about if not text.startswith("sweep.resume=")),
        launcher=tuple(launcher),
        fixed=asked.fixed,
        space=asked.space,
        texts=asked.texts,
        objectives=_objectives(chosen.sweep, base),
        planned=_planned(chosen.sweep, asked.space),
        base=base,
        composer=composer,
    )
    _refuse_values(made)
    return made


def _resumed(former: Sequence[str], given: Sequence[str]) -> list[str]:
    """Return the overrides of a resumed sweep: the former ones, in which new ones may replace the tracking settings."""
    if any(_section(text) not in FIXED for text in given):
        return list(given)
    keys = {_key(text) for text in given}
    return [*(text for text in former if not {_key(text), _section(text)} & keys), *given]


def _trained_by(fixed: Sequence[str]) -> list[str]:
    """Return the overrides that affect the trained weights."""
    return sorted(text for text in fixed if _section(text) not in FIXED)


def _key(text: str) -> str:
    return text.lstrip("+~").partition("=")[0]


def _name() -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}"


def _base(composer: Composer, asked: space.Asked) -> Lock:
    """Compose the lock that all trials vary; its data and features must be those of params.yaml.

    Raises:
        ConfigError: conf/ doesn't accept the fixed overrides.
        MeritError: params.yaml has other data or features.
    """
    firsts: list[str] = []
    try:
        base = composer.composition(asked.fixed).lock
    except ConfigError:
        # A fixed value may depend on a swept one: model.dropout=0.1 needs model=mlp, if the default has no dropout.
        firsts = [f"{key}={dimension.values[0]}" for key, dimension in asked.space.items()]
        base = composer.composition([*asked.fixed, *firsts]).lock
    locked = locks.read()
    for section in ("data", "features"):
        if getattr(locked, section) != getattr(base, section):
            raise MeritError(
                f"{artifacts.LOCK}: its section {section} is not what conf/ says; a sweep trains on the features "
                "that it describes: run 'merit compose'"
            )
    return base


def _refuse_keys(asked: space.Asked) -> None:
    """Refuse keys, swept or fixed, of sections that a sweep can't change."""
    for key in asked.space:
        if (section := _section(key)) not in {*SECTIONS, "experiment"} and section in {*Lock.model_fields, "sweep"}:
            raise MeritError(f"{key}: can't be swept, for all trials share one set of features; allowed: {ALLOWED}")
    for text in asked.fixed:
        section = _section(text.partition("=")[0])
        if section in Lock.model_fields and section not in {*SECTIONS, *FIXED, "experiment"}:
            raise MeritError(
                f"{text}: a sweep leaves {artifacts.LOCK} as it is; put it into conf/ and run 'merit compose' first; "
                f"allowed beside -m: {ALLOWED}, {', '.join(FIXED)}"
            )


def _section(key: str) -> str:
    return _key(key).split(".")[0].partition("@")[0]


def refuse_other_sections(base: Lock, made: Lock, point: dict[str, str]) -> None:
    """Refuse a trial whose lock differs from the base in a section that a sweep can't vary.

    Raises:
        MeritError: it does; a swept experiment may change any section.
    """
    free = {*SECTIONS, *FIXED, "code", "merit"}
    for name in Lock.model_fields:
        if name not in free and getattr(base, name) != getattr(made, name):
            told = " ".join(f"{key}={value}" for key, value in point.items())
            raise MeritError(f"{told}: changes the section {name}, which can't be swept; allowed: {ALLOWED}")


def _objectives(settings: Sweep, base: Lock) -> dict[str, str]:
    known = [*tasks.METRICS[base.data.target.task], *COSTS]
    if not settings.objectives:
        metric = settings.metric or base.trainer.monitor
        _refuse_metrics({"sweep.metric": metric}, known)
        return {metric: settings.direction or better(metric)}
    _refuse_metrics({f"sweep.objectives.{name}": name for name in settings.objectives}, known)
    return dict(settings.objectives)


def _refuse_metrics(named: dict[str, str], known: list[str]) -> None:
    found = [
        Problem("", key, f"found '{name}', which no run reports", ", ".join(known))
        for key, name in named.items()
        if name not in known
    ]
    if found:
        raise ConfigError(found)


def _planned(settings: Sweep, dimensions: dict[str, Dimension]) -> int:
    if settings.sampler != "grid":
        if settings.trials is None:
            raise MeritError(f"sweep.trials: missing; say how many trials {settings.sampler} may take")
        if settings.sampler == "cmaes" and any(isinstance(each, Choice) for each in dimensions.values()):
            named = ", ".join(key for key, each in dimensions.items() if isinstance(each, Choice))
            raise MeritError(
                f"sweep.sampler: cmaes searches numbers alone, and {named} is a choice; take tpe or random"
            )
        return settings.trials
    for key, dimension in dimensions.items():
        if isinstance(dimension, Interval):
            raise MeritError(
                f"{key}: a grid can't try all of an interval; give values or a range, or choose sweep=tpe or random"
            )
    whole = math.prod(len(dimension.values) for dimension in dimensions.values())
    planned = min(whole, settings.trials or whole)
    if planned > MOST_TRIALS:
        raise MeritError(
            f"train -m: a grid of {planned:,} trials; allowed: up to {MOST_TRIALS:,}; give fewer values, or let "
            "a sampler choose some: sweep=tpe sweep.trials=50"
        )
    return planned


def _refuse_values(made: Plan) -> None:
    """Compose points that are known beforehand, so that a wrong key or value costs no trial.

    These are all points of a small grid; else the first point, and one for each further value of each dimension (of a
    range its last value alone).
    """
    if made.is_grid and (made.planned or 0) <= MOST_CHECKED:
        points = made.points()
    else:
        first = {key: dimension.values[0] for key, dimension in made.space.items()}
        points = [first, *({**first, key: each} for key, dim in made.space.items() for each in _ends(dim)[1:])]
    for point in points:
        try:
            made.lock_of(point)
        except ConfigError as error:
            told = " ".join(f"{key}={value}" for key, value in point.items())
            raise MeritError(f"a trial with {told} can't be composed: {error.problems[0]}") from error


def _ends(dimension: Dimension) -> Sequence[str]:
    return dimension.values if not isinstance(dimension, Range) else (dimension.values[0], dimension.values[-1])


def refuse_another(former: dict[str, Any], made: Plan) -> None:
    """Refuse to resume a sweep with another definition.

    Args:
        former: the definition that the sweep started with.
        made: the plan of the resumed sweep.

    Raises:
        MeritError: the definitions differ; the message says in what.
    """
    now = made.definition()
    former = {**former, "fixed": _trained_by(former.get("fixed", ()))}
    differing = [
        f"{key} was {masked(_shown(former.get(key)))}, is {masked(_shown(now[key]))}"
        for key in now
        if former.get(key) != now[key]
    ]
    if differing:
        raise MeritError(
            f"sweep {made.name}: not the one that is there: {'; '.join(differing)}; resume it with "
            f"'merit train -m sweep.resume={made.name}' alone, or give another sweep.name"
        )


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={each}" for key, each in value.items())
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def about_json(made: Plan, features: str, machine: dict[str, Any]) -> dict[str, Any]:
    """Return the content of sweep.json.

    Args:
        made: the plan.
        features: digest of the features.
        machine: cores, system, processor and Python version.
    """
    return {
        "name": made.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "sampler": made.settings.sampler,
        "objectives": made.objectives,
        "overrides": list(made.overrides),
        "settings": list(made.about),
        "launcher": list(made.launcher),
        "space": made.texts,
        "planned": made.planned,
        "seed": made.settings.seed,
        "definition": made.definition(),
        "commit": git.head() or "",
        "features": features,
        "machine": machine,
    }
