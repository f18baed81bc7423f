"""The job of a batch: its settings, and how one chunk is scored and written."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from merit.batch.output import Output
from merit.batch.scorer import BatchScorer, create_refusal

DEFAULT_CHUNK_ROWS = 65_536
"""Default number of rows per chunk."""
ReportProgress = Callable[[int, int | None], None]
"""Reports progress: the rows done, and the total or None where it is not known."""


@dataclass(frozen=True)
class Job:
    """The settings of a batch. It is picklable, because an engine may send it to other processes.

    Attributes:
        package: the folder of the package.
        output: the destination of the scored rows.
        version: its version in the registry, if it has one.
        keep: the input columns to copy into the output; None copies all.
        on_error: on a row that violates the contract, `refuse` stops the batch, `aside` writes it to a separate file.
        chunk_rows: rows per chunk.
        workers: chunks scored at once.
        commit: the Git commit of the package, where it is known.
    """

    package: Path
    output: Output
    version: str | None = None
    keep: tuple[str, ...] | None = None
    on_error: Literal["refuse", "aside"] = "refuse"
    chunk_rows: int = DEFAULT_CHUNK_ROWS
    workers: int = 1
    commit: str | None = None

    def load_scorer(self, *, is_text: bool) -> BatchScorer:
        """Load the package and return its scorer."""
        return BatchScorer(self.package, self.version, self.keep, is_text=is_text, commit=self.commit)

    def score_chunk(self, scorer: BatchScorer, source_name: str, number: int, rows: pl.DataFrame) -> int:
        """Score a chunk and write it; return its number of rows.

        Args:
            scorer: the scorer of this job's package.
            source_name: the name of the input, for messages.
            number: the index of the chunk.
            rows: its rows.

        Raises:
            Refused: rows violate the contract, and `on_error` is `refuse`.
        """
        scored = scorer.score_chunk(rows, number * self.chunk_rows)
        if scored.rejected.height and self.on_error == "refuse":
            raise create_refusal(source_name, scored, is_first=not self.output.has_parts())
        self.output.write_chunk(number, scored)
        return rows.height
