"""The prediction log: every prediction in Parquet, written off the hot path, read back here.

Example:
    table = join_feedback(Path("log"))  # one line per prediction with feedback, its inputs and its `truth`
    table.filter(pl.col("version") == "v3").collect()
"""

from merit.prediction_log.reader import join_feedback, read, read_feedback

__all__ = ["join_feedback", "read", "read_feedback"]
