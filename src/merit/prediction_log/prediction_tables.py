"""Builds tables of logged predictions: Polars parses the JSON bodies of requests, without Python objects per value.

Bodies that Polars may parse differently from the endpoint are parsed again by the endpoint's own code.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from merit.prediction_log.privacy import PrivacyFilter
from merit.prediction_log.protocol import LogEntry, WriterTask
from merit.reading.nulls import build_null_declaration, is_null
from merit.reading.times import parse_time

if TYPE_CHECKING:
    import polars as pl

LOG_COLUMNS = ("request_id", "row", "time", "caller", "prediction", "probabilities", "model", "version", "commit")
"""The columns that the log adds; an input column of the same name gets the prefix `input_`."""


class PredictionTables:
    """Builds tables of predictions from entries.

    Args:
        task: the model's signature and origin.
        privacy: the columns to leave out or to hash.
    """

    def __init__(self, task: WriterTask, privacy: PrivacyFilter) -> None:
        self._privacy = privacy
        self._inputs = [each for each in task.inputs if each["name"] not in privacy.excluded]
        self._all_inputs = task.inputs
        self._is_countable = not any(":" in each["name"] for each in task.inputs)
        self._log_names = {each["name"]: get_log_name(each["name"]) for each in self._inputs}
        self._classes: list[Any] | None = task.output.get("classes")
        self._origin = task.origin

    def build_table(self, entries: Sequence[LogEntry]) -> "pl.DataFrame":
        """Return a table with one line per predicted row.

        Args:
            entries: per request: number of rows, id, time in seconds since 1970, body or None, columns or None,
                predictions as bytes of float32, and caller.
        """
        import polars as pl

        groups: dict[str, list[LogEntry]] = {"object": [], "array": [], "odd": [], "columns": []}
        for entry in entries:
            groups[self._classify_entry(entry)].append(entry)
        tables = [self._add_head([each], self._convert_columns(each[4])) for each in groups["columns"]]
        for kind in ("object", "array"):
            if same_kind := groups[kind]:
                table, slow_flags = self._parse_bodies(same_kind, kind)
                groups["odd"] += [each for each, is_slow in zip(same_kind, slow_flags, strict=True) if is_slow]
                fast_entries = [each for each, is_odd in zip(same_kind, slow_flags, strict=True) if not is_odd]
                if fast_entries:
                    tables.append(self._add_head(fast_entries, table))
        if groups["odd"]:
            tables.append(self._add_head(groups["odd"], self._parse_slowly([each[3] for each in groups["odd"]])))
        return pl.concat(tables) if len(tables) > 1 else tables[0]

    def _classify_entry(self, entry: LogEntry) -> str:
        """Return how to parse an entry first: `object`, `array`, `columns`, or `odd` for the slow way.

        The fast way counts colons to find duplicate keys (see `_count_required_colons`), which escapes would falsify.
        """
        body: bytes | None = entry[3]
        if body is None:
            return "columns"
        if not self._is_countable or b"\\" in body:
            return "odd"
        first = body[:1]
        return "object" if (first if first in b"{[" else body.lstrip()[:1]) == b"{" else "array"

    def _add_head(self, entries: Sequence[LogEntry], inputs: "pl.DataFrame") -> "pl.DataFrame":
        import polars as pl

        counts, ids, times, _, _, predictions, callers = zip(*entries, strict=True)
        if inputs.height != sum(counts):
            raise ValueError(f"{inputs.height} rows were read of {sum(counts)}")
        head = pl.DataFrame(
            {
                "request_id": pl.Series(ids, dtype=pl.String),
                "row": np.zeros(len(entries), dtype=np.uint32),
                "time": (np.array(times) * 1e6).astype(np.int64),
                "caller": pl.Series(callers, dtype=pl.String),
            }
        ).with_columns(pl.col("time").cast(pl.Datetime("us", "UTC")))
        if max(counts) > 1:
            head = head[np.repeat(np.arange(len(entries)), counts)]
            rows = np.concatenate([np.arange(count, dtype=np.uint32) for count in counts])
            head = head.with_columns(pl.Series("row", rows))
        logged_inputs = self._privacy.apply(inputs).rename(self._log_names)
        origin = [pl.lit(value, pl.String).alias(name) for name, value in self._origin.items()]
        return pl.concat(
            [head, logged_inputs, self._parse_predictions(b"".join(predictions))], how="horizontal"
        ).with_columns(origin)

    def _parse_predictions(self, content: bytes) -> "pl.DataFrame":
        import polars as pl

        values = np.frombuffer(content, dtype=np.float32)
        if self._classes is None:
            return pl.DataFrame({"prediction": pl.Series(values, dtype=pl.Float32)})
        values = values.reshape(-1, len(self._classes))
        classes = pl.Series("prediction", self._classes)
        predictions = classes.gather(values.argmax(axis=1))
        probabilities = pl.Series("probabilities", values, dtype=pl.Array(pl.Float32, len(self._classes)))
        return pl.DataFrame([predictions, probabilities.cast(pl.List(pl.Float32))])

    def _parse_bodies(self, entries: list[LogEntry], kind: str) -> "tuple[pl.DataFrame, list[bool]]":
        """Return the rows of bodies, and a flag for each body that was left out because it needs the slow way."""
        import polars as pl

        from merit.reading import column_cells

        bodies = [each[3] for each in entries]
        try:
            parsed = self._parse_objects(bodies) if kind == "object" else self._parse_arrays(bodies)
        except pl.exceptions.PolarsError:
            return pl.DataFrame(), [True] * len(entries)
        counts = [each[0] for each in entries]
        if parsed.height != sum(counts):
            return pl.DataFrame(), [True] * len(entries)
        keys = np.add.reduceat(self._count_required_colons(parsed), np.cumsum([0, *counts[:-1]]))
        readings = [
            column_cells.read_column(parsed[each["name"]], declaration)
            for each in self._inputs
            if (declaration := build_null_declaration(each)) is not None
        ]
        if any(each.unread is not None for each in readings):
            return pl.DataFrame(), [True] * len(entries)
        converted = parsed.with_columns(each.values for each in readings)
        is_slow = np.array([body.count(b":") for body in bodies]) != keys
        logged = converted.select(each["name"] for each in self._inputs)
        return logged.filter(pl.Series(~np.repeat(is_slow, counts))), is_slow.tolist()

    def _count_required_colons(self, parsed: "pl.DataFrame") -> NDArray[np.int64]:
        """Return the number of colons that each row must have in JSON if no key is duplicate and no value is null.

        Of a duplicate key the endpoint takes the last value and Polars the first. A body with more colons may have one.
        """
        import polars as pl

        strings = [name for name, kind in parsed.schema.items() if kind == pl.String]
        texts = [pl.col(name).str.count_matches(":", literal=True) for name in strings]
        present = [pl.col(name).is_not_null() for name in parsed.columns]
        required = pl.sum_horizontal(each.cast(pl.Int64) for each in (*present, *texts))
        return parsed.select(required.alias("needed"))["needed"].to_numpy()

    def _parse_objects(self, bodies: list[bytes]) -> "pl.DataFrame":
        import polars as pl

        # A line break in JSON is whitespace: inside a string it is escaped as \n.
        lines = b"\n".join([body.replace(b"\n", b" ") if b"\n" in body else body for body in bodies])
        return pl.read_ndjson(lines, schema=self._get_json_schema())

    def _parse_arrays(self, bodies: list[bytes]) -> "pl.DataFrame":
        import polars as pl

        lines = b"\n".join([b'{"r":' + body.replace(b"\n", b" ") + b"}" for body in bodies])
        return pl.read_ndjson(lines, schema={"r": pl.List(pl.Struct(self._get_json_schema()))}).explode("r").unnest("r")

    def _parse_slowly(self, bodies: list[bytes]) -> "pl.DataFrame":
        """Return the rows of bodies, parsed in Python as the endpoint does."""
        import polars as pl

        rows: list[dict[str, Any]] = []
        for body in bodies:
            decoded = msgspec.json.decode(body)
            rows += decoded if isinstance(decoded, list) else [decoded]
        series = []
        for column in self._inputs:
            values = [row.get(column["name"]) for row in rows]
            if (declaration := build_null_declaration(column)) is not None:
                values = [None if value is None or is_null(value, declaration) else value for value in values]
            if column["type"] == "datetime":
                values = [None if value is None else parse_time(value, column.get("format")) for value in values]
            series.append(pl.Series(column["name"], values, _get_dtype(column), strict=False))
        return pl.DataFrame(series)

    def _convert_columns(self, columns: dict[str, NDArray[Any]]) -> "pl.DataFrame":
        """Return the rows of columns in the graph's encoding: "" and NaN are missing, times are in seconds.

        An integer beyond 64 bits becomes null, as in JSON bodies.
        """
        import polars as pl

        series = []
        for column in self._inputs:
            values = columns[column["name"]]
            if column["type"] == "array":
                series.append(pl.Series(column["name"], values.tolist(), _get_dtype(column)))
            elif column["type"] == "datetime":
                seconds = pl.Series(column["name"], values, nan_to_null=True)
                series.append((seconds * 1e6).round().cast(pl.Int64).cast(pl.Datetime("us")))
            elif values.dtype == object:
                texts = pl.Series(column["name"], values.tolist(), pl.String)
                series.append(texts.set(texts == "", None) if column["nullable"] else texts)
            else:
                series.append(
                    pl.Series(column["name"], values, nan_to_null=True).cast(_get_dtype(column), strict=False)
                )
        return pl.DataFrame(series)

    def _get_json_schema(self) -> dict[str, Any]:
        """Return the types of the columns in JSON, where times are strings."""
        import polars as pl

        return {
            each["name"]: pl.String() if each["type"] == "datetime" else _get_dtype(each) for each in self._all_inputs
        }


def get_log_name(column: str) -> str:
    """Return the name of an input column in the log."""
    return f"input_{column}" if column in LOG_COLUMNS else column


def _get_dtype(column: dict[str, Any]) -> Any:
    import polars as pl

    types = {"string": pl.String(), "integer": pl.Int64(), "boolean": pl.Boolean(), "datetime": pl.Datetime("us")}
    if column["type"] != "array":
        return types.get(column["type"], pl.Float64())
    nested: Any = pl.Float64()
    for _ in column["shape"]:
        nested = pl.List(nested)
    return nested
