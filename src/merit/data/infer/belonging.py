"""Finds entity columns, such as a patient's id, whose rows must all be in one part of a split."""

from collections.abc import Iterable, Iterator

import polars as pl

from merit.data.entities import MIN_VALUES, Entity, detect_entity, mentions_recurring

MAX_COMPARED_COLUMNS = 60
"""Maximum columns for the search of dependent columns, which compares all pairs."""
MAX_MEAN_ROWS = 50
"""Maximum mean rows per value of a column whose values may be people or things though its name doesn't say so."""


def find_entities(rows: pl.DataFrame, names: Iterable[str]) -> list[Entity]:
    """Return the entity columns, the one to split by first.

    A column whose name denotes an entity comes before a mere id; of nested entities, such as sessions of a user, the
    enclosing one comes first.
    """
    entities = [entity for name in names if (entity := detect_entity(rows[name])) is not None]
    ordered = sorted(entities, key=lambda each: not each.is_sure)
    if not ordered:
        return []
    equally_sure = [each for each in ordered if each.is_sure == ordered[0].is_sure]
    first = next((each for each in equally_sure[1:] if _contains(rows, each, equally_sure[0])), equally_sure[0])
    return [first, *(each for each in ordered if each is not first)]


def _contains(rows: pl.DataFrame, outer: Entity, inner: Entity) -> bool:
    """Return whether every value of `narrow` occurs with only one value of `wide`, and not vice versa."""
    if outer.values >= inner.values:
        return False
    pairs = rows.select(inner.name, outer.name).drop_nulls()
    return pairs.unique().height == pairs[inner.name].n_unique()


def hint_entities(rows: pl.DataFrame, names: Iterable[str]) -> Iterator[str]:
    """Yield notes on columns that may be entities though their names don't say so."""
    names, schema = list(names), rows.schema
    compared = names if len(names) <= MAX_COMPARED_COLUMNS else []
    for name in names:
        if mentions_recurring(name) or not (schema[name] == pl.String or schema[name].is_integer()):
            continue
        row_counts = rows[name].drop_nulls().value_counts()["count"]
        if len(row_counts) < MIN_VALUES or not 2 <= float(row_counts.mean() or 0) <= MAX_MEAN_ROWS:  # type: ignore[arg-type]
            continue
        if row_counts.n_unique() == 1 or len(dependent := _find_dependent_columns(rows, name, compared)) > 1:
            evidence = (
                f"each in {row_counts[0]} rows"
                if row_counts.n_unique() == 1
                else f"and {', '.join(dependent[:3])} follow from it"
            )
            yield (
                f"'{name}' has {len(row_counts):,} values, {evidence}: if it names a patient, a machine or the like, "
                "declare it "
                f"without a feature and split: {{by: group, column: {name}, validation: 0.2, test: 0.2}}"
            )


def _find_dependent_columns(rows: pl.DataFrame, name: str, names: list[str]) -> list[str]:
    """Return the other columns that are constant within each value of this one, but not overall."""
    others = [other for other in names if other != name]
    counts = rows.group_by(name).agg(pl.col(others).n_unique())
    is_constant = counts.select(pl.col(others).max() == 1).row(0, named=True) if others else {}
    return [each for each in others if is_constant[each] and rows[each].n_unique() > 1]
