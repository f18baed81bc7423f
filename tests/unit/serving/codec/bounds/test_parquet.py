import io
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from merit.serving.codec.bounds import parquet

MOST = 100_000
LONG = "x" * 10_000


def _file(columns: dict[str, Any], **how: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, **{"compression": "zstd", "store_schema": False, **how})
    return file.getvalue()


def _refusal(body: bytes) -> str:
    with pytest.raises(ValueError, match=r"metadata|footer|expands") as caught:
        parquet.check_pages(body, MOST)
    return str(caught.value)


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "brotli", "lz4", "zstd"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_pages_that_expand_to_more_than_is_allowed_are_refused(compression: str, version: str) -> None:
    how = {"compression": compression, "data_page_version": version, "use_dictionary": False}
    few, many = (_file({"x": [LONG] * rows}, **how) for rows in (9, 11))
    assert parquet.check_pages(few, MOST) == few
    assert _refusal(many) == "it expands to more than 100000 bytes; send fewer rows"


def test_values_count_also_where_their_pages_are_tiny() -> None:
    lists = pa.ListArray.from_arrays(pa.array([0, 20_000], pa.int32()), pa.array(np.zeros(20_000)))
    body = _file({"x": lists})
    assert len(body) < 1_000
    assert _refusal(body).startswith("it expands to more than")


def test_pages_of_all_columns_and_row_groups_count_together() -> None:
    assert parquet.check_pages(_file({"x": [LONG] * 9}, use_dictionary=False), MOST)
    assert _refusal(_file({name: [LONG] * 6 for name in "xy"}, use_dictionary=False))
    assert _refusal(_file({"x": [1.0] * 101}, row_group_size=1))  # of which each counts a page at least


def test_a_dictionary_counts_once_for_the_texts_that_repeat_share_it() -> None:
    assert parquet.check_pages(_file({"x": [LONG] * 1_000}), MOST)


def test_texts_that_repeat_the_one_before_are_bounded_by_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    body = _file({"x": [LONG] * 50}, use_dictionary=False, column_encoding={"x": "DELTA_BYTE_ARRAY"})
    assert parquet.check_pages(body, MOST) == body
    monkeypatch.setattr(parquet, "MAX_DELTA_BYTES", 400_000)
    assert _refusal(body) == ("it expands to more than 400000 bytes; write texts as PLAIN and not as DELTA_BYTE_ARRAY")


def test_dictionaries_are_read_as_texts_whatever_arrow_says() -> None:
    body = _file({"x": pa.array(["a", "b", "a"]).dictionary_encode()}, store_schema=True)
    assert pl.read_parquet(io.BytesIO(body))["x"].dtype == pl.Categorical
    found = pl.read_parquet(io.BytesIO(parquet.check_pages(body, MOST)))["x"]
    assert (found.dtype, found.to_list()) == (pl.String, ["a", "b", "a"])


@pytest.mark.parametrize(
    "body", [b"", b"PAR1", b"PAR1PAR1", b"x" * 100, b"PAR1" + b"\xff\xff\xff\x7fPAR1", b"PAR1\0\0\1\0\0\0PAR1"]
)
def test_what_is_no_parquet_is_refused(body: bytes) -> None:
    assert _refusal(body) in ("it has no footer of Parquet", "its metadata is broken")


def test_a_footer_that_is_too_long_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "MAX_FOOTER_BYTES", 100)
    assert _refusal(_file({"x": [1]})).endswith("at most 100 are read; write fewer row groups")


@pytest.mark.parametrize("nested", [b"\x1c" * 100, b"\x19" + b"\x19" * 100, b"\x19\xfc\xff\xff\xff\xff\x0f"])
def test_metadata_that_is_nested_or_counts_without_end_is_refused(nested: bytes) -> None:
    footer = nested + bytes(100)
    assert _refusal(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1") == "its metadata is broken"


def test_values_of_every_type_are_passed_over_by_their_own_length() -> None:
    types = {"byte": b"\x13\xff", "float": b"\x17" + bytes(8), "text": b"\x18\x02ab", "true": b"\x11", "false": b"\x12",
             "number": b"\x15\x03"}  # fmt: skip
    fields = b"".join(types.values()) + b"\x06\x28\x04"  # a field by its own number, 20, of two
    assert parquet._read_struct(fields + b"\0", 0) == (
        {1: None, 2: None, 3: None, 4: True, 5: False, 6: -2, 20: 2},
        len(fields) + 1,
    )


@pytest.mark.parametrize("nested", [lambda depth: b"\x19" * depth + b"\0", lambda depth: b"\x1c" * depth + bytes(40)])
def test_metadata_is_read_to_a_depth_of_32(nested: Callable[[int], bytes]) -> None:
    read = parquet._read_list if nested(1)[:1] == b"\x19" else parquet._read_struct
    assert read(nested(32), 0, 0)
    with pytest.raises(ValueError, match="its metadata is broken"):
        read(nested(33), 0, 0)


def test_a_list_has_no_more_values_than_the_metadata_has_bytes() -> None:
    assert parquet._read_list(b"\xf1\x02", 0, 0) == ([None, None], 4)
    with pytest.raises(ValueError, match="its metadata is broken"):
        parquet._read_list(b"\xf1\x03", 0, 0)


def test_broken_bytes_are_taken_or_refused() -> None:
    draw = random.Random(0)
    good = _file({"x": ["a", "b"] * 20, "y": range(40), "z": [[1.0, 2.0]] * 40})
    for _ in range(500):
        spoiled = bytearray(good)
        for _ in range(draw.choice([1, 2, 8])):
            spoiled[draw.randrange(4, len(spoiled) - 8)] = draw.randrange(256)
        try:
            parquet.check_pages(bytes(spoiled), MOST)
        except ValueError as error:
            assert str(error)
