import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from merit.features.transform import ArrayScale, Preprocessing, TimeEncoding
from merit.scoring.package import OnnxGraph, Package
from merit.serving.app.openapi import build_body_schema
from merit.serving.app.row_decoder import RowDecoder
from merit.serving.app.row_errors import ProblemFinder
from merit.serving.app.row_values import BadRows

GOOD = {"shop": "north", "kind": 2, "size": 50.5, "weight": 0.25}


@pytest.fixture
def package(workdir: Path, make_package: Callable[..., Path]) -> Package:
    """The tiny package: shop, kind and weight are required, size may be missing."""
    return Package.load(make_package(Path("model")))


@pytest.fixture
def rows(package: Package) -> RowDecoder:
    """Rows of the tiny package, at most 3 at once."""
    return RowDecoder(package, 3)


def _body(value: Any) -> bytes:
    return json.dumps(value).encode()


def _refusal(rows: RowDecoder, body: bytes) -> str:
    with pytest.raises(BadRows) as caught:
        rows.decode_columns(body)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_one_row_is_an_object_and_many_are_an_array(rows: RowDecoder) -> None:
    one, many = rows.decode_columns(_body(GOOD)), rows.decode_columns(_body([GOOD, {**GOOD, "shop": "x"}]))
    assert {name: values.tolist() for name, values in one.items()} == {name: [value] for name, value in GOOD.items()}
    assert many["shop"].tolist() == ["north", "x"]
    assert {name: values.dtype for name, values in many.items()} == {
        "shop": np.dtype(object),
        "kind": np.dtype(np.float64),
        "size": np.dtype(np.float64),
        "weight": np.dtype(np.float64),
    }


def test_space_around_the_rows_changes_nothing(rows: RowDecoder) -> None:
    assert rows.decode_columns(b" \r\n\t" + _body([GOOD]) + b"\n")["kind"].tolist() == [2]


def test_the_order_of_the_columns_changes_nothing(rows: RowDecoder) -> None:
    assert rows.decode_columns(_body(dict(reversed(GOOD.items()))))["kind"].tolist() == [2]


@pytest.mark.parametrize("row", [{**GOOD, "size": None}, {k: v for k, v in GOOD.items() if k != "size"}])
def test_a_value_that_may_be_missing_is_nan(rows: RowDecoder, row: dict[str, Any]) -> None:
    assert np.isnan(rows.decode_columns(_body(row))["size"]).all()


def test_a_whole_number_is_a_number(rows: RowDecoder) -> None:
    assert rows.decode_columns(_body({**GOOD, "weight": 1}))["weight"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shpo": "north"}, "unknown column 'shpo'; did you mean 'shop'? columns: shop, kind, size, weight"),
        ({"kind": "2"}, "column 'kind': Expected `int`, got `str`"),
        ({"kind": 2.5}, "column 'kind': Expected `int`, got `float`"),
        ({"kind": None}, "column 'kind': Expected `int`, got `null`"),
        ({"kind": True}, "column 'kind': Expected `int`, got `bool`"),
        ({"shop": 3}, "column 'shop': Expected `str`, got `int`"),
        ({"shop": None}, "column 'shop': Expected `str`, got `null`"),
        ({"size": "many"}, "column 'size': Expected `float | null`, got `str`"),
        ({"weight": [1]}, "column 'weight': Expected `float`, got `array`"),
    ],
)
def test_a_row_that_does_not_fit_is_refused(rows: RowDecoder, change: dict[str, Any], words: str) -> None:
    assert _refusal(rows, _body({**GOOD, **change})) == words
    assert _refusal(rows, _body([GOOD, {**GOOD, **change}])) == f"row 1: {words}"


def test_a_missing_column_is_refused_with_those_that_are_required(rows: RowDecoder) -> None:
    lacking = {name: value for name, value in GOOD.items() if name != "kind"}
    assert _refusal(rows, _body(lacking)) == "the column 'kind' is missing; required: shop, kind, weight"
    assert _refusal(rows, _body([GOOD, lacking])).startswith("row 1: the column 'kind' is missing")


@pytest.mark.parametrize(
    "body", [b"", b" ", b"{", b"[", b'{"shop":', b"shop", b"\xff\xfe", b'{"shop": "\xff"}', b"NaN"]
)
def test_what_is_not_json_is_refused(rows: RowDecoder, body: bytes) -> None:
    assert _refusal(rows, body).startswith("not JSON (")
    assert "send one row as an object, or many as an array of objects" in _refusal(rows, body)


