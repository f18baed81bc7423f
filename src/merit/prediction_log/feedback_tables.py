"""Builds tables of the ground truth that POST /feedback received."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from merit.prediction_log.protocol import LogEntry

if TYPE_CHECKING:
    import polars as pl


class FeedbackTables:
    """Builds tables of ground truth from entries.

    Args:
        output: the output of the model's signature: its task, and the classes of a multiclass task.
    """

    def __init__(self, output: dict[str, Any]) -> None:
        self._task, self._classes = output["task"], output.get("classes") or []

    def build_table(self, entries: Sequence[LogEntry]) -> "pl.DataFrame":
        """Return a table with one line per truth.

        Args:
            entries: per request: number of truths, time in seconds since 1970, the truths (request id and row of a
                prediction, or a key; and the truth), and the caller.
        """
        import polars as pl

        if self._task == "multiclass":
            truth_type: Any = pl.Series(self._classes).dtype
        else:
            truth_type = pl.Int8() if self._task == "binary" else pl.Float64()
        rows = [(int(time_s * 1e6), *each, caller) for _, time_s, truths, caller in entries for each in truths]
        schema = {"time": pl.Int64, "request_id": pl.String, "row": pl.UInt32, "key": pl.String, "truth": truth_type}
        table = pl.DataFrame(rows, schema={**schema, "caller": pl.String}, orient="row")
        return table.with_columns(pl.col("time").cast(pl.Datetime("us", "UTC")))
