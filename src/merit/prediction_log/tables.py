"""Builds tables of logged predictions: Polars parses the JSON bodies of requests, without Python objects per value.

Bodies that Polars may parse differently from the endpoint are parsed again by the endpoint's own code.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from merit.prediction_log.privacy import Privacy
from merit.prediction_log.protocol import Entry, Task
from merit.reading.nulls import is_null, nulls_of
from merit.reading.times import clock

if TYPE_CHECKING:
    import polars as pl

OWN = ("request_id", "row", "time", "caller", "prediction", "probabilities", "model", "version", "commit")
"""The columns that the log adds; an input column of the same name gets the prefix `input_`."""


class Tables:
    """Builds tables of predictions from entries.

    Args:
        task: the model's signature and origin.
        privacy: the columns to leave out or to hash.
    """

    def __init__(self, task: Task, privacy: Privacy) -> None:
        self._privacy = privacy
        self._inputs = [each for each in task.inputs if each["name"] not in privacy.left_out]
        self._all = task.inputs
        self._is_countable = not any(":" in each["name"] for each in task.inputs)
        self._names = {each["name"]: kept_as(each["name"]) for each in self._inputs}
        self._classes: list[Any] | None = task.output.get("classes")
        self._origin = task.origin

    def build(self, entries: Sequence[Entry]) -> "pl.DataFrame":
        """Return a table with one line per predicted row.

        Args:
            entries: per request: number of rows, id, time in seconds since 1970, body or None, columns or None,
                predictions as bytes of float32, and caller.
        """
        import polars as pl

        groups: dict[str, list[Entry]] = {"object": [], "array": [], "odd": [], "columns": []}
        for entry in entries:
            groups[self._kind(entry)].append(entry)
        made = [self._with_head([each], self._of_columns(each[4])) for each in groups["columns"]]
        for kind in ("object", "array"):
            if found := groups[kind]:
                table, odd = self._read(found, kind)
                groups["odd"] += [each for each, is_odd in zip(found, odd, strict=True) if is_odd]
                plain = [each for each, is_odd in zip(found, odd, strict=True) if not is_odd]
                if plain:
                    made.append(self._with_head(plain, table))
        if groups["odd"]:
            made.append(self._with_head(groups["odd"], self._slowly([each[3] for each in groups["odd"]])))
        return pl.concat(made) if len(made) > 1 else made[0]

    def _kind(self, entry: Entry) -> str:
        """Return how to parse an entry first: `object`, `array`, `columns`, or `odd` for the slow way.

        The fast way counts colons to find duplicate keys (see `_keys`), which escapes would falsify.
        """
        body: bytes | None = entry[3]
        if body is None:
            return "columns"
        if not self._is_countable or b"\\" in body:
            return "odd"
        first = body[:1]
        return "object" if (first if first in b"{[" else body.lstrip()[:1]) == b"{" else "array"

    def _with_head(self, entries: Sequence[Entry], inputs: "pl.DataFrame") -> "pl.DataFrame":
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
        kept = self._privacy.applied(inputs).rename(self._names)
        origin = [pl.lit(value, pl.String).alias(name) for name, value in self._origin.items()]
        return pl.concat([head, kept, self._predictions(b"".join(predictions))], how="horizontal").with_columns(origin)

    def _predictions(self, told: bytes) -> "pl.DataFrame":
        import polars as pl

        found = np.frombuffer(told, dtype=np.float32)
        if self._classes is None:
            return pl.DataFrame({"prediction": pl.Series(found, dtype=pl.Float32)})
        found = found.reshape(-1, len(self._classes))
        classes = pl.Series("prediction", self._classes)
        guesses = classes.gather(found.argmax(axis=1))
        probabilities = pl.Series("probabilities", found, dtype=pl.Array(pl.Float32, len(self._classes)))
        return pl.DataFrame([guesses, probabilities.cast(pl.List(pl.Float32))])

    def _read(self, entries: list[Entry], kind: str) -> "tuple[pl.DataFrame, list[bool]]":
        """Return the rows of bodies, and a flag for each body that was left out because it needs the slow way."""
        import polars as pl

        from merit.reading import cells

        bodies = [each[3] for each in entries]
        try:
            read = self._of_objects(bodies) if kind == "object" else self._of_arrays(bodies)
        except pl.exceptions.PolarsError:
            return pl.DataFrame(), [True] * len(entries)
        counts = [each[0] for each in entries]
        if read.height != sum(counts):
            return pl.DataFrame(), [True] * len(entries)
        keys = np.add.reduceat(self._keys(read), np.cumsum([0, *counts[:-1]]))
        readings = [
            cells.read(read[each["name"]], declaration)
            for each in self._inputs
            if (declaration := nulls_of(each)) is not None
        ]
        if any(each.unread is not None for each in readings):
            return pl.DataFrame(), [True] * len(entries)
        clocks = read.with_columns(each.values for each in readings)
        odd = np.array([body.count(b":") for body in bodies]) != keys
        kept = clocks.select(each["name"] for each in self._inputs)
        return kept.filter(pl.Series(~np.repeat(odd, counts))), odd.tolist()

    def _keys(self, read: "pl.DataFrame") -> NDArray[np.int64]:
        """Return the number of colons that each row must have in JSON if no key is duplicate and no value is null.

        Of a duplicate key the endpoint takes the last value and Polars the first. A body with more colons may have one.
        """
        import polars as pl

        strings = [name for name, kind in read.schema.items() if kind == pl.String]
        texts = [pl.col(name).str.count_matches(":", literal=True) for name in strings]
        there = [pl.col(name).is_not_null() for name in read.columns]
        needed = pl.sum_horizontal(each.cast(pl.Int64) for each in (*there, *texts))
        return read.select(needed.alias("needed"))["needed"].to_numpy()

    def _of_objects(self, bodies: list[bytes]) -> "pl.DataFrame":
        import polars as pl

        # A line break in JSON is whitespace: inside a string it is escaped as \n.
        lines = b"\n".join([body.replace(b"\n", b" ") if b"\n" in body else body for body in bodies])
        return pl.read_ndjson(lines, schema=self._raw())

    def _of_arrays(self, bodies: list[bytes]) -> "pl.DataFrame":
        import polars as pl

        lines = b"\n".join([b'{"r":' + body.replace(b"\n", b" ") + b"}" for body in bodies])
        return pl.read_ndjson(lines, schema={"r": pl.List(pl.Struct(self._raw()))}).explode("r").unnest("r")

    def _slowly(self, bodies: list[bytes]) -> "pl.DataFrame":
        """Return the rows of bodies, parsed in Python as the endpoint does."""
        import polars as pl

        rows: list[dict[str, Any]] = []
        for body in bodies:
            found = msgspec.json.decode(body)
            rows += found if isinstance(found, list) else [found]
        made = []
        for column in self._inputs:
            values = [row.get(column["name"]) for row in rows]
            if (declaration := nulls_of(column)) is not None:
                values = [None if value is None or is_null(value, declaration) else value for value in values]
            if column["type"] == "datetime":
                values = [None if value is None else clock(value, column.get("format")) for value in values]
            made.append(pl.Series(column["name"], values, _dtype(column), strict=False))
        return pl.DataFrame(made)

    def _of_columns(self, columns: dict[str, NDArray[Any]]) -> "pl.DataFrame":
        """Return the rows of columns in the graph's encoding: "" and NaN are missing, times are in seconds.

        An integer beyond 64 bits becomes null, as in JSON bodies.
        """
        import polars as pl

        made = []
        for column in self._inputs:
            values = columns[column["name"]]
            if column["type"] == "array":
                made.append(pl.Series(column["name"], values.tolist(), _dtype(column)))
            elif column["type"] == "datetime":
                seconds = pl.Series(column["name"], values, nan_to_null=True)
                made.append((seconds * 1e6).round().cast(pl.Int64).cast(pl.Datetime("us")))
            elif values.dtype == object:
                texts = pl.Series(column["name"], values.tolist(), pl.String)
                made.append(texts.set(texts == "", None) if column["nullable"] else texts)
            else:
                made.append(pl.Series(column["name"], values, nan_to_null=True).cast(_dtype(column), strict=False))
        return pl.DataFrame(made)

    def _raw(self) -> dict[str, Any]:
        """Return the types of the columns in JSON, where times are strings."""
        import polars as pl

        return {each["name"]: pl.String() if each["type"] == "datetime" else _dtype(each) for each in self._all}


def kept_as(column: str) -> str:
    """Return the name of an input column in the log."""
    return f"input_{column}" if column in OWN else column


def _dtype(column: dict[str, Any]) -> Any:
    import polars as pl

    plain = {"string": pl.String(), "integer": pl.Int64(), "boolean": pl.Boolean(), "datetime": pl.Datetime("us")}
    if column["type"] != "array":
        return plain.get(column["type"], pl.Float64())
    made: Any = pl.Float64()
    for _ in column["shape"]:
        made = pl.List(made)
    return made