@pytest.mark.parametrize("body", [b"3", b'"shop"', b"null", b"true", b"[3]", b"[[]]"])
def test_json_that_is_no_row_is_refused(rows: RowDecoder, body: bytes) -> None:
    assert "send one row as an object, or many as an array" in _refusal(rows, body)


@pytest.mark.parametrize("word", [b"NaN", b"Infinity", b"1e999", b"-1e999"])
def test_a_number_that_json_does_not_have_is_refused(rows: RowDecoder, word: bytes) -> None:
    body = json.dumps({**GOOD, "size": "?"}).encode().replace(b'"?"', word)
    refusal = _refusal(rows, body)
    assert refusal.startswith("not JSON (") if word.isalpha() else "'size'" in refusal


@pytest.mark.parametrize("column", ["kind", "weight"])
def test_a_number_too_large_for_any_type_is_refused(rows: RowDecoder, column: str) -> None:
    body = json.dumps({**GOOD, column: "?"}).replace('"?"', "1" + "0" * 400).encode()
    assert column in _refusal(rows, body)


def test_an_empty_array_is_refused(rows: RowDecoder) -> None:
    assert _refusal(rows, b"[]") == "the array holds no row; send at least one"


def test_more_rows_than_are_taken_are_refused(rows: RowDecoder) -> None:
    assert len(rows.decode_columns(_body([GOOD] * 3))["shop"]) == 3
    braces = {**GOOD, "shop": "{{{{"}  # each may be a row, before they are counted
    assert len(rows.decode_columns(_body([braces] * 3))["shop"]) == 3
    assert _refusal(rows, _body([GOOD] * 4)) == "found 4 rows; at most 3 are taken in one request (serve.max_rows)"


def test_any_text_reaches_the_graph(rows: RowDecoder, package: Package) -> None:
    for text in ("", "ünï", "\0", "😀", "a" * 10_000):
        assert package.predict(rows.decode_columns(_body({**GOOD, "shop": text}))).shape == (1,)


def test_half_a_character_is_answered_or_refused(rows: RowDecoder, package: Package) -> None:
    body = json.dumps(GOOD).replace("north", "\\ud800").encode()
    try:
        columns = rows.decode_columns(body)
    except BadRows:
        return
    assert package.predict(columns).shape == (1,)


def test_columns_can_have_names_that_are_no_identifiers(workdir: Path, make_package: Callable[..., Path]) -> None:
    from merit.features.transform import NumberScale, Preprocessing

    names = ["a b", "ünï", "select", "class", "c0"]
    transform = Preprocessing([], [NumberScale(name, 0.0, 1.0, 9.0, has_missing_flag=False) for name in names])
    rows = RowDecoder(Package.load(make_package(Path("model"), transform=transform)), 1)
    found = rows.decode_columns(_body({name: place for place, name in enumerate(names)}))
    assert {name: values.tolist() for name, values in found.items()} == {name: [i] for i, name in enumerate(names)}
    assert _refusal(rows, _body(dict.fromkeys(names[1:], 1))).startswith("the column 'a b' is missing")


def test_the_documented_form_is_the_one_that_is_taken(package: Package) -> None:
    one, many = build_body_schema(package)["anyOf"]
    assert one["required"] == ["shop", "kind", "weight"]
    assert one["additionalProperties"] is False
    assert one["properties"]["size"] == {"anyOf": [{"type": "number"}, {"type": "null"}]}
    assert one["properties"]["kind"] == {"type": "integer", "minimum": -(2**53), "maximum": 2**53}
    assert many == {"type": "array", "items": one, "minItems": 1}


@pytest.fixture
def pictures(workdir: Path) -> RowDecoder:
    """Rows of a package that takes an image and a time."""
    transform = Preprocessing([], [TimeEncoding("at", has_missing_flag=True)], [ArrayScale("image", [2, 3], 0.0, 1.0)])
    Path("graph.onnx").write_bytes(transform.build_graph().SerializeToString())
    inputs = [
        {"name": "image", "type": "array", "shape": [2, 3], "nullable": False, "description": None},
        {"name": "at", "type": "datetime", "nullable": True, "description": None},
    ]
    signature = {"inputs": inputs, "outputs": [{"name": "prediction", "task": "binary"}], "example": {}}
    return RowDecoder(Package(OnnxGraph(Path("graph.onnx")), signature, {}, ""), 3)


IMAGE = [[1, 2.5, 3], [4, 5, 6]]


def test_arrays_are_nested_and_times_are_clocks(pictures: RowDecoder) -> None:
    found = pictures.decode_columns(_body([{"image": IMAGE, "at": "1970-01-02T00:00:01.5"}, {"image": IMAGE}]))
    assert found["image"].tolist() == [IMAGE, IMAGE]
    assert found["at"][0] == 86401.5
    assert np.isnan(found["at"][1])
    assert pictures.decode_columns(_body({"image": IMAGE, "at": "1970-01-02"}))["at"].tolist() == [86400.0]


