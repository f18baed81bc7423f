"""Splits rows into train, validation and test: by time, at random, or by whole groups.

A split by time tests the model on days after all of its training rows.
"""

from hashlib import blake2b

import numpy as np
import polars as pl
from numpy.typing import NDArray

from merit.config.schema.data import Data, GroupSplit, RandomSplit, TimeSplit
from merit.errors import MeritError

PARTS = ("train", "validation", "test")
FloatArray = NDArray[np.float64]
PartIndices = NDArray[np.int8]
"""The index of each group's part in PARTS, or -1 while it has none."""
MIN_PART_SHARE = 0.5
"""The least share of its requested rows that a part must get; whole groups can't always hit the request exactly."""


def split_table(table: pl.DataFrame, data: Data) -> dict[str, pl.DataFrame]:
    """Return the parts `train`, `validation` and `test` of a table, split as `data.split` configures.

    Raises:
        MeritError: a part has no rows.
    """
    part_index = assign_parts(table, data)
    parts = {name: table.filter(part_index == index) for index, name in enumerate(PARTS)}
    if data.time is not None and isinstance(data.split, TimeSplit):
        first, last = table[data.time].min(), table[data.time].max()
        hint = f"the data runs from {first!s} to {last!s}: move data.split or data.window"
    else:
        hint = f"the data has {table.height} rows: raise the shares in data.split, or bring more rows"
    for name, rows in parts.items():
        if rows.is_empty():
            raise MeritError(f"data.split: no rows fall to the {name} part; {hint}")
    return parts


def list_split_columns(data: Data) -> list[str]:
    """Return the columns that the split depends on."""
    if isinstance(data.split, TimeSplit):
        return [data.time or ""]
    return [data.target.name, *([data.split.column] if isinstance(data.split, GroupSplit) else [])]


def assign_parts(table: pl.DataFrame, data: Data) -> pl.Series:
    """Return the index of each row's part in `PARTS`, or -1 if it is in none; int8 [rows].

    Args:
        table: the rows, with at least the columns that `list_split_columns` returns.
        data: the settings of conf/data.
    """
    if isinstance(data.split, TimeSplit):
        assert data.time is not None
        return _assign_by_time(table[data.time], data.split)
    classes = table[data.target.name] if data.target.task != "regression" else None
    if isinstance(data.split, GroupSplit):
        return assign_groups(table[data.split.column], classes, data.split)
    return _assign_at_random(table.height, classes, data.split)


def _assign_by_time(times: pl.Series, ends: TimeSplit) -> pl.Series:
    """Assign rows by their day; rows after `test_until` or without a time are in no part."""
    day = times.dt.date()
    part_index = (day > ends.train_until).cast(pl.Int8) + (day > ends.validation_until).cast(pl.Int8)
    return part_index.set(day > ends.test_until, -1).fill_null(-1)


def _assign_at_random(rows: int, groups: pl.Series | None, shares: RandomSplit) -> pl.Series:
    """Assign rows at random within each class (stratified), so that rare classes are in every part."""
    generator = np.random.default_rng(shares.seed)
    part_index = np.zeros(rows, dtype=np.int8)
    classes = np.zeros(rows) if groups is None else groups.to_numpy()
    for value in np.unique(classes):
        members = generator.permutation(np.flatnonzero(classes == value))
        validation, test = (round(share * len(members)) for share in (shares.validation, shares.test))
        part_index[members[:test]] = 2
        part_index[members[test : test + validation]] = 1
    return pl.Series(part_index)


def assign_groups(groups: pl.Series, classes: pl.Series | None, shares: GroupSplit) -> pl.Series:
    """Return the index of the part of each row's group in `PARTS`; int8 [rows].

    Groups with the same number of rows of each class are interchangeable and form a kind: the parts get their shares
    of each kind at random, by the seed. The remaining groups go, larger ones first, to the part that needs them most.

    Args:
        groups: the group of each row; rows without a group go to the training part.
        classes: the class of each row, or None if there are no classes to balance.
        shares: the settings of data.split.

    Raises:
        MeritError: there are too few groups, or a part can't get half of its share of the rows.
    """
    grouped = _count_groups(groups, classes, shares.seed)
    has_group = grouped["group"].is_not_null().to_numpy()
    if has_group.sum() < len(PARTS):
        raise MeritError(
            f"data.split: found {has_group.sum()} different values in the column '{groups.name}'; at least "
            f"{len(PARTS)} are needed, one for each part: name another column, or split by: random"
        )
    goals = np.array([1 - shares.validation - shares.test, shares.validation, shares.test])
    part_index = np.where(has_group, -1, 0).astype(np.int8)
    # Groups too large for the smallest part come first, so that the others can even out the rest.
    _assign_remaining(grouped, part_index, goals, grouped["rows"].to_numpy() > goals.min() * len(groups))
    _assign_kinds(grouped, part_index, goals)
    _assign_remaining(grouped, part_index, goals, has_group)
    parts = grouped.select("group", part=pl.Series(part_index))
    rows = groups.alias("group").to_frame().join(parts, on="group", how="left", maintain_order="left")
    row_parts = rows["part"].fill_null(0)
    _check_shares(row_parts, groups, goals)
    return row_parts


