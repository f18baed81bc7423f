"""The interface of an engine."""

from typing import Protocol

from merit.batch.job import Job, ReportProgress
from merit.batch.scorer import BatchScorer
from merit.batch.sources import InputFiles


class Engine(Protocol):
    """An engine: a module of this folder with these names, and `NAME`, by which `engine=NAME` chooses it."""

    NEEDS_SEEKABLE_FILES: bool
    """Whether it reads chunks out of order, so that text, and the rows of a query, are written to Parquet first."""

    def score_chunks(self, files: InputFiles, job: Job, scorer: BatchScorer, report_progress: ReportProgress) -> None:
        """Score each chunk that is not done.

        Raises:
            Refused: rows violate the contract.
            MeritError: a chunk can't be read or written, or the engine is not available.
        """