@pytest.mark.parametrize(
    "image",
    [
        [],
        [1, 2, 3],
        [[1, 2, 3]],
        [[1, 2], [3, 4]],
        [[1, 2, 3], [4, 5]],
        [[1, 2, "x"], [4, 5, 6]],
        [[1, 2, None], [4, 5, 6]],
        [[1, 2, [3]], [4, 5, 6]],
    ],
)
def test_arrays_of_another_form_are_refused_in_one_line(pictures: RowDecoder, image: Any) -> None:
    assert _refusal(pictures, _body({"image": image})) == (
        "column 'image': send nested arrays of numbers, of the shape [2, 3]"
    )


@pytest.mark.parametrize("image", [None, "x", 3, {}])
def test_what_is_no_array_is_refused(pictures: RowDecoder, image: Any) -> None:
    assert _refusal(pictures, _body({"image": image})).startswith("column 'image': Expected `array`")


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ("yesterday", "found 'yesterday'; send a time as 2024-01-31T15:30:00"),
        ("2024-13-01", "found '2024-13-01'; send a time as"),
        ("20240101", "found '20240101'; send a time as"),
        (5, "Expected `str | null`, got `int`"),
    ],
)
def test_what_is_no_clock_is_refused(pictures: RowDecoder, at: Any, words: str) -> None:
    assert words in _refusal(pictures, _body({"image": IMAGE, "at": at}))
    assert _refusal(pictures, _body([{"image": IMAGE}, {"image": IMAGE, "at": at}])).startswith("row 1: column 'at': ")


@pytest.mark.parametrize("at", ["2024-01-01T01:30:00+01:00", "2024-01-01 00:30Z", "2024-01-01T00:30:00.000"])
def test_a_time_with_an_offset_is_the_one_of_utc(pictures: RowDecoder, at: str) -> None:
    assert pictures.decode_columns(_body({"image": IMAGE, "at": at}))["at"].tolist() == [1704069000.0]


@pytest.mark.parametrize("kind", [2**53 + 1, -(2**53) - 1, 2.0**54])
def test_a_whole_number_that_the_graph_would_take_for_another_is_refused(rows: RowDecoder, kind: float) -> None:
    assert "column 'kind': is beyond 2**53" in _refusal(rows, _body({**GOOD, "kind": kind}))


def test_a_whole_number_may_be_written_with_a_point(rows: RowDecoder) -> None:
    assert rows.decode_columns(_body({**GOOD, "kind": 2.0}))["kind"].tolist() == [2]
    assert rows.decode_columns(_body([{**GOOD, "kind": 2.0}, {**GOOD, "kind": 3}]))["kind"].tolist() == [2, 3]
    assert "column 'kind': Expected `int`, got `float`" in _refusal(
        rows, _body([{**GOOD, "kind": 2.0}, {**GOOD, "kind": 2.5}])
    )


def test_unknown_columns_are_told_in_the_order_of_the_request(rows: RowDecoder) -> None:
    names = [f"more{place}" for place in (7, 3, 9, 1, 5)]
    with pytest.raises(BadRows) as caught:
        rows.decode_columns(_body({**dict.fromkeys(names, 1), **GOOD}))
    assert [each.split("'")[1] for each in caught.value.problems] == names
    assert str(caught.value).startswith("unknown column 'more7'")


def test_every_problem_of_every_row_is_told_up_to_a_bound(package: Package) -> None:
    rows = RowDecoder(package, 500)
    bad = [{"shop": 3, "size": "x", "more": 1}, GOOD, {**GOOD, "weight": None}]
    with pytest.raises(BadRows) as caught:
        rows.decode_columns(_body(bad))
    assert caught.value.problems == [
        "row 0: unknown column 'more'; columns: shop, kind, size, weight",
        "row 0: column 'shop': Expected `str`, got `int`",
        "row 0: column 'size': Expected `float | null`, got `str`",
        "row 0: the columns 'kind', 'weight' are missing; required: shop, kind, weight",
        "row 2: column 'weight': Expected `float`, got `null`",
    ]
    assert str(caught.value) == caught.value.problems[0] + " (and 4 more, in problems)"
    with pytest.raises(BadRows) as caught:
        rows.decode_columns(_body([{}] * 400))
    assert len(caught.value.problems) == 100