def _count_groups(groups: pl.Series, classes: pl.Series | None, seed: int) -> pl.DataFrame:
    """Return each group with its classes, the rows of each class, all its rows, and its random draw by the seed."""
    codes = pl.lit(0, pl.UInt32) if classes is None else classes.rank("dense").cast(pl.UInt32) - 1
    cells = pl.DataFrame({"group": groups}).with_columns(classes=codes)
    counted = cells.group_by("group", "classes").len("counts").sort("group", "classes")
    grouped = counted.group_by("group", maintain_order=True).agg("classes", "counts", rows=pl.col("counts").sum())
    # Polars' own hashes may differ between its versions, and the split must stay the same.
    draws = [int.from_bytes(blake2b(f"{seed} {each}".encode(), digest_size=8).digest()) for each in grouped["group"]]
    return grouped.with_columns(draw=pl.Series(draws, dtype=pl.UInt64))


def _assign_kinds(grouped: pl.DataFrame, part_index: PartIndices, goals: FloatArray) -> None:
    """Assign each part the whole number of groups in its share of each kind; the remainders stay unassigned."""
    current_rows = _count_classes(grouped, part_index)[:, -1]
    wanted_rows = np.maximum(goals * current_rows.sum() - current_rows[:-1], 0)
    shares = wanted_rows / max(wanted_rows.sum(), 1)
    unassigned = np.flatnonzero(part_index < 0)
    kind = pl.concat_str(pl.col("classes", "counts").cast(pl.List(pl.String)).list.join(" "), separator=";")
    kinds = grouped[unassigned].select("draw", kind=kind)
    kinds = kinds.select(rank=pl.col("draw").rank("ordinal").over("kind"), size=pl.len().over("kind"))
    rank, size = (kinds[name].to_numpy() for name in ("rank", "size"))
    ends = np.cumsum([np.floor(size * shares[part] + 1e-9) for part in (2, 1, 0)], axis=0)
    part_index[unassigned] = 2 - (rank > ends).sum(axis=0)


def _assign_remaining(
    grouped: pl.DataFrame, part_index: PartIndices, goals: FloatArray, is_selected: NDArray[np.bool_]
) -> None:
    """Assign the selected groups that have no part yet, each where rows and classes get nearest to the goals.

    The cost of a part is the change of its squared distance from the wanted counts, relative to them. Once only as
    many groups are left as parts are empty, the empty parts get them.
    """
    current_counts = _count_classes(grouped, part_index)
    wanted_counts, current_counts = np.outer(goals, current_counts.sum(axis=0)), current_counts[:-1]
    open_groups = np.flatnonzero(part_index < 0)
    remaining = open_groups[is_selected[open_groups]]
    # Larger groups first, since small ones can even out the rest; groups of similar size in the order of their draws.
    size = np.floor(np.log2(grouped["rows"].to_numpy()[remaining]))
    remaining = remaining[np.lexsort((grouped["draw"].to_numpy()[remaining], -size))]
    for number, (classes, counts, rows) in enumerate(
        grouped[remaining].select("classes", "counts", "rows").iter_rows()
    ):
        class_indices, added_counts = [*classes, -1], np.array([*counts, rows], dtype=np.float64)
        cost = (
            added_counts
            * (added_counts + 2 * (current_counts[:, class_indices] - wanted_counts[:, class_indices]))
            / wanted_counts[:, class_indices]
        ).sum(axis=1)
        is_empty = current_counts[:, -1] == 0
        if len(open_groups) - number <= is_empty.sum():
            cost[~is_empty] = np.inf
        part_index[remaining[number]] = cost.argmin()
        current_counts[cost.argmin(), class_indices] += added_counts


def _count_classes(grouped: pl.DataFrame, part_index: PartIndices) -> FloatArray:
    """Return row counts [parts + 1, classes + 1]: last row for groups without a part, last column for all classes."""
    cells = grouped.select("classes", "counts", part=pl.Series(part_index)).explode("classes", "counts")
    counts = np.zeros((len(PARTS) + 1, cells["classes"].n_unique() + 1))
    np.add.at(counts, (cells["part"].to_numpy(), cells["classes"].to_numpy()), cells["counts"].to_numpy())
    counts[:, -1] = counts.sum(axis=1)
    return counts


def _check_shares(row_parts: pl.Series, groups: pl.Series, goals: FloatArray) -> None:
    """Refuse parts far smaller than requested, because there are few groups or one of them is large."""
    for index, (part, goal) in enumerate(zip(PARTS, goals, strict=True)):
        share = (row_parts == index).sum() / len(row_parts)
        if share < MIN_PART_SHARE * goal:
            largest = groups.drop_nulls().unique_counts().to_numpy().max() / len(groups)
            raise MeritError(
                f"data.split: whole groups of '{groups.name}' leave {share:.1%} of the rows to the {part} part, where "
                f"{goal:.1%} are asked for (the largest group has {largest:.1%}); ask for shares that groups allow, "
                "name a column of smaller groups, or split by: random"
            )
