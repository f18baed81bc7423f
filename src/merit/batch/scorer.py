"""A chunk of rows in, the same rows with their predictions out, each with where its prediction comes from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from merit.batch import contract
from merit.errors import Refused
from merit.scoring.package import Package, columns_of

SHOWN = 5
"""Rows that a refusal names."""


@dataclass(frozen=True)
class Scored:
    """What became of a chunk: the rows that were scored, and the others, with `row` and `reason` before their own."""

    rows: pl.DataFrame
    rejected: pl.DataFrame


class Scorer:
    """Scores chunks by a package.

    Args:
        folder: the package.
        version: its version in the registry; its digest where it has none.
        keep: the input's columns that are carried over; None: all.
        is_text: whether the input knows no types, as CSV.
        commit: the one that the package is of, where it is known.

    Raises:
        MeritError: the package is not what its manifest says.
    """

    def __init__(
        self,
        folder: Path,
        version: str | None = None,
        keep: Sequence[str] | None = None,
        *,
        is_text: bool = False,
        commit: str | None = None,
    ) -> None:
        self.package = Package.load(folder)
        self.contract = contract.of(self.package, folder, is_text=is_text)
        self.keep = keep
        self.origin = {
            "model": str(self.package.manifest["model"]),
            "version": version or self.package.digest,
            "commit": commit or self.package.commit,
        }

    @property
    def inputs(self) -> list[str]:
        """The columns that the model takes."""
        return [rule.name for rule in self.contract.rules]

    @property
    def outputs(self) -> list[str]:
        """The columns that are added."""
        classes = self.package.output.get("classes") or []
        return ["prediction", *(f"probability_{each}" for each in classes), *self.origin]

    def schema(self, whole: pl.Schema) -> pl.Schema:
        """Return the input's columns that are needed, in its order."""
        needed = set(whole if self.keep is None else [*self.keep, *self.inputs])
        return pl.Schema({name: dtype for name, dtype in whole.items() if name in needed})

    def check(self, schema: pl.Schema, where: str) -> None:
        """Hold the columns of an input against the model's and the asked ones, before any row is read.

        Raises:
            Refused: they break the contract.
            MeritError: one that is to be kept is missing, or has the name of one that is added.
        """
        unknown = sorted(set(self.keep or ()) - set(schema))
        if unknown:
            raise Refused(f"--keep: {where} has no column {', '.join(unknown)}; it has {', '.join(schema)}")
        twice = sorted({name for name in self.keep or () if list(self.keep or ()).count(name) > 1})
        if twice:
            raise Refused(f"--keep: names {', '.join(twice)} twice; name each column once")
        kept = schema if self.keep is None else self.keep
        if taken := sorted(set(kept) & set(self.outputs)):
            raise Refused(
                f"{where}: has columns named {', '.join(taken)}, as those that are added; "
                "name the columns to carry over without them, by --keep, or rename them"
            )
        self.contract.check(schema, where)

    def score(self, rows: pl.DataFrame, start: int) -> Scored:
        """Score a chunk.

        Args:
            rows: its rows, of the columns that `schema` names.
            start: the place of its first row in the input.
        """
        typed, faults = self.contract.typed(rows)
        rejected = self._rejected(rows, faults, start)
        if rejected.height:
            kept = pl.Series(np.isin(np.arange(rows.height), rejected.to_series(0) - start, invert=True))
            rows, typed = rows.filter(kept), typed.filter(kept)
        return Scored(self._answered(rows, typed), rejected)

    def _rejected(self, rows: pl.DataFrame, faults: list[contract.Fault], start: int) -> pl.DataFrame:
        row, reason = (_free(name, rows.columns) for name in ("row", "reason"))
        if not faults:
            return pl.DataFrame(schema={row: pl.Int64, reason: pl.String, **rows.schema})
        told = contract.reasons(faults)
        return told.select((pl.col("row") + start).alias(row), pl.col("reason").alias(reason)).hstack(rows[told["row"]])

    def _answered(self, rows: pl.DataFrame, typed: pl.DataFrame) -> pl.DataFrame:
        kept = rows if self.keep is None else rows.select(self.keep)
        found = pl.DataFrame(self._predictions(typed)).with_columns(**{k: pl.lit(v) for k, v in self.origin.items()})
        return kept.hstack(found) if kept.width else found

    def _predictions(self, typed: pl.DataFrame) -> dict[str, pl.Series]:
        """Return the columns of the prediction, as the numbers that the endpoint writes."""
        columns = columns_of(typed, self.package.graph.inputs)
        classes: list[Any] | None = self.package.output.get("classes")
        if classes is None:
            return {"prediction": _numbers(self.package.predict(columns) if len(typed) else np.empty(0))}
        found = self.package.predict(columns) if len(typed) else np.empty((0, len(classes)))
        names = pl.Series(classes)
        probabilities = {f"probability_{each}": _numbers(found[:, place]) for place, each in enumerate(classes)}
        return {"prediction": names[found.argmax(axis=1)], **probabilities}


def _numbers(values: NDArray[Any]) -> pl.Series:
    """Return float32 as the float64 of the same value, as JSON and CSV give it too."""
    return pl.Series(values.astype(np.float64))


def _free(name: str, taken: Sequence[str]) -> str:
    """Return a name that no column of the input has: `row_` where there is a `row`."""
    return name if name not in taken else _free(f"{name}_", taken)


def refusal(where: str, scored: Scored, *, is_first: bool) -> Refused:
    """Return why a chunk is not scored, the first of all or a later one: its first rows that break the contract."""
    count = scored.rejected.height
    told = scored.rejected.head(SHOWN)[:, :2].iter_rows()
    lines = "; ".join(f"row {row}: {reason}" for row, reason in told)
    more = f"; and {count - SHOWN} more in this chunk" if count > SHOWN else ""
    kept = "nothing was scored; mend them" if is_first else "what was scored before is kept; mend them and --restart"
    return Refused(
        f"{where}: {count} row{'s break' if count > 1 else ' breaks'} the model's contract: {lines}{more}; "
        f"{kept}, or go on with --on-error aside"
    )