@pytest.mark.parametrize("form", [b"%b", b"[%b]", b'{"shop": %b}', b'[{"more": %b}]'])
def test_what_is_nested_too_deeply_is_refused(rows: RowDecoder, form: bytes) -> None:
    assert "nested too deeply" in _refusal(rows, form % (b"[" * 5000 + b"]" * 5000))


def test_the_rows_that_may_be_sent_are_looked_through_even_with_columns_too_many(rows: RowDecoder) -> None:
    body = _body([{**GOOD, **dict.fromkeys("abcd", 0)}, GOOD, {**GOOD, "kind": "x"}])
    assert body.count(b",") == 3 * (len(GOOD) + 1)
    assert _refusal(rows, body).endswith("(and 4 more, in problems)")


def test_an_array_of_more_than_rows_can_have_is_refused_by_its_first_problem(
    rows: RowDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(*_: Any) -> Any:
        pytest.fail("it was looked through")

    monkeypatch.setattr(ProblemFinder, "_find_row_problems", look)
    assert _refusal(rows, _body([1] * 17)) == "Expected `object`, got `int` - at `$[0]`"


def test_the_values_of_a_row_are_its_numbers_then_its_strings(rows: RowDecoder) -> None:
    assert (rows.number_columns, rows.string_columns, rows.array_shapes) == (["kind", "size", "weight"], ["shop"], {})
    assert rows.decode_rows(_body(GOOD)) == [(2, 50.5, 0.25, "north")]
    assert rows.decode_rows(_body([GOOD, {**GOOD, "size": None}]))[1] == (2, None, 0.25, "north")


@pytest.mark.parametrize("form", [b"%b", b"[%b]", b"[{}, %b]"])
def test_what_is_no_text_after_a_wrong_value_is_refused_too(rows: RowDecoder, form: bytes) -> None:
    body = form % b'{"shop": "north", "kind": 2.5, "si\xf3ze": 50.0, "weight": 0.5}'
    assert _refusal(rows, body)


@pytest.fixture
def worded(workdir: Path, make_package: Callable[..., Path]) -> Callable[..., RowDecoder]:
    """Rows of the tiny package whose columns have words for no value."""
    package = Package.load(make_package(Path("model")))

    def make(**columns: dict[str, Any]) -> RowDecoder:
        inputs = [each | columns.get(each["name"], {}) for each in package.inputs]
        return RowDecoder(Package(package.graph, {**package.signature, "inputs": inputs}, {}, ""), 3)

    return make


def test_what_means_no_value_in_training_means_none_in_json(worded: Callable[..., RowDecoder]) -> None:
    rows = worded(shop={"null_values": ["-"], "nullable": True}, size={"null_values": ["-999", "n/a"]})
    for size in (-999, -999.0):
        made = rows.decode_columns(_body([{**GOOD, "shop": " - ", "size": size}, GOOD]))
        assert made["shop"].tolist() == ["", "north"]
        assert np.isnan(made["size"]).tolist() == [True, False]


def test_what_means_no_value_is_refused_where_there_must_be_one(worded: Callable[..., RowDecoder]) -> None:
    rows = worded(shop={"null_values": ["-"]}, weight={"null_values": ["-1"]})
    said = _refusal(rows, _body({**GOOD, "shop": "-", "weight": -1}))
    assert said.startswith("column 'shop': '-' means that there is no value; it must have one (and 1 more")
    told = Package(OnnxGraph(Path("model/model.onnx")), {"inputs": rows._signature_inputs, "example": {}}, {}, "")
    schema = build_body_schema(told)["anyOf"][0]["properties"]
    assert (schema["shop"]["not"], schema["weight"]["not"]) == ({"enum": ["-"]}, {"enum": [-1.0]})


def test_a_time_is_read_in_the_declared_format_and_in_iso(workdir: Path) -> None:
    Path("graph.onnx").write_bytes(
        Preprocessing([], [TimeEncoding("at", has_missing_flag=True)]).build_graph().SerializeToString()
    )
    how = {"format": "%d.%m.%Y", "null_values": ["01.01.1900"]}
    inputs = [{"name": "at", "type": "datetime", "nullable": True, "description": None, **how}]
    rows = RowDecoder(Package(OnnxGraph(Path("graph.onnx")), {"inputs": inputs}, {}, ""), 9)
    cells = ["31.01.2024", "2024-01-31", "2024-01-31T00:00:00Z", "1900-01-01", "01.01.1900", "", None]
    made = rows.decode_columns(_body([{"at": cell} for cell in cells]))["at"]
    assert made[:3].tolist() == [1706659200.0] * 3
    assert np.isnan(made[3:]).all()
    assert "send a time as 2024-01-31T15:30:00, or by the format %d.%m.%Y" in _refusal(rows, _body({"at": "1/31/2024"}))
