"""Reads tables that strangers have sent, in a process of its own, run by `merit.serving.tables`.

A few bytes of Parquet or Arrow can stand for gigabytes, and what is broken in them can end a process. Here both cost a
helper with bounded memory and no secrets, and not the worker. Of merit it imports how columns are read, from the folder
that its first argument names.
"""

import io
import os
import resource
import sys
from typing import Any

import msgspec
import polars as pl

MEMORY = 2**30
"""Bytes that this process may have."""
PARQUET = "parquet"
SHOWN = 200
ROWS_SHOWN = 5
PROBLEMS = 100


class Broken(Exception):
    """The table can't be taken; with every problem, up to a bound."""

    def __init__(self, *problems: str) -> None:
        super().__init__(problems[0])
        self.problems = list(problems)


def main() -> None:
    """Answer one question after another until there are no more."""
    sys.path.append(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    asked, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not come among the answers
    answers.write(bytes(8))  # it has begun: from here on, what ends it is the table
    answers.flush()
    while size := asked.read(8):
        question = msgspec.msgpack.decode(asked.read(int.from_bytes(size, "big")))
        answer = msgspec.msgpack.encode(_answer(question))
        answers.write(len(answer).to_bytes(8, "big") + answer)
        answers.flush()


def _answer(question: dict[str, Any]) -> dict[str, Any]:
    try:
        if question["is"] == "encode":
            return {"body": _encoded(question)}
        table = _table(question["body"], question["form"], question["most_rows"])
        return {"rows": table.height, "columns": _columns(table, question["inputs"], question["most_bytes"])}
    except Broken as error:
        return {"problems": error.problems}
    except (SystemExit, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001  # polars panics by a BaseException
        reason = " ".join(str(error).split())[:SHOWN]
        return {"problems": [f"can't be read as {question.get('form')} ({reason})"]}


def _table(body: bytes, form: str, most: int) -> pl.DataFrame:
    file = io.BytesIO(body)
    if form == PARQUET:
        rows = pl.scan_parquet(file).select(pl.len()).collect().item()  # of the footer alone
        _check_rows(rows, most)
        file.seek(0)
        return pl.read_parquet(file)
    table = pl.read_ipc_stream(file) if form == "arrow stream" else pl.read_ipc(file)
    _check_rows(table.height, most)
    return table


def _check_rows(rows: int, most: int) -> None:
    if rows > most:
        raise Broken(f"found {rows} rows; at most {most} are taken in one request (serve.max_rows)")
    if rows == 0:
        raise Broken("the table holds no row; send at least one")


def _columns(table: pl.DataFrame, inputs: list[dict[str, Any]], most: int) -> dict[str, Any]:
    names = [each["name"] for each in inputs]
    problems = [
        f"unknown column '{name[:60]}'; columns: {', '.join(names)}" for name in table.columns if name not in names
    ]
    problems += [
        f"the column '{each['name']}' is missing"
        for each in inputs
        if each["name"] not in table.columns and not each["nullable"]
    ]
    made = {}
    for each in inputs:
        name = each["name"]
        values = table[name] if name in table.columns else pl.Series(name, [None] * table.height, dtype=pl.Null)
        try:
            made[name] = _column(values, each, most)
        except Broken as error:
            problems += error.problems if name in table.columns else []
    if problems:
        raise Broken(*problems[:PROBLEMS])
    return made


def _column(values: pl.Series, column: dict[str, Any], most: int) -> Any:
    from merit.reading import advice, cells
    from merit.reading.declaration import declared

    declaration = declared(column["name"], column)
    if values.dtype == pl.Null and not column["nullable"]:
        raise Broken(f"column '{column['name']}': is {values.dtype}, but the model takes {column['type']}")
    if cells.mismatch(values.dtype, declaration):
        raise Broken(f"column '{column['name']}': is {values.dtype}, but the model takes {column['type']}")
    reading = cells.read(values, declaration)
    if reading.unread is not None:
        for wrong, reason in advice.causes(values, reading.unread, declaration):
            _check(wrong, column, reason)
    if not column["nullable"] or column["type"] == "array":
        _check(reading.values.is_null(), column, "is missing")
    if column["type"] == "string":
        return _texts(reading.values, column, most)
    return _array(reading.values, column) if column["type"] == "array" else _numbers(reading.values)


def _numbers(values: pl.Series) -> bytes:
    if values.dtype == pl.Datetime:
        values = values.cast(pl.Int64) / 1e6
    return values.cast(pl.Float64).fill_null(float("nan")).to_numpy().tobytes()


def _texts(values: pl.Series, column: dict[str, Any], most: int) -> list[str]:
    if int(values.str.len_bytes().sum() or 0) > most:
        raise Broken(f"column '{column['name']}': its texts have more than {most} bytes; send fewer rows")
    return values.fill_null("").to_list()


def _array(values: pl.Series, column: dict[str, Any]) -> bytes:
    result = values.to_numpy()
    if not (abs(result) < float("inf")).all():
        raise Broken(f"column '{column['name']}': send nested arrays of numbers, of the shape {column['shape']}")
    return bytes(result.tobytes())


def _check(wrong: pl.Series, column: dict[str, Any], what: str) -> None:
    if wrong.any():
        rows = wrong.arg_true()
        shown = ", ".join(str(row) for row in rows.head(ROWS_SHOWN))
        more = f" and {len(rows) - ROWS_SHOWN} more" if len(rows) > ROWS_SHOWN else ""
        raise Broken(f"column '{column['name']}': {what} in row {shown}{more}")


def _encoded(question: dict[str, Any]) -> bytes:
    """Return predictions as an Arrow IPC stream: what they are, and where they come from, in every row."""
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
