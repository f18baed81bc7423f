"""Finds entity columns, such as a patient's id, whose rows must all be in one part of a split."""

from collections.abc import Iterable, Iterator

import polars as pl

from merit.data.entities import MIN_VALUES, Entity, detect_entity, mentions_recurring

MOST_COLUMNS = 60
"""Maximum columns for the search of dependent columns, which compares all pairs."""
MOST_ROWS = 50
"""Maximum mean rows per value of a column whose values may be people or things though its name doesn't say so."""


def entity_columns(rows: pl.DataFrame, names: Iterable[str]) -> list[Entity]:
    """Return the entity columns, the one to split by first.

    A column whose name denotes an entity comes before a mere id; of nested entities, such as sessions of a user, the
    enclosing one comes first.
    """
    found = [entity for name in names if (entity := detect_entity(rows[name])) is not None]
    ordered = sorted(found, key=lambda each: not each.is_sure)
    if not ordered:
        return []
    sure = [each for each in ordered if each.is_sure == ordered[0].is_sure]
    first = next((each for each in sure[1:] if _holds(rows, each, sure[0])), sure[0])
    return [first, *(each for each in ordered if each is not first)]


def _holds(rows: pl.DataFrame, wide: Entity, narrow: Entity) -> bool:
    """Return whether every value of `narrow` occurs with only one value of `wide`, and not vice versa."""
    if wide.values >= narrow.values:
        return False
    pairs = rows.select(narrow.name, wide.name).drop_nulls()
    return pairs.unique().height == pairs[narrow.name].n_unique()


def hints(rows: pl.DataFrame, names: Iterable[str]) -> Iterator[str]:
    """Yield notes on columns that may be entities though their names don't say so."""
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
    """Return the other columns that are constant within each value of this one, but not overall."""
    others = [each for each in names if each != name]
    counts = rows.group_by(name).agg(pl.col(others).n_unique())
    same = counts.select(pl.col(others).max() == 1).row(0, named=True) if others else {}
    return [each for each in others if same[each] and rows[each].n_unique() > 1]
