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

MEMORY = 2**30
"""Maximum memory of this process, in bytes."""
KEPT = MEMORY // 2
"""Maximum bytes still in use after a response; above it the process ends, to start the next table with free memory."""
SECONDS, COLUMN_SECONDS = 1.5, 0.002
"""CPU time limit per request, and the addition per column; 10,000 rows of 30 columns need far less."""
PARQUET = "parquet"
SHOWN = 200
ROWS_SHOWN = 5
PROBLEMS = 100


class Broken(Exception):
    """An invalid table, with its problems."""

    def __init__(self, *problems: str) -> None:
        super().__init__(problems[0])
        self.problems = list(problems)


def main() -> None:
    """Answer length-prefixed msgpack requests from standard input until it is closed."""
    sys.path.append(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    asked, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # redirect prints of libraries away from the responses
    answers.write(bytes(8))  # ready signal: after it, a crash is blamed on the table
    answers.flush()
    while size := asked.read(8):
        question = msgspec.msgpack.decode(asked.read(int.from_bytes(size, "big")))
        seconds = SECONDS + COLUMN_SECONDS * len(question.get("inputs", ()))
        signal.setitimer(signal.ITIMER_PROF, seconds)  # on expiry SIGPROF ends this process
        answer = msgspec.msgpack.encode(_answer(question))
        answers.write(len(answer).to_bytes(8, "big") + answer)
        answers.flush()
        if _memory() > KEPT:
            os._exit(0)


def _memory() -> int:
    """Return the bytes counted by the memory limit (RLIMIT_DATA); 0 if the system does not report them."""
    try:
        with open("/proc/self/statm", encoding="ascii") as told:  # noqa: PTH123  # pathlib is not loaded
            return int(told.read().split()[5]) * resource.getpagesize()
    except OSError:
        return 0


def _answer(question: dict[str, Any]) -> dict[str, Any]:
    try:
        if question["is"] == "encode":
            return {"body": _encoded(question)}
        table, problems = _table(question)
        return {"rows": table.height, "columns": _columns(table, question["inputs"], question["most_bytes"], problems)}
    except Broken as error:
        return {"problems": error.problems}
    except (SystemExit, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001  # a panic of polars is a BaseException
        reason = " ".join(str(error).split())[:SHOWN]
        return {"problems": [f"can't be read as {question.get('form')} ({reason})"]}


def _table(question: dict[str, Any]) -> tuple[pl.DataFrame, list[str]]:
    """Return a table of the valid columns, and the problems of the others, which are never decoded."""
    from merit.serving.codec.bounds import arrow, parquet

    body, form, most = question["body"], question["form"], question["most_bytes"]
    read: Callable[..., pl.DataFrame]
    if form == PARQUET:
        body = parquet.checked(body, most)
        schema, read = pl.read_parquet_schema(io.BytesIO(body)), pl.read_parquet
        rows = pl.scan_parquet(io.BytesIO(body)).select(pl.len()).collect().item()  # reads only the footer
    elif form == "arrow stream":
        rows, empty = arrow.stream(body, most)
        schema, read = pl.read_ipc_stream(io.BytesIO(empty)).schema, pl.read_ipc_stream
    else:
        rows = arrow.file(body, most)
        schema, read = pl.read_ipc_schema(io.BytesIO(body)), pl.read_ipc
    problems, taken = _held(schema, question["inputs"])
    _check_rows(rows, question["most_rows"])
    table = read(io.BytesIO(body), columns=taken) if taken else pl.DataFrame(height=rows)
    _check_rows(table.height, question["most_rows"])
    return table, problems


def _check_rows(rows: int, most: int) -> None:
    if rows > most:
        raise Broken(f"found {rows} rows; at most {most} are taken in one request (serve.max_rows)")
    if rows == 0:
        raise Broken("the table holds no row; send at least one")


def _held(schema: Mapping[str, pl.DataType], inputs: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """Check a table's columns against the model's inputs; return the problems and the names of the valid columns."""
    from merit.reading import cells
    from merit.reading.declaration import declared

    known = {each["name"] for each in inputs}
    told = ", ".join(each["name"] for each in inputs)
    unknown = [name for name in schema if name not in known][:PROBLEMS]
    problems = [f"unknown column '{name[:60]}'; columns: {told}" for name in unknown]
    taken = []
    for each in inputs:
        name, kind = each["name"], schema.get(each["name"])
        if kind is None:
            problems += [] if each["nullable"] else [f"the column '{name}' is missing"]
        elif (kind == pl.Null and not each["nullable"]) or cells.mismatch(kind, declared(name, each)):
            problems.append(f"column '{name}': is {kind}, but the model takes {each['type']}")
        else:
            taken.append(name)
    return problems, taken


def _columns(table: pl.DataFrame, inputs: list[dict[str, Any]], most: int, problems: list[str]) -> dict[str, Any]:
    """Return the values of each input column, encoded for the worker.

    Raises:
        Broken: there are problems already, or values are invalid.
    """
    from merit.serving.codec.bounds.budget import Budget

    texts, made = Budget(most), {}
    sent = {values.name: values for values in table.iter_columns()}
    nothing = pl.Series([None] * table.height, dtype=pl.Null)
    for each in inputs:
        name = each["name"]
        try:
            if name in sent or each["nullable"]:
                made[name] = _column(sent.get(name, nothing), each, texts)
        except Broken as error:
            problems += error.problems
    if problems:
        raise Broken(*problems[:PROBLEMS])
    return made


def _column(values: pl.Series, column: dict[str, Any], texts: Any) -> Any:
    from merit.reading import advice, cells
    from merit.reading.declaration import declared

    if (lengths := _lengths(values)) is not None:
        texts.spend(int(lengths.cast(pl.Int64).sum() or 0))  # dictionary encoding stores a repeated text once
    declaration = declared(column["name"], column)
    reading = cells.read(values, declaration)
    if reading.unread is not None:
        causes = advice.causes(values, reading.unread, declaration)
        raise Broken(*(_told(wrong, column, reason) for wrong, reason in causes))
    if not column["nullable"] or column["type"] == "array":
        _check(reading.values.is_null(), column, "is missing")
    if column["type"] == "string":
        return reading.values.fill_null("").to_list()
    return _array(reading.values, column) if column["type"] == "array" else _numbers(reading.values)


def _lengths(values: pl.Series) -> pl.Series | None:
    """Return the length of each text in bytes; None if the column has no texts."""
    if values.dtype == pl.String:
        return values.str.len_bytes()
    return values.cat.len_bytes() if isinstance(values.dtype, (pl.Categorical, pl.Enum)) else None


def _numbers(values: pl.Series) -> bytes:
    if values.dtype == pl.Datetime:
        values = values.cast(pl.Int64) / 1e6
    return values.cast(pl.Float64).fill_null(float("nan")).to_numpy().tobytes()


def _array(values: pl.Series, column: dict[str, Any]) -> bytes:
    result = values.to_numpy()
    if not (abs(result) < float("inf")).all():
        raise Broken(f"column '{column['name']}': send nested arrays of numbers, of the shape {column['shape']}")
    return bytes(result.tobytes())


def _check(wrong: pl.Series, column: dict[str, Any], what: str) -> None:
    if wrong.any():
        raise Broken(_told(wrong, column, what))


def _told(wrong: pl.Series, column: dict[str, Any], what: str) -> str:
    """Return the text of a problem, with the first rows that have it."""
    rows = wrong.arg_true()
    shown = ", ".join(str(row) for row in rows.head(ROWS_SHOWN))
    more = f" and {len(rows) - ROWS_SHOWN} more" if len(rows) > ROWS_SHOWN else ""
    return f"column '{column['name']}': {what} in row {shown}{more}"


def _encoded(question: dict[str, Any]) -> bytes:
    """Return predictions as an Arrow IPC stream, with the model's origin in every row."""
    series: list[pl.Series] = []
    found = pl.Series("prediction", memoryview(question["found"]).cast("f").tolist(), dtype=pl.Float32)
    if classes := question["classes"]:
        found = found.reshape((-1, len(classes)))
        places = found.arr.arg_max().to_list()
        series = [pl.Series("prediction", [classes[place] for place in places]), found.alias("probabilities")]
    table = pl.DataFrame(series or [found])
    origin = [pl.lit(value).alias(name) for name, value in question["origin"].items()]
    file = io.BytesIO()
    table.with_columns(origin).write_ipc_stream(file)
    return file.getvalue()


if __name__ == "__main__":
    main()
