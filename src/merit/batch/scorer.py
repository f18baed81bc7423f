"""Scores a chunk of rows: adds predictions, and the model, version and commit that they come from."""

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
"""Rows that the message of a refusal names."""


@dataclass(frozen=True)
class Scored:
    """The result of scoring a chunk.

    Attributes:
        rows: the scored rows.
        rejected: the rows that violate the contract, with the columns `row` and `reason` before their own.
    """

    rows: pl.DataFrame
    rejected: pl.DataFrame


class Scorer:
    """Scores chunks with a package.

    Args:
        folder: the folder of the package.
        version: its version in the registry; None for its digest.
        keep: the input columns to copy into the output; None copies all.
        is_text: whether the input has no types, as in CSV.
        commit: the Git commit of the package, where it is known.

    Raises:
        MeritError: the package does not match its manifest.
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
        """The input columns of the model."""
        return [rule.name for rule in self.contract.rules]

    @property
    def outputs(self) -> list[str]:
        """The columns that scoring adds."""
        classes = self.package.output.get("classes") or []
        return ["prediction", *(f"probability_{each}" for each in classes), *self.origin]

    def schema(self, whole: pl.Schema) -> pl.Schema:
        """Return the columns of the input that scoring needs, in the order of the input."""
        needed = set(whole if self.keep is None else [*self.keep, *self.inputs])
        return pl.Schema({name: dtype for name, dtype in whole.items() if name in needed})

    def check(self, schema: pl.Schema, where: str) -> None:
        """Check the columns of an input against the contract and `keep`, before any row is read.

        Args:
            schema: the columns of the input.
            where: the name of the input, for messages.

        Raises:
            Refused: they violate the contract, or a column to keep is missing, is named twice, or has the name of an
                added one.
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
            rows: its rows, with the columns of `schema`.
            start: the index of its first row in the input.
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
        """Return the prediction columns, with the same numbers as the endpoint returns."""
        columns = columns_of(typed, self.package.graph.inputs)
        classes: list[Any] | None = self.package.output.get("classes")
        if classes is None:
            return {"prediction": _numbers(self.package.predict(columns) if len(typed) else np.empty(0))}
        found = self.package.predict(columns) if len(typed) else np.empty((0, len(classes)))
        names = pl.Series(classes)
        probabilities = {f"probability_{each}": _numbers(found[:, place]) for place, each in enumerate(classes)}
        return {"prediction": names[found.argmax(axis=1)], **probabilities}


def _numbers(values: NDArray[Any]) -> pl.Series:
    """Return float32 values as float64, which JSON and CSV use too."""
    return pl.Series(values.astype(np.float64))


def _free(name: str, taken: Sequence[str]) -> str:
    """Return a name that no input column has: `row_` if there is a column `row`."""
    return name if name not in taken else _free(f"{name}_", taken)


def refusal(where: str, scored: Scored, *, is_first: bool) -> Refused:
    """Return the error for a chunk with rejected rows; it names the first of them.

    Args:
        where: the name of the input.
        scored: the result of the chunk.
        is_first: whether no chunk was written before.
    """
    count = scored.rejected.height
    told = scored.rejected.head(SHOWN)[:, :2].iter_rows()
    lines = "; ".join(f"row {row}: {reason}" for row, reason in told)
    more = f"; and {count - SHOWN} more in this chunk" if count > SHOWN else ""
    kept = "nothing was scored; mend them" if is_first else "what was scored before is kept; mend them and --restart"
    return Refused(
        f"{where}: {count} row{'s break' if count > 1 else ' breaks'} the model's contract: {lines}{more}; "
        f"{kept}, or go on with --on-error aside"
    )
