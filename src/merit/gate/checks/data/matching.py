"""Rows of two versions of the data, matched with each other: changed, relabelled, added and gone rows.

Rows are matched by `data.contract.unique`. Without such a key, or where the champion lacks it, they are matched by all
common columns but the target: then a row can only change its label.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars import selectors

from merit.config.schema.data import Data
from merit.gate.checks.data.dataset import Dataset

MAX_VALUES_PER_QUERY = 20_000_000
"""Values that one query over several columns holds in memory."""


@dataclass(frozen=True)
class RowMatches:
    """Pairs of rows of candidate and champion.

    Attributes:
        candidate_rows: the row number of each pair in the candidate's data.
        champion_rows: the row number of each pair in the champion's data.
        changed: whether any common value of the pair differs, the target included.
        relabelled: whether the target differs.
        values: an expression for each common column that has the same type and precision on both sides.
        is_keyed: whether rows were matched by a declared key.
    """

    candidate_rows: NDArray[np.int64]
    champion_rows: NDArray[np.int64]
    changed: NDArray[np.bool_]
    relabelled: NDArray[np.bool_]
    values: dict[str, pl.Expr]
    is_keyed: bool


def list_common_columns(candidate: Dataset, champion: Dataset) -> list[str]:
    """Return the columns, the target included, that both versions have with the same kind of values.

    Numbers of another width are the same kind: float32 and float64, or integers and floats.
    """
    return [
        name
        for name, dtype in candidate.schema.items()
        if name in champion.schema and _describe_kind(champion.schema[name]) == _describe_kind(dtype)
    ]


def _describe_kind(dtype: pl.DataType) -> str:
    if dtype.is_numeric():
        return "number"
    if isinstance(dtype, pl.Array):
        return f"array {dtype.shape}"
    return "datetime" if isinstance(dtype, pl.Datetime) and dtype.time_zone is None else str(dtype)


def identify_target(data: Data) -> tuple[str, str, object]:
    """Return what identifies a target: its name, task and classes."""
    return data.target.name, data.target.task, data.target.classes


def match_rows(candidate: Dataset, champion: Dataset) -> RowMatches:
    """Match the rows of two versions of the data."""
    values = build_comparable_values(candidate, champion)
    target, keys = candidate.data.target.name, candidate.data.contract.unique
    has_label = identify_target(candidate.data) == identify_target(champion.data) and target in values
    label = values[target] if has_label else pl.lit(0.0)
    rest = [value for name, value in values.items() if name != target]
    is_keyed = bool(keys) and set(keys) <= set(values)
    ids = [values[name] for name in keys] if is_keyed else rest
    sides = [_hash_rows(dataset, ids, rest, label) for dataset in (candidate, champion)]
    pairs = _match_by_key(*sides) if is_keyed else _match_by_values(*sides)
    return RowMatches(*pairs, values, is_keyed)


Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]
"""The first four attributes of `RowMatches`."""


def build_comparable_values(candidate: Dataset, champion: Dataset) -> dict[str, pl.Expr]:
    """Return an expression for each common column that has the same type and precision on both sides."""
    names = list_common_columns(candidate, champion)
    single_columns = _find_single_precision(candidate, names) | _find_single_precision(champion, names)
    return {
        name: _convert_column(name, candidate.schema[name], champion.schema[name], is_single=name in single_columns)
        for name in names
    }


def _convert_column(name: str, candidate: pl.DataType, champion: pl.DataType, *, is_single: bool) -> pl.Expr:
    values = selectors.by_name(name).as_expr()
    if isinstance(candidate, pl.Array):
        return values.cast(pl.Array(pl.Float32, candidate.shape))
    if candidate.is_float() or champion.is_float():
        return values.cast(pl.Float32 if is_single else pl.Float64) + 0.0  # -0.0 becomes 0.0
    if candidate.is_integer():
        return values.cast(pl.Int64, strict=False)
    return values.cast(pl.Datetime("us")) if isinstance(candidate, pl.Datetime) else values


def _find_single_precision(dataset: Dataset, names: Sequence[str]) -> set[str]:
    """Return the float columns whose values all fit float32, as those that were once stored in it."""
    floats = [name for name in names if dataset.schema[name].is_float()]
    if not floats:
        return set()
    is_single = [
        (values.cast(pl.Float32).cast(pl.Float64) == values.cast(pl.Float64)).all()
        for values in (selectors.by_name(name).as_expr() for name in floats)
    ]
    return {name for name, single in zip(floats, dataset.collect(*is_single).row(0), strict=True) if single}


def _hash_rows(dataset: Dataset, ids: list[pl.Expr], rest: list[pl.Expr], label: pl.Expr) -> pl.DataFrame:
    """Return a hash of each row's id, one of its values but the target, and its label."""
    hashes = {"id": pl.struct(ids).hash()} if ids else {"id": pl.lit(0, pl.UInt64)}
    if rest and rest is not ids:
        hashes["row"] = pl.struct(rest).hash()
    columns = [each.alias(name) for name, each in hashes.items()]
    first = selectors.by_name(next(iter(dataset.schema))).as_expr()  # gives constants the height of the table
    frame = dataset.collect(first.is_null().alias("/height"), *columns, label.alias("label"))
    return frame.drop("/height").with_columns(at=pl.int_range(pl.len(), dtype=pl.UInt32))


