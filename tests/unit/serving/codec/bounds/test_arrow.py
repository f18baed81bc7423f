import io
import random
from collections.abc import Callable
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from pyarrow import ipc

from merit.serving.codec.bounds import arrow

MOST = 100_000
LONG = "x" * 10_000


def _written(table: Any, make: Callable[..., Any], times: int, compression: str | None) -> bytes:
    file = io.BytesIO()
    with make(file, table.schema, options=ipc.IpcWriteOptions(compression=compression)) as writer:
        for _ in range(times):
            writer.write_table(table)
    return file.getvalue()


def _stream(columns: dict[str, Any], times: int = 1, compression: str | None = "zstd") -> bytes:
    return _written(pa.table(columns), ipc.new_stream, times, compression)


def _file(columns: dict[str, Any], times: int = 1, compression: str | None = "zstd") -> bytes:
    return _written(pa.table(columns), ipc.new_file, times, compression)


def _rows(body: bytes) -> int:
    return arrow.measure_file(body, MOST) if body.startswith(arrow.MAGIC) else arrow.measure_stream(body, MOST)[0]


def _refusal(body: bytes) -> str:
    with pytest.raises(ValueError, match=r"metadata|footer|expands") as caught:
        _rows(body)
    return str(caught.value)


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
@pytest.mark.parametrize("make", [_stream, _file])
def test_buffers_that_expand_to_more_than_is_allowed_are_refused(
    make: Callable[..., bytes], compression: str | None
) -> None:
    assert _rows(make({"x": [LONG] * 9}, 1, compression)) == 9
    assert _refusal(make({"x": [LONG] * 11}, 1, compression)) == "it expands to more than 100000 bytes; send fewer rows"
    assert _refusal(make({"x": [LONG] * 6}, 2, compression)).startswith("it expands")


@pytest.mark.parametrize("make", [_stream, _file])
def test_a_dictionary_counts_as_what_it_is(make: Callable[..., bytes]) -> None:
    many = pa.DictionaryArray.from_arrays([0] * 50, ["x"])
    assert _rows(make({"x": many})) == 50
    assert _refusal(make({"x": pa.DictionaryArray.from_arrays([0], ["x" * MOST])})).startswith("it expands")


@pytest.mark.parametrize("make", [_stream, _file])
def test_messages_without_rows_count_too(make: Callable[..., bytes]) -> None:
    assert _rows(make({"x": [1]}, 50)) == 50
    assert _refusal(make({"x": [1]}, 101)).startswith("it expands")


def test_the_schema_of_a_stream_is_a_stream_without_rows() -> None:
    rows, schema = arrow.measure_stream(_stream({"x": ["a"], "y": [1.5]}), MOST)
    table = pl.read_ipc_stream(io.BytesIO(schema))
    assert (rows, table.height, dict(table.schema)) == (1, 0, {"x": pl.String, "y": pl.Float64})


@pytest.mark.parametrize("body", [b"abcd", b"\xff\xff\xff\xff", b"\xff\xff\xff\xff\xff\xff\xff\x7f", b"\xff" * 99])
def test_what_is_no_stream_is_refused(body: bytes) -> None:
    assert _refusal(body) == "its metadata is broken"


@pytest.mark.parametrize("body", [b"", b"ARROW1", b"ARROW1\0\0" + b"\xff\xff\xff\x7fARROW1"])
def test_what_is_no_file_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="no footer of Arrow"):
        arrow.measure_file(body, MOST)


@pytest.mark.parametrize("make", [_stream, _file])
def test_broken_bytes_are_taken_or_refused(make: Callable[..., bytes]) -> None:
    draw = random.Random(0)
    good = make({"x": pa.array(["a", "b"] * 20).dictionary_encode(), "y": range(40)}, 2)
    for _ in range(500):
        spoiled = bytearray(good)
        for _ in range(draw.choice([1, 2, 8])):
            spoiled[draw.randrange(8, len(spoiled) - 10)] = draw.randrange(256)
        try:
            _rows(bytes(spoiled))
        except ValueError as error:
            assert str(error)
