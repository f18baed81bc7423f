"""Searches all slices of one or two conditions for the one on which an error of the rows is worst.

A block of rows, such as a day, counts once: the deviation of a slice's mean comes from the sums of its blocks. Few
blocks estimate it poorly, so it is at least what rows of such errors and of such dependence have on average.

Of thousands of slices some differ by chance. So the signs of whole blocks are flipped at random many times, and each
time the largest statistic of all slices is noted. The quantile of these maxima is how many deviations the intervals
reach, and the intervals of all slices hold together (the max-T procedure of Westfall and Young 1993).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from merit.gate.slice_conditions import Condition, list_conditions
from merit.metrics import Estimate

Floats = NDArray[np.float32]

MAX_CONDITIONS = 280
"""Conditions that are paired; of more, those whose errors are most unlike the others', whatever their sign."""
MAX_BLOCKS = 100
"""Blocks that are told apart; of more, neighbours are merged."""
MIN_BLOCKS = 5
"""The fewest blocks of a slice."""
MAX_ROWS = 50_000
"""Rows that are searched; of more, every second, third and so on."""
FLIPS = 400
"""How often the signs of the blocks are flipped at random."""
REDUNDANT_SHARE = 0.98
"""A pair with so large a share of the rows of one of its conditions says no more than that condition."""
CHUNK = 4_096
"""Slices whose statistics are computed at once."""
CAUTION = 2
"""Deviations by which a mean error of either sign is lowered before slices are compared by it."""
TINY = np.float32(1e-12)


@dataclass(frozen=True)
class FoundSlice:
    """A slice that nobody declared.

    Attributes:
        rule: its conditions in words, such as `temp at most 34 and precip_6h above 0`.
        mask: whether each row belongs to it, [rows].
        blocks: the number of blocks that its rows form.
        error: the mean error of its rows; the intervals of all searched slices hold together.
    """

    rule: str
    mask: NDArray[np.bool_]
    blocks: int
    error: Estimate


@dataclass(frozen=True)
class SliceTable:
    """All slices of one or two conditions, prepared once so that several errors of the rows can be searched.

    Attributes:
        conditions: the conditions.
        blocks: the block of each row, from 0 without gaps, [rows].
        sample: the rows that are searched, in the order of their blocks.
        ends: where each block ends in the sample, [blocks].
        masks: 1 where a row of the sample satisfies a condition, [sample, conditions].
        pairs: the two conditions of each slice, which are one and the same for a slice of one condition.
        counts: the rows of each block in each slice, [blocks, slices].
    """

    conditions: list[Condition]
    blocks: NDArray[np.intp]
    sample: NDArray[np.intp]
    ends: NDArray[np.intp]
    masks: Floats
    pairs: tuple[NDArray[np.intp], NDArray[np.intp]]
    counts: Floats

    def sum_by_block(self, values: Floats) -> Floats:
        """Return the sum of values of the sample's rows, [sample], over each slice's rows of each block."""
        return np.stack(
            [
                (masks.T @ (masks * part[:, None]))[self.pairs]
                for masks, part in zip(
                    np.split(self.masks, self.ends[:-1]), np.split(values, self.ends[:-1]), strict=True
                )
            ]
        )


