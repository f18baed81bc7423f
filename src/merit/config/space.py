"""The search space: Hydra's sweep syntax parsed into dimensions, each with the texts for a trial's overrides."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from merit.config import choices
from merit.config.compose import SYNTAX
from merit.errors import ConfigError, Problem

SWEEPS = "several values, such as 1e-3,3e-3, choice(a, b), range(1, 5), interval(0.1, 0.5) or glob(*)"
MOST_VALUES = 100_000
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
    log: bool
    whole: bool

    @property
    def values(self) -> tuple[str, ...]:
        """The texts of its limits, which are checked as examples of its values."""
        return self.text(self.low), self.text(self.high)

    def text(self, number: float) -> str:
        """Return the text of a number for an override."""
        return str(round(number)) if self.whole else repr(float(number))


Dimension = Choice | Range | Interval


@dataclass(frozen=True)
class Asked:
    """The search space of a command line: overrides that all trials share, and dimensions with their texts."""

    fixed: tuple[str, ...]
    space: dict[str, Dimension]
    texts: dict[str, str]


def asked(
    overrides: Sequence[str],
    space: Mapping[str, Any],
    files: choices.Files,
    where: str,
    places: Mapping[str, str] | None = None,
) -> Asked:
    """Parse the overrides of a command line and the space of conf/sweep; the command line takes precedence.

    Args:
        overrides: Hydra's overrides, swept or not.
        space: text or list by key, as in conf/sweep.
        files: the files of conf/, which a glob selects from.
        where: the file that the space comes from.
        places: a more precise location of a key of the space, where it is known.

    Raises:
        ConfigError: something can't be parsed, or an entry of the space has a single value.
    """
    found: list[Problem] = []
    parsed = [(text, _parsed(text, files, "command line", found)) for text in overrides]
    swept = {each.get_key_element(): (each, text.partition("=")[2]) for text, each in parsed if _is_swept(each)}
    fixed = tuple(text for text, each in parsed if not _is_swept(each))
    settled = {text.partition("=")[0].lstrip("+~") for text in fixed} | set(swept)
    for key in (key for key in space if key not in settled):
        place = (places or {}).get(key, where)
        if (read := _of_space(key, space[key], files, place, found)) is not None:
            swept[key] = read
    dimensions = {key: _dimension(each) for key, (each, _) in swept.items()}
    texts = {key: text for key, (_, text) in swept.items()}
    found += [fault for key, each in dimensions.items() if (fault := _fault_of(key, each, texts[key]))]
    if found:
        raise ConfigError(found)
    return Asked(fixed, dimensions, texts)


def _is_swept(parsed: Any) -> bool:
    return parsed is not None and parsed.is_sweep_override()


def _of_space(key: str, value: Any, files: choices.Files, place: str, found: list[Problem]) -> tuple[Any, str] | None:
    """Return Hydra's parse of an entry of conf/sweep and its text; None, with the problem recorded, on failure."""
    if not value:
        found.append(Problem(place, f"sweep.space.{key}", f"found {value!r}, which holds no values", SWEEPS))
        return None
    text = value if isinstance(value, str) else _written(value)
    parsed = _parsed(f"{key}={text}", files, place, found)
    if parsed is not None and not parsed.is_sweep_override():
        found.append(Problem(place, f"sweep.space.{key}", f"found {text!r}", SWEEPS))
        return None
    return None if parsed is None else (parsed, text)


def _fault_of(key: str, dimension: Dimension, text: str) -> Problem | None:
    """Return the problem of a dimension's values; None if there is none."""
    if not dimension.values or (isinstance(dimension, Interval) and not dimension.low < dimension.high):
        return Problem("", key, f"found {text!r}, which holds no values", SWEEPS)
    if isinstance(dimension, Interval) and dimension.log and dimension.low <= 0:
        return Problem("", key, f"found {text!r}", "an interval above 0 where the scale is log")
    return None


def _written(values: Sequence[Any]) -> str:
    """Return a YAML list in Hydra's sweep syntax; choice() would refuse null."""
    texts = [_text(value) for value in values]
    return ",".join(texts) if len(texts) > 1 else f"choice({', '.join(texts)})"


def _text(value: Any) -> str:
    return (
        {None: "null", True: "true", False: "false"}[value]
        if value is None or value is True or value is False
        else str(value)
    )


class _Groups:
    """The loader that Hydra's parser needs: it lists the choices of a group."""

    def __init__(self, files: choices.Files) -> None:
        self._files = files

    def get_group_options(self, group: str, results_filter: Any = None) -> list[str]:
        """Return the choices of a group."""
        return choices.names_in(self._files, group)


def _parsed(text: str, files: choices.Files, where: str, found: list[Problem]) -> Any:
    """Return Hydra's parse of an override; None, with the problem recorded, on failure."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        (parsed,) = OverridesParser.create(cast(Any, _Groups(files))).parse_overrides([text])
        if parsed.is_range_sweep() and (count := _count(parsed.value())) > MOST_VALUES:
            found.append(
                Problem(where, text, f"a range of {count:,} values", f"up to {MOST_VALUES:,}", "take an interval")
            )
            return None
        if parsed.is_sweep_override():
            _dimension(parsed)
    except (HydraException, ValueError, TypeError, ArithmeticError) as error:
        why = " ".join(str(error).splitlines()[0].split()) if str(error) else "unreadable"
        found.append(Problem(where, text, f"bad syntax: {why}", SYNTAX))
        return None
    return parsed


def _count(given: Any) -> int:
    """Return the number of values of a range without expanding it."""
    return max(0, math.ceil((given.stop - given.start) / given.step)) if given.step else 0


def _dimension(parsed: Any) -> Dimension:
    if parsed.is_interval_sweep():
        given = parsed.value()
        whole = isinstance(given.start, int) and isinstance(given.end, int)
        return Interval(given.start, given.end, "log" in given.tags, whole)
    values = tuple(parsed.sweep_string_iterator())
    if parsed.is_range_sweep() and len(values) > 1:
        numbers = [float(value) for value in values]
        if all(math.isfinite(number) for number in numbers):
            both = sorted(zip(numbers, values, strict=True))
            return Range(tuple(number for number, _ in both), tuple(value for _, value in both))
    return Choice(values)
