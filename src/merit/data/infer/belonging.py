"""What rows belong to: the column, such as a patient's id, whose rows must not be on both sides of a split."""

from collections.abc import Iterable, Iterator

import polars as pl

from merit.data.entities import MIN_VALUES, Entity, detect_entity, mentions_recurring

MOST_COLUMNS = 60
"""Columns of a table that are looked at for what follows from what: in pairs, which many are too many for."""
MOST_ROWS = 50
"""Rows of one value, on average, up to which values that nothing else tells of may be people or things."""


def entity_columns(rows: pl.DataFrame, names: Iterable[str]) -> list[Entity]:
    """Return the columns that name what rows belong to, the one to split by first.

    One whose name says so comes before a mere id; of two of which one belongs to the other, as a session to a user, the
    wider comes first.
    """
    found = [entity for name in names if (entity := detect_entity(rows[name])) is not None]
    ordered = sorted(found, key=lambda each: not each.is_sure)
    if not ordered:
        return []
    sure = [each for each in ordered if each.is_sure == ordered[0].is_sure]
    first = next((each for each in sure[1:] if _holds(rows, each, sure[0])), sure[0])
    return [first, *(each for each in ordered if each is not first)]


def _holds(rows: pl.DataFrame, wide: Entity, narrow: Entity) -> bool:
    """Say whether every value of `narrow` is of one value of `wide`, and not the other way round as well."""
    if wide.values >= narrow.values:
        return False
    pairs = rows.select(narrow.name, wide.name).drop_nulls()
    return pairs.unique().height == pairs[narrow.name].n_unique()


def hints(rows: pl.DataFrame, names: Iterable[str]) -> Iterator[str]:
    """Yield notes of columns that may name what rows belong to, though their names don't say so."""
    names, schema = list(names), rows.schema
    others = names if len(names) <= MOST_COLUMNS else []
    for name in names:
        if mentions_recurring(name) or not (schema[name] == pl.String or schema[name].is_integer()):
            continue
        sizes = rows[name].drop_nulls().value_counts()["count"]
        if len(sizes) < MIN_VALUES or not 2 <= float(sizes.mean() or 0) <= MOST_ROWS:  # type: ignore[arg-type]
            continue
        if sizes.n_unique() == 1 or len(same := _constants(rows, name, others)) > 1:
            why = f"each in {sizes[0]} rows" if sizes.n_unique() == 1 else f"and {', '.join(same[:3])} follow from it"
            yield (
                f"'{name}' has {len(sizes):,} values, {why}: if it names a patient, a machine or the like, declare it "
                f"without a feature and split: {{by: group, column: {name}, validation: 0.2, test: 0.2}}"
            )


def _constants(rows: pl.DataFrame, name: str, names: list[str]) -> list[str]:
    """Return the other columns that have one value for each value of this one, and several in all."""
    others = [each for each in names if each != name]
    counts = rows.group_by(name).agg(pl.col(others).n_unique())
    same = counts.select(pl.col(others).max() == 1).row(0, named=True) if others else {}
    return [each for each in others if same[each] and rows[each].n_unique() > 1]