def prepare_slices(
    columns: Mapping[str, pl.Series], blocks: NDArray[np.intp] | None, relevance: NDArray[np.float64], min_rows: int
) -> SliceTable | None:
    """Return the slices to search; None if none has enough rows and blocks.

    Args:
        columns: the columns that make the conditions, by the names that rules show.
        blocks: the block of each row, from 0 without gaps, [rows]; None if rows are independent.
        relevance: the size of each row's error without its sign, [rows]: it selects among too many conditions.
        min_rows: the fewest rows of a slice.
    """
    rows, blocks = len(relevance), np.arange(len(relevance)) if blocks is None else blocks
    conditions = _select_conditions(list_conditions(columns, min_rows), relevance)
    if not conditions:
        return None
    count = int(blocks.max()) + 1
    merged = blocks * min(count, MAX_BLOCKS) // count
    stride = -(-rows // MAX_ROWS)
    sample = np.arange(0, rows, stride)
    sample = sample[np.argsort(merged[sample], kind="stable")]
    ends = np.cumsum(np.bincount(merged[sample]))
    masks = np.column_stack([each.mask[sample] for each in conditions]).astype(np.float32)
    everything = SliceTable(
        conditions, blocks, sample, ends, masks, np.triu_indices(len(conditions)), np.empty(0, dtype=np.float32)
    )
    with threadpool_limits(1, "blas"):
        counts = everything.sum_by_block(np.ones(len(sample), dtype=np.float32))
    kept = _select_pairs(everything.pairs, counts, min_rows / stride)
    pairs = (everything.pairs[0][kept], everything.pairs[1][kept])
    return SliceTable(conditions, blocks, sample, ends, masks, pairs, counts[:, kept]) if len(kept) else None


def find_worst_slice(
    table: SliceTable, errors: NDArray[np.float64], *, confidence: float, seed: int, is_signed: bool
) -> FoundSlice | None:
    """Return the worst slice; if none is sure, the one least likely by chance.

    Of signed errors the worst is that of the largest lower bound. Of others it is the one that adds most to the mean
    square of the slices' errors, each less CAUTION of its deviations: rare and far off counts as much as common and
    less so.

    Args:
        table: the slices.
        errors: the error of each row, [rows].
        confidence: the confidence of the intervals of all slices together.
        seed: makes the flips repeatable.
        is_signed: whether errors below zero are good, not as bad as those above.

    Returns:
        None if an error is not finite, or if no slice has a mean error above zero.
    """
    if not np.isfinite(errors).all():
        return None
    with threadpool_limits(1, "blas"):  # beside other work its threads wait for one another, tenfold
        statistics, means, deviations, reach = _measure_slices(table, errors, confidence, seed)
    if is_signed:
        scores = means - reach * deviations
    else:
        statistics = np.abs(statistics)
        scores = table.counts.sum(axis=0) * np.maximum(0, np.abs(means) - CAUTION * deviations) ** 2
    best = int(np.argmax(scores) if scores.max() > 0 else np.argmax(statistics))
    if statistics[best] <= 0:
        return None
    value, half = float(means[best]), float(reach * deviations[best])
    return _describe_slice(table, best, Estimate(value, value - half, value + half))


def _describe_slice(table: SliceTable, number: int, error: Estimate) -> FoundSlice:
    both = [table.conditions[each[number]] for each in table.pairs]
    mask = both[0].mask & both[1].mask
    rule = " and ".join(dict.fromkeys(each.text for each in both))
    return FoundSlice(rule, mask, len(np.unique(table.blocks[mask])), error)


def _select_conditions(conditions: list[Condition], relevance: NDArray[np.float64]) -> list[Condition]:
    """Return at most MAX_CONDITIONS conditions.

    The signs of the errors must not matter here, or the flips would no longer show what chance alone finds.
    """
    if len(conditions) <= MAX_CONDITIONS:
        return conditions
    unlike = relevance - relevance.mean()
    scores = np.array([abs(unlike[each.mask].sum()) / each.mask.sum() ** 0.5 for each in conditions])
    return [conditions[index] for index in np.sort(np.argsort(-scores, kind="stable")[:MAX_CONDITIONS])]


def _select_pairs(
    pairs: tuple[NDArray[np.intp], NDArray[np.intp]], counts: Floats, min_rows: float
) -> NDArray[np.intp]:
    """Return the indices of the pairs with enough rows and blocks that say more than either condition."""
    first, second = pairs
    rows, is_single = counts.sum(axis=0), first == second
    single = rows[is_single]
    is_redundant = ~is_single & (rows >= REDUNDANT_SHARE * np.minimum(single[first], single[second]))
    is_large = (rows >= min_rows) & ((counts > 0).sum(axis=0) >= MIN_BLOCKS)
    return np.flatnonzero(is_large & ~is_redundant)


def _measure_slices(
    table: SliceTable, errors: NDArray[np.float64], confidence: float, seed: int
) -> tuple[Floats, Floats, Floats, float]:
    """Return the statistic, mean error and deviation of each slice, [slices], and the reach of intervals."""
    values = errors[table.sample].astype(np.float32)
    sums, floors = table.sum_by_block(values), _estimate_floors(table, values)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (FLIPS + 1, len(sums))).astype(np.float32)
    signs[0] = 1  # the errors as they are
    maxima, parts = np.zeros(FLIPS + 1), []
    for start in range(0, sums.shape[1], CHUNK):
        part = slice(start, start + CHUNK)
        statistics, means, deviations = _flip_signs(signs, sums[:, part], table.counts[:, part], floors[part])
        maxima = np.maximum(maxima, np.abs(statistics).max(axis=1))
        parts.append((statistics[0], means[0], deviations[0]))
    reach = float(np.quantile(maxima[1:], confidence, method="higher"))
    statistics, means, deviations = (np.concatenate(each) for each in zip(*parts, strict=True))
    return statistics, means, deviations, reach


def _flip_signs(signs: Floats, sums: Floats, counts: Floats, floors: Floats) -> tuple[Floats, Floats, Floats]:
    """Return statistic, mean and deviation of the mean for each row of signs, [flips, slices] each."""
    rows, blocks = counts.sum(axis=0), (counts > 0).sum(axis=0)
    means = (signs @ sums) / rows
    squares = (sums**2).sum(axis=0) - 2 * means * (signs @ (sums * counts)) + means**2 * (counts**2).sum(axis=0)
    variances = np.maximum(squares * (blocks / (blocks - 1)).astype(np.float32), floors)
    deviations = np.sqrt(np.maximum(variances, TINY)) / rows
    return means / deviations, means, deviations


def _estimate_floors(table: SliceTable, values: Floats) -> Floats:
    """Return the variance of each slice's sum of errors, [slices], were its rows as dependent as all rows are.

    With errors of mean square q and a correlation r of the rows of a block, the sum over blocks of n rows each has the
    variance q (Σn + r Σn(n - 1)).
    """
    rows, pair_squares = table.counts.sum(axis=0), (table.counts**2).sum(axis=0)
    squares = (table.masks.T @ (table.masks * (values**2)[:, None]))[table.pairs]
    floors: Floats = squares / rows * (rows + _estimate_correlation(table, values) * (pair_squares - rows))
    return floors


def _estimate_correlation(table: SliceTable, values: Floats) -> np.float32:
    """Return the correlation of the errors of two rows of one block, at least 0."""
    sizes = np.diff(table.ends, prepend=0)
    sums = np.add.reduceat(values.astype(np.float64), table.ends - sizes) - values.mean() * sizes
    excess = (sums**2).sum() * len(sizes) / max(len(sizes) - 1, 1) / max(np.square(values).mean(), TINY) - sizes.sum()
    return np.float32(max(0.0, excess / max((sizes * (sizes - 1)).sum(), 1)))
