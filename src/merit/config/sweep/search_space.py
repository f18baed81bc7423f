"""The search space: Hydra's sweep syntax parsed into dimensions, each with the texts for a trial's overrides."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from merit.config.compose import OVERRIDE_SYNTAX
from merit.config.composition import group_choices
from merit.errors import ConfigError, Problem

SWEEP_SYNTAX = "several values, such as 1e-3,3e-3, choice(a, b), range(1, 5), interval(0.1, 0.5) or glob(*)"
MAX_RANGE_VALUES = 100_000
"""The maximum number of values of one range."""


@dataclass(frozen=True)
class Choice:
    """One of several texts, in the order of a grid."""

    values: tuple[str, ...]


@dataclass(frozen=True)
class Range:
    """Evenly spaced numbers, and their texts."""

    numbers: tuple[float, ...]
    values: tuple[str, ...]


@dataclass(frozen=True)
class Interval:
    """Any number between two limits."""

    low: float
    high: float
    is_log: bool
    is_integer: bool

    @property
    def values(self) -> tuple[str, ...]:
        """The texts of its limits, which are checked as examples of its values."""
        return self.format_number(self.low), self.format_number(self.high)

    def format_number(self, number: float) -> str:
        """Return the text of a number for an override."""
        return str(round(number)) if self.is_integer else repr(float(number))


Dimension = Choice | Range | Interval


@dataclass(frozen=True)
class SearchSpace:
    """The search space of a command line: overrides that all trials share, and dimensions with their texts."""

    fixed_overrides: tuple[str, ...]
    dimensions: dict[str, Dimension]
    texts: dict[str, str]


def parse_search_space(
    overrides: Sequence[str],
    space: Mapping[str, Any],
    files: group_choices.ConfigFiles,
    source: str,
    sources: Mapping[str, str] | None = None,
) -> SearchSpace:
    """Parse the overrides of a command line and the space of conf/sweep; the command line takes precedence.

    Args:
        overrides: Hydra's overrides, swept or not.
        space: text or list by key, as in conf/sweep.
        files: the files of conf/, which a glob selects from.
        source: the file that the space comes from.
        sources: a more precise location of a key of the space, where it is known.

    Raises:
        ConfigError: something can't be parsed, or an entry of the space has a single value.
    """
    problems: list[Problem] = []
    parsed = [(text, _parse_override(text, files, "command line", problems)) for text in overrides]
    swept = {each.get_key_element(): (each, text.partition("=")[2]) for text, each in parsed if _is_swept(each)}
    fixed = tuple(text for text, each in parsed if not _is_swept(each))
    given_keys = {text.partition("=")[0].lstrip("+~") for text in fixed} | set(swept)
    for key in (key for key in space if key not in given_keys):
        key_source = (sources or {}).get(key, source)
        if (parsed_entry := _parse_entry(key, space[key], files, key_source, problems)) is not None:
            swept[key] = parsed_entry
    dimensions = {key: _to_dimension(each) for key, (each, _) in swept.items()}
    texts = {key: text for key, (_, text) in swept.items()}
    problems += [fault for key, each in dimensions.items() if (fault := _find_problem(key, each, texts[key]))]
    if problems:
        raise ConfigError(problems)
    return SearchSpace(fixed, dimensions, texts)


def _is_swept(parsed: Any) -> bool:
    return parsed is not None and parsed.is_sweep_override()


def _parse_entry(
    key: str, value: Any, files: group_choices.ConfigFiles, source: str, problems: list[Problem]
) -> tuple[Any, str] | None:
    """Return Hydra's parse of an entry of conf/sweep and its text; None, with the problem recorded, on failure."""
    if not value:
        problems.append(Problem(source, f"sweep.space.{key}", f"found {value!r}, which holds no values", SWEEP_SYNTAX))
        return None
    text = value if isinstance(value, str) else _to_sweep_text(value)
    parsed = _parse_override(f"{key}={text}", files, source, problems)
    if parsed is not None and not parsed.is_sweep_override():
        problems.append(Problem(source, f"sweep.space.{key}", f"found {text!r}", SWEEP_SYNTAX))
        return None
    return None if parsed is None else (parsed, text)


def _find_problem(key: str, dimension: Dimension, text: str) -> Problem | None:
    """Return the problem of a dimension's values; None if there is none."""
    if not dimension.values or (isinstance(dimension, Interval) and not dimension.low < dimension.high):
        return Problem("", key, f"found {text!r}, which holds no values", SWEEP_SYNTAX)
    if isinstance(dimension, Interval) and dimension.is_log and dimension.low <= 0:
        return Problem("", key, f"found {text!r}", "an interval above 0 where the scale is log")
    return None


def _to_sweep_text(values: Sequence[Any]) -> str:
    """Return a YAML list in Hydra's sweep syntax; choice() would refuse null."""
    texts = [_to_override_text(value) for value in values]
    return ",".join(texts) if len(texts) > 1 else f"choice({', '.join(texts)})"


def _to_override_text(value: Any) -> str:
    return (
        {None: "null", True: "true", False: "false"}[value]
        if value is None or value is True or value is False
        else str(value)
    )


class _GroupLoader:
    """The loader that Hydra's parser needs: it lists the choices of a group."""

    def __init__(self, files: group_choices.ConfigFiles) -> None:
        self._files = files

    def get_group_options(self, group: str, results_filter: Any = None) -> list[str]:
        """Return the choices of a group."""
        return group_choices.list_choices(self._files, group)


def _parse_override(text: str, files: group_choices.ConfigFiles, source: str, problems: list[Problem]) -> Any:
    """Return Hydra's parse of an override; None, with the problem recorded, on failure."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        (parsed,) = OverridesParser.create(cast(Any, _GroupLoader(files))).parse_overrides([text])
        if parsed.is_range_sweep() and (count := _count_values(parsed.value())) > MAX_RANGE_VALUES:
            problems.append(
                Problem(source, text, f"a range of {count:,} values", f"up to {MAX_RANGE_VALUES:,}", "take an interval")
            )
            return None
        if parsed.is_sweep_override():
            _to_dimension(parsed)
    except (HydraException, ValueError, TypeError, ArithmeticError) as error:
        reason = " ".join(str(error).splitlines()[0].split()) if str(error) else "unreadable"
        problems.append(Problem(source, text, f"bad syntax: {reason}", OVERRIDE_SYNTAX))
        return None
    return parsed


def _count_values(range_sweep: Any) -> int:
    """Return the number of values of a range without expanding it."""
    return max(0, math.ceil((range_sweep.stop - range_sweep.start) / range_sweep.step)) if range_sweep.step else 0


def _to_dimension(parsed: Any) -> Dimension:
    if parsed.is_interval_sweep():
        interval = parsed.value()
        is_integer = isinstance(interval.start, int) and isinstance(interval.end, int)
        return Interval(interval.start, interval.end, "log" in interval.tags, is_integer)
    values = tuple(parsed.sweep_string_iterator())
    if parsed.is_range_sweep() and len(values) > 1:
        numbers = [float(value) for value in values]
        if all(math.isfinite(number) for number in numbers):
            pairs = sorted(zip(numbers, values, strict=True))
            return Range(tuple(number for number, _ in pairs), tuple(value for _, value in pairs))
    return Choice(values)
