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
from merit.scoring.package import Package, extract_columns

MAX_DISPLAYED_ROWS = 5
"""Rows that the message of a refusal names."""


@dataclass(frozen=True)
class ScoredChunk:
    """The result of scoring a chunk.

    Attributes:
        rows: the scored rows.
        rejected: the rows that violate the contract, with the columns `row` and `reason` before their own.
    """

    rows: pl.DataFrame
    rejected: pl.DataFrame


class BatchScorer:
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
        self.contract = contract.from_package(self.package, folder, is_text=is_text)
        self.keep = keep
        self.origin = {
            "model": str(self.package.manifest["model"]),
            "version": version or self.package.digest,
            "commit": commit or self.package.commit,
        }

    @property
    def input_columns(self) -> list[str]:
        """The input columns of the model."""
        return [rule.name for rule in self.contract.rules]

    @property
    def output_columns(self) -> list[str]:
        """The columns that scoring adds."""
        classes = self.package.output.get("classes") or []
        return ["prediction", *(f"probability_{each}" for each in classes), *self.origin]

    def select_schema(self, input_schema: pl.Schema) -> pl.Schema:
        """Return the columns of the input that scoring needs, in the order of the input."""
        required = set(input_schema if self.keep is None else [*self.keep, *self.input_columns])
        return pl.Schema({name: dtype for name, dtype in input_schema.items() if name in required})

    def check_columns(self, schema: pl.Schema, source_name: str) -> None:
        """Check the columns of an input against the contract and `keep`, before any row is read.

        Args:
            schema: the columns of the input.
            source_name: the name of the input, for messages.

        Raises:
            Refused: they violate the contract, or a column to keep is missing, is named twice, or has the name of an
                added one.
        """
        unknown = sorted(set(self.keep or ()) - set(schema))
        if unknown:
            raise Refused(f"--keep: {source_name} has no column {', '.join(unknown)}; it has {', '.join(schema)}")
        duplicates = sorted({name for name in self.keep or () if list(self.keep or ()).count(name) > 1})
        if duplicates:
            raise Refused(f"--keep: names {', '.join(duplicates)} twice; name each column once")
        kept_columns = schema if self.keep is None else self.keep
        if conflicts := sorted(set(kept_columns) & set(self.output_columns)):
            raise Refused(
                f"{source_name}: has columns named {', '.join(conflicts)}, as those that are added; "
                "name the columns to carry over without them, by --keep, or rename them"
            )
        self.contract.check_columns(schema, source_name)

    def score_chunk(self, rows: pl.DataFrame, first_row: int) -> ScoredChunk:
        """Score a chunk.

        Args:
            rows: its rows, with the columns of `select_schema`.
            first_row: the index of its first row in the input.
        """
        inputs, violations = self.contract.cast_rows(rows)
        rejected = self._create_rejected(rows, violations, first_row)
        if rejected.height:
            valid_mask = pl.Series(np.isin(np.arange(rows.height), rejected.to_series(0) - first_row, invert=True))
            rows, inputs = rows.filter(valid_mask), inputs.filter(valid_mask)
        return ScoredChunk(self._add_predictions(rows, inputs), rejected)

    def _create_rejected(
        self, rows: pl.DataFrame, violations: list[contract.Violation], first_row: int
    ) -> pl.DataFrame:
        row_name, reason_name = (_find_free_name(name, rows.columns) for name in ("row", "reason"))
        if not violations:
            return pl.DataFrame(schema={row_name: pl.Int64, reason_name: pl.String, **rows.schema})
        reasons = contract.merge_reasons(violations)
        return reasons.select((pl.col("row") + first_row).alias(row_name), pl.col("reason").alias(reason_name)).hstack(
            rows[reasons["row"]]
        )

    def _add_predictions(self, rows: pl.DataFrame, inputs: pl.DataFrame) -> pl.DataFrame:
        kept_columns = rows if self.keep is None else rows.select(self.keep)
        predictions = pl.DataFrame(self._predict_columns(inputs)).with_columns(
            **{k: pl.lit(v) for k, v in self.origin.items()}
        )
        return kept_columns.hstack(predictions) if kept_columns.width else predictions

    def _predict_columns(self, inputs: pl.DataFrame) -> dict[str, pl.Series]:
        """Return the prediction columns, with the same numbers as the endpoint returns."""
        columns = extract_columns(inputs, self.package.graph.inputs)
        classes: list[Any] | None = self.package.output.get("classes")
        if classes is None:
            return {"prediction": _to_float64(self.package.predict(columns) if len(inputs) else np.empty(0))}
        class_probabilities = self.package.predict(columns) if len(inputs) else np.empty((0, len(classes)))
        names = pl.Series(classes)
        probabilities = {
            f"probability_{each}": _to_float64(class_probabilities[:, index]) for index, each in enumerate(classes)
        }
        return {"prediction": names[class_probabilities.argmax(axis=1)], **probabilities}


def _to_float64(values: NDArray[Any]) -> pl.Series:
    """Return float32 values as float64, which JSON and CSV use too."""
    return pl.Series(values.astype(np.float64))


def _find_free_name(name: str, used_names: Sequence[str]) -> str:
    """Return a name that no input column has: `row_` if there is a column `row`."""
    return name if name not in used_names else _find_free_name(f"{name}_", used_names)


def create_refusal(source_name: str, scored: ScoredChunk, *, is_first: bool) -> Refused:
    """Return the error for a chunk with rejected rows; it names the first of them.

    Args:
        source_name: the name of the input.
        scored: the result of the chunk.
        is_first: whether no chunk was written before.
    """
    count = scored.rejected.height
    displayed_rows = scored.rejected.head(MAX_DISPLAYED_ROWS)[:, :2].iter_rows()
    lines = "; ".join(f"row {row}: {reason}" for row, reason in displayed_rows)
    suffix = f"; and {count - MAX_DISPLAYED_ROWS} more in this chunk" if count > MAX_DISPLAYED_ROWS else ""
    advice = "nothing was scored; correct them"
    if not is_first:
        advice = "what was scored before is kept; correct them and --restart"
    return Refused(
        f"{source_name}: {count} row{'s break' if count > 1 else ' breaks'} the model's contract: {lines}{suffix}; "
        f"{advice}, or go on with --on-error aside"
    )