def _match_by_key(candidate: pl.DataFrame, champion: pl.DataFrame) -> Pairs:
    sides = [side.unique("id", keep="first") for side in (candidate, champion)]
    pairs = sides[0].join(sides[1], on="id", suffix="_before")
    relabelled = _differ(pairs["label"], pairs["label_before"])
    changed = (pairs["row"] != pairs["row_before"]).to_numpy() | relabelled
    return *_list_row_numbers(pairs), changed, relabelled


def _match_by_values(candidate: pl.DataFrame, champion: pl.DataFrame) -> Pairs:
    """Match equal rows first, then those that are equal but for the label; each row is in one pair at most."""
    equal, candidate, champion = _pair_rows(candidate, champion, ["id", "label"])
    other_label, _, _ = _pair_rows(candidate, champion, ["id"])
    pairs = [_list_row_numbers(each) for each in (equal, other_label)]
    relabelled = np.repeat([False, True], [equal.height, other_label.height])
    candidate_rows, champion_rows = (np.concatenate(rows) for rows in zip(*pairs, strict=True))
    return candidate_rows, champion_rows, relabelled, relabelled


def _pair_rows(
    candidate: pl.DataFrame, champion: pl.DataFrame, columns: list[str]
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return pairs of rows that are equal in some columns, and the rows of either side that are in none."""
    keys = [*columns, "turn"]
    sides = [
        side.select(*columns, "at", *({"id", "label"} - set(columns))).with_columns(
            turn=pl.int_range(pl.len(), dtype=pl.UInt32).over(columns)
        )
        for side in (candidate, champion)
    ]
    pairs = sides[0].join(sides[1], on=keys, suffix="_before", nulls_equal=True)
    rest = [side.join(other, on=keys, how="anti", nulls_equal=True) for side, other in (sides, sides[::-1])]
    return pairs, rest[0], rest[1]


def _differ(values: pl.Series, others: pl.Series) -> NDArray[np.bool_]:
    return values.ne_missing(others).to_numpy()


def _list_row_numbers(pairs: pl.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return pairs["at"].to_numpy().astype(np.int64), pairs["at_before"].to_numpy().astype(np.int64)


def count_changed_columns(candidate: Dataset, champion: Dataset, matches: RowMatches) -> dict[str, int]:
    """Return the number of pairs in which each column differs, most first, without columns that never differ."""
    rows = [side[matches.changed] for side in (matches.candidate_rows, matches.champion_rows)]
    values = list(matches.values.items()) if len(rows[0]) else []
    size = max(1, MAX_VALUES_PER_QUERY // max(candidate.height, champion.height))
    counts: dict[str, int] = {}
    for start in range(0, len(values), size):
        # The position names a column: a name may be one that hashing uses.
        hashes = [pl.struct(value).hash().alias(str(at)) for at, (_, value) in enumerate(values[start : start + size])]
        frames = [
            dataset.collect(*hashes)[numbers] for dataset, numbers in zip((candidate, champion), rows, strict=True)
        ]
        differences = zip(*(frame.get_columns() for frame in frames), strict=True)
        names = (name for name, _ in values[start : start + size])
        counts |= {name: int((now != before).sum()) for name, (now, before) in zip(names, differences, strict=True)}
    return {name: count for name, count in sorted(counts.items(), key=lambda item: -item[1]) if count}
