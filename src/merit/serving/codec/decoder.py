"""Program of the helper process that decodes untrusted tables for `merit.serving.codec.tables`.

A few bytes of Parquet or Arrow can expand to gigabytes, and malformed ones can crash a process. Either then ends only
this helper, which has limited memory and CPU time and no secrets, and not the worker. From merit it imports only
`bounds` and the column reader, from the folder that its first argument names.
"""

import io
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import polars as pl

MAX_MEMORY_BYTES = 2**30
"""Maximum memory of this process, in bytes."""
MAX_RETAINED_BYTES = MAX_MEMORY_BYTES // 2
"""Maximum bytes still in use after a response; above it the process ends, to start the next table with free memory."""
CPU_SECONDS, COLUMN_CPU_SECONDS = 1.5, 0.002
"""CPU time limit per request, and the addition per column; 10,000 rows of 30 columns need far less."""
PARQUET = "parquet"
MAX_DISPLAYED_CHARS = 200
MAX_DISPLAYED_ROWS = 5
MAX_PROBLEMS = 100


class InvalidTable(Exception):
    """An invalid table, with its problems."""

    def __init__(self, *problems: str) -> None:
        super().__init__(problems[0])
        self.problems = list(problems)


def main() -> None:
    """Answer length-prefixed msgpack requests from standard input until it is closed."""
    sys.path.append(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    requests, responses = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # redirect prints of libraries away from the responses
    responses.write(bytes(8))  # ready signal: after it, a crash is blamed on the table
    responses.flush()
    while size := requests.read(8):
        request = msgspec.msgpack.decode(requests.read(int.from_bytes(size, "big")))
        seconds = CPU_SECONDS + COLUMN_CPU_SECONDS * len(request.get("inputs", ()))
        signal.setitimer(signal.ITIMER_PROF, seconds)  # on expiry SIGPROF ends this process
        response = msgspec.msgpack.encode(_process_request(request))
        responses.write(len(response).to_bytes(8, "big") + response)
        responses.flush()
        if _measure_memory() > MAX_RETAINED_BYTES:
            os._exit(0)


def _measure_memory() -> int:
    """Return the bytes counted by the memory limit (RLIMIT_DATA); 0 if the system does not report them."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123  # pathlib is not loaded
            return int(statm.read().split()[5]) * resource.getpagesize()
    except OSError:
        return 0


def _process_request(request: dict[str, Any]) -> dict[str, Any]:
    try:
        if request["is"] == "encode":
            return {"body": _encode_predictions(request)}
        table, problems = _read_table(request)
        return {
            "rows": table.height,
            "columns": _encode_columns(table, request["inputs"], request["most_bytes"], problems),
        }
    except InvalidTable as error:
        return {"problems": error.problems}
    except (SystemExit, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001  # a panic of polars is a BaseException
        reason = " ".join(str(error).split())[:MAX_DISPLAYED_CHARS]
        return {"problems": [f"can't be read as {request.get('form')} ({reason})"]}


def _read_table(request: dict[str, Any]) -> tuple[pl.DataFrame, list[str]]:
    """Return a table of the valid columns, and the problems of the others, which are never decoded."""
    from merit.serving.codec.bounds import arrow, parquet

    body, table_format, max_bytes = request["body"], request["form"], request["most_bytes"]
    read_table: Callable[..., pl.DataFrame]
    if table_format == PARQUET:
        body = parquet.check_pages(body, max_bytes)
        schema, read_table = pl.read_parquet_schema(io.BytesIO(body)), pl.read_parquet
        rows = pl.scan_parquet(io.BytesIO(body)).select(pl.len()).collect().item()  # reads only the footer
    elif table_format == "arrow stream":
        rows, schema_stream = arrow.measure_stream(body, max_bytes)
        schema, read_table = pl.read_ipc_stream(io.BytesIO(schema_stream)).schema, pl.read_ipc_stream
    else:
        rows = arrow.measure_file(body, max_bytes)
        schema, read_table = pl.read_ipc_schema(io.BytesIO(body)), pl.read_ipc
    problems, accepted = _check_schema(schema, request["inputs"])
    _check_rows(rows, request["most_rows"])
    table = read_table(io.BytesIO(body), columns=accepted) if accepted else pl.DataFrame(height=rows)
    _check_rows(table.height, request["most_rows"])
    return table, problems


def _check_rows(row_count: int, max_rows: int) -> None:
    if row_count > max_rows:
        raise InvalidTable(f"found {row_count} rows; at most {max_rows} are taken in one request (serve.max_rows)")
    if row_count == 0:
        raise InvalidTable("the table holds no row; send at least one")


def _check_schema(schema: Mapping[str, pl.DataType], inputs: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """Check a table's columns against the model's inputs; return the problems and the names of the valid columns."""
    from merit.reading import column_cells
    from merit.reading.declaration import build_declaration

    input_names = {column["name"] for column in inputs}
    expected = ", ".join(each["name"] for each in inputs)
    unknown = [name for name in schema if name not in input_names][:MAX_PROBLEMS]
    problems = [f"unknown column '{name[:60]}'; columns: {expected}" for name in unknown]
    accepted = []
    for each in inputs:
        name, dtype = each["name"], schema.get(each["name"])
        if dtype is None:
            problems += [] if each["nullable"] else [f"the column '{name}' is missing"]
        elif (dtype == pl.Null and not each["nullable"]) or column_cells.find_mismatch(
            dtype, build_declaration(name, each)
        ):
            problems.append(f"column '{name}': is {dtype}, but the model takes {each['type']}")
        else:
            accepted.append(name)
    return problems, accepted


def _encode_columns(
    table: pl.DataFrame, inputs: list[dict[str, Any]], max_bytes: int, problems: list[str]
) -> dict[str, Any]:
    """Return the values of each input column, encoded for the worker.

    Raises:
        InvalidTable: there are problems already, or values are invalid.
    """
    from merit.serving.codec.bounds.budget import ByteBudget

    text_budget, encoded = ByteBudget(max_bytes), {}
    received = {values.name: values for values in table.iter_columns()}
    nulls = pl.Series([None] * table.height, dtype=pl.Null)
    for column in inputs:
        name = column["name"]
        try:
            if name in received or column["nullable"]:
                encoded[name] = _encode_column(received.get(name, nulls), column, text_budget)
        except InvalidTable as error:
            problems += error.problems
    if problems:
        raise InvalidTable(*problems[:MAX_PROBLEMS])
    return encoded


def _encode_column(values: pl.Series, column: dict[str, Any], text_budget: Any) -> Any:
    from merit.reading import cell_advice, column_cells
    from merit.reading.declaration import build_declaration

    if (lengths := _count_text_bytes(values)) is not None:
        text_budget.spend(int(lengths.cast(pl.Int64).sum() or 0))  # dictionary encoding stores a repeated text once
    declaration = build_declaration(column["name"], column)
    reading = column_cells.read_column(values, declaration)
    if reading.unread is not None:
        causes = cell_advice.find_causes(values, reading.unread, declaration)
        raise InvalidTable(*(_describe_problem(is_invalid, column, reason) for is_invalid, reason in causes))
    if not column["nullable"] or column["type"] == "array":
        _reject_rows(reading.values.is_null(), column, "is missing")
    if column["type"] == "string":
        return reading.values.fill_null("").to_list()
    return _encode_array(reading.values, column) if column["type"] == "array" else _encode_numbers(reading.values)


def _count_text_bytes(values: pl.Series) -> pl.Series | None:
    """Return the length of each text in bytes; None if the column has no texts."""
    if values.dtype == pl.String:
        return values.str.len_bytes()
    return values.cat.len_bytes() if isinstance(values.dtype, (pl.Categorical, pl.Enum)) else None


def _encode_numbers(values: pl.Series) -> bytes:
    if values.dtype == pl.Datetime:
        values = values.cast(pl.Int64) / 1e6
    return values.cast(pl.Float64).fill_null(float("nan")).to_numpy().tobytes()


def _encode_array(values: pl.Series, column: dict[str, Any]) -> bytes:
    array = values.to_numpy()
    if not (abs(array) < float("inf")).all():
        raise InvalidTable(f"column '{column['name']}': send nested arrays of numbers, of the shape {column['shape']}")
    return bytes(array.tobytes())


def _reject_rows(is_invalid: pl.Series, column: dict[str, Any], problem: str) -> None:
    if is_invalid.any():
        raise InvalidTable(_describe_problem(is_invalid, column, problem))


def _describe_problem(is_invalid: pl.Series, column: dict[str, Any], problem: str) -> str:
    """Return the text of a problem, with the first rows that have it."""
    rows = is_invalid.arg_true()
    displayed = ", ".join(str(row) for row in rows.head(MAX_DISPLAYED_ROWS))
    more = f" and {len(rows) - MAX_DISPLAYED_ROWS} more" if len(rows) > MAX_DISPLAYED_ROWS else ""
    return f"column '{column['name']}': {problem} in row {displayed}{more}"


def _encode_predictions(request: dict[str, Any]) -> bytes:
    """Return predictions as an Arrow IPC stream, with the model's origin in every row."""
    series: list[pl.Series] = []
    predictions = pl.Series("prediction", memoryview(request["found"]).cast("f").tolist(), dtype=pl.Float32)
    if classes := request["classes"]:
        predictions = predictions.reshape((-1, len(classes)))
        indices = predictions.arr.arg_max().to_list()
        series = [pl.Series("prediction", [classes[index] for index in indices]), predictions.alias("probabilities")]
    table = pl.DataFrame(series or [predictions])
    origin = [pl.lit(value).alias(name) for name, value in request["origin"].items()]
    buffer = io.BytesIO()
    table.with_columns(origin).write_ipc_stream(buffer)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
