from typing import Any

import polars as pl
import pytest

from merit.reading.inference import infer_column, infer_types


@pytest.mark.parametrize(
    ("cells", "dtype"),
    [
        (["1", "-2", None], pl.Int64),
        (["1", "2.5", "1e5", "nan"], pl.Float64),
        (["true", "False", None], pl.Boolean),
        (["2024-01-31", None], pl.Date),
        (["2024-01-31", "2024-01-31T12:00"], pl.Datetime("us")),
        (["2024-01-31T12:00:00+01:00"], pl.Datetime("us")),
        (["010", "020"], pl.String),
        (["1", "07.5"], pl.String),
        (["0", "0.5", "-0.5"], pl.Float64),
        (["9007199254740993", "1"], pl.String),
        (["1", "x"], pl.String),
        (["true", "0"], pl.String),
        (["01.02.2024"], pl.String),
        ([None, None], pl.String),
        (["nan", None], pl.String),
    ],
)
def test_the_type_of_a_column_that_nobody_declared_is_what_all_cells_say(cells: list[Any], dtype: Any) -> None:
    assert infer_column(pl.Series("x", cells, dtype=pl.String)).dtype == dtype


def test_one_cell_far_down_makes_a_column_text() -> None:
    assert infer_column(pl.Series(["1"] * 20_000 + ["x"])).dtype == pl.String
    assert infer_column(pl.Series([None] * 20_000 + ["1.5"])).dtype == pl.Float64


def test_text_of_a_source_that_knows_types_can_only_be_times() -> None:
    table = pl.DataFrame({"a": ["1", "2"], "day": ["2024-01-31", None], "n": [1, 2]})
    assert infer_types(table, is_text=False).schema == {"a": pl.String, "day": pl.Date, "n": pl.Int64}


def test_what_the_source_says_of_all_columns_holds() -> None:
    table = pl.DataFrame({"a": ["1,5", "NA"], "b": ["x", "NA"]})
    found = infer_types(table, is_text=True, defaults={"decimal": ",", "null_values": ["NA"]})
    assert found.rows() == [(1.5, "x"), (None, None)]
