from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from merit.features.transform import ArrayScale, NumberScale, Preprocessing, TimeEncoding, Vocabulary
from merit.scoring.package import CHUNK_ROWS, OnnxGraph

Columns = dict[str, NDArray[Any]]


def _graph(transform: Preprocessing, folder: Path) -> OnnxGraph:
    path = folder / "transform.onnx"
    path.write_bytes(transform.build_graph().SerializeToString())
    return OnnxGraph(path)


def _text(*values: str) -> NDArray[Any]:
    return np.array(values, dtype=object)


def _floats(*values: float) -> NDArray[Any]:
    return np.array(values, dtype=np.float64)


def test_a_known_value_has_its_place_as_code_and_any_other_0(tmp_path: Path) -> None:
    graph = _graph(Preprocessing([Vocabulary("shop", "string", ["a", "b", "ü"])], []), tmp_path)
    codes, numbers = graph.run({"shop": _text("a", "b", "ü", "c", "", "A", "a ", "\0")})
    assert codes.tolist() == [[1], [2], [3], [0], [0], [0], [0], [0]]
    assert codes.dtype == np.int64
    assert numbers.shape == (8, 0)


def test_integer_categories_are_looked_up_as_whole_numbers(tmp_path: Path) -> None:
    graph = _graph(Preprocessing([Vocabulary("kind", "integer", [-3, 0, 7, 10**12])], []), tmp_path)
    codes = graph.run({"kind": _floats(-3, 0, 7, 10**12, 1, np.nan)})[0]
    assert codes.tolist() == [[1], [2], [3], [4], [0], [0]]


def test_whole_numbers_that_float64_does_not_hold_are_no_ones_code(tmp_path: Path) -> None:
    large = 2**53
    graph = _graph(
        Preprocessing([Vocabulary("kind", "integer", [large - 1, large, large + 1, large + 2])], []), tmp_path
    )
    assert graph.run({"kind": _floats(large - 1, large, large + 1, large + 2)})[0].tolist() == [[1], [2], [2], [4]]
    graph = _graph(Preprocessing([Vocabulary("kind", "integer", [large + 1])], []), tmp_path)
    assert graph.run({"kind": _floats(large, large + 1)})[0].tolist() == [[0], [0]]


def test_zero_has_one_code_whatever_its_sign(tmp_path: Path) -> None:
    graph = _graph(Preprocessing([Vocabulary("kind", "integer", [0, 1])], []), tmp_path)
    assert graph.run({"kind": _floats(0.0, -0.0, np.inf, -np.inf)})[0].tolist() == [[1], [1], [0], [0]]


def test_a_category_is_one_node(tmp_path: Path) -> None:
    kinds = [Vocabulary(name, "integer", [1, 2]) for name in "abc"]
    assert [node.op_type for node in Preprocessing(kinds, []).build_graph().graph.node].count("LabelEncoder") == 3
    assert (
        len(Preprocessing(kinds, []).build_graph().graph.node)
        - len(Preprocessing(kinds[:1], []).build_graph().graph.node)
        == 2
    )


def test_a_flag_stands_after_its_number_or_time() -> None:
    fitted = [
        NumberScale("a", 0.0, 1.0, 9.0, has_missing_flag=False),
        NumberScale("b", 0.0, 1.0, 9.0, has_missing_flag=True),
        TimeEncoding("c", has_missing_flag=True),
        TimeEncoding("d", has_missing_flag=False),
        NumberScale("e", 0.0, 1.0, 9.0, has_missing_flag=True),
    ]
    transform = Preprocessing([], fitted)
    assert transform.flags == [2, 9, 17]
    assert transform.width == 18
    assert Preprocessing([], []).flags == []


def test_the_columns_of_flags_are_0_or_1(tmp_path: Path) -> None:
    fitted = [
        NumberScale("b", 0.0, 1.0, 9.0, has_missing_flag=True),
        TimeEncoding("c", has_missing_flag=True),
        NumberScale("e", 5.0, 1.0, 9.0, has_missing_flag=True),
    ]
    transform = Preprocessing([], fitted)
    columns = {"b": _floats(np.nan, 3.25, 7.5), "c": _floats(np.nan, 1e7, 2e9), "e": _floats(np.nan, 3.25, 7.5)}
    numbers = _graph(transform, tmp_path).run(columns)[1]
    assert numbers[:, transform.flags].tolist() == [[1, 1, 1], [0, 0, 0], [0, 0, 0]]
    others = np.delete(numbers, transform.flags, axis=1)
    assert not np.isin(others[1], [0, 1]).any()


def test_a_missing_number_is_the_mean_and_flagged(tmp_path: Path) -> None:
    graph = _graph(Preprocessing([], [NumberScale("x", 10.0, 2.0, 3.0, has_missing_flag=True)]), tmp_path)
    codes, numbers = graph.run({"x": _floats(10, 12, np.nan)})
    assert numbers.tolist() == [[0, 0], [1, 0], [0, 1]]
    assert numbers.dtype == np.float32
    assert codes.shape == (3, 0)


def test_a_missing_number_without_a_flag_is_the_mean(tmp_path: Path) -> None:
    graph = _graph(Preprocessing([], [NumberScale("x", 10.0, 2.0, 3.0, has_missing_flag=False)]), tmp_path)
    assert graph.run({"x": _floats(np.nan, 8)})[1].tolist() == [[0], [-1]]


def test_a_number_is_cut_at_the_clip_on_both_sides(tmp_path: Path) -> None:
    graph = _graph(Preprocessing([], [NumberScale("x", 0.0, 1.0, 3.0, has_missing_flag=False)]), tmp_path)
    found = graph.run({"x": _floats(-np.inf, -4, -3, 2.5, 4, 1e300, np.inf)})[1]
    assert found.tolist() == [[-3], [-3], [-3], [2.5], [3], [3], [3]]


def test_large_numbers_are_centred_before_precision_is_lost(tmp_path: Path) -> None:
    graph = _graph(Preprocessing([], [NumberScale("x", 1e9, 1.0, 10.0, has_missing_flag=False)]), tmp_path)
    assert graph.run({"x": _floats(1e9 + 1, 1e9 + 2)})[1].tolist() == [[1], [2]]


@pytest.mark.parametrize(("kind", "unseen"), [("string", _text("", "\0", "a")), ("integer", _floats(0, 1, np.nan))])
def test_an_empty_vocabulary_answers_0_to_everything(tmp_path: Path, kind: str, unseen: NDArray[Any]) -> None:
    graph = _graph(Preprocessing([Vocabulary("c", kind, [])], []), tmp_path)
    assert graph.run({"c": unseen})[0].tolist() == [[0], [0], [0]]


@pytest.mark.parametrize(
    "name", ["a b", "ünï", "select", "codes", "numbers", "axis", "zero", "nothing", "x/mean", "1", "a.b", "'", '"']
)
def test_a_column_can_have_almost_any_name(tmp_path: Path, name: str) -> None:
    graph = _graph(
        Preprocessing(
            [Vocabulary(f"{name}2", "integer", [5])], [NumberScale(name, 1.0, 1.0, 9.0, has_missing_flag=True)]
        ),
        tmp_path,
    )
    assert graph.inputs == {f"{name}2": "number", name: "number"}
    codes, numbers = graph.run({f"{name}2": _floats(5, np.nan), name: _floats(3, np.nan)})
    assert codes.tolist() == [[1], [0]]
    assert numbers.tolist() == [[2, 0], [0, 1]]


def test_the_inputs_are_the_columns_with_their_kinds(tmp_path: Path, tiny_transform: Preprocessing) -> None:
    graph = _graph(tiny_transform, tmp_path)
    assert graph.inputs == {"shop": "string", "kind": "number", "size": "number", "weight": "number"}
    assert tiny_transform.cardinalities == [4, 4]
    assert tiny_transform.width == 3


def test_the_same_transform_is_the_same_bytes(tiny_transform: Preprocessing) -> None:
    first, again = (tiny_transform.build_graph().SerializeToString(deterministic=True) for _ in range(2))
    assert first == again


def test_the_graph_is_a_valid_model(tiny_transform: Preprocessing) -> None:
    onnx.checker.check_model(tiny_transform.build_graph(), full_check=True)


def test_rows_are_the_same_whether_scored_at_once_or_in_chunks(tmp_path: Path, tiny_transform: Preprocessing) -> None:
    graph = _graph(tiny_transform, tmp_path)
    rows = CHUNK_ROWS + 3
    draw = np.random.default_rng(0)
    columns: Columns = {
        "shop": draw.choice(["north", "x"], rows).astype(object),
        "kind": draw.integers(0, 5, rows).astype(np.float64),
        "size": draw.normal(50, 10, rows),
        "weight": draw.normal(0, 1, rows),
    }
    whole = graph.run(columns)
    last = graph.run({name: values[CHUNK_ROWS:] for name, values in columns.items()})
    assert whole[0].shape == (rows, 2)
    assert np.array_equal(whole[0][CHUNK_ROWS:], last[0])
    assert np.array_equal(whole[1][CHUNK_ROWS:], last[1])


def _plain(transform: Preprocessing, columns: Columns) -> tuple[NDArray[Any], NDArray[Any]]:
    """Do in numpy what the graph must do."""
    rows = len(next(iter(columns.values())))
    codes = np.zeros((rows, len(transform.categories)), dtype=np.int64)
    for place, category in enumerate(transform.categories):
        for row, value in enumerate(columns[category.column]):
            if value in category.values:
                codes[row, place] = category.values.index(value) + 1
    numbers = []
    for number in transform.numbers:
        values = columns[number.column]
        scaled = np.clip((values - number.mean) / number.deviation, -number.clip, number.clip)
        numbers.append(np.where(np.isnan(values), 0.0, scaled))
        if number.has_missing_flag:
            numbers.append(np.isnan(values).astype(np.float64))
    return codes, np.array(numbers, dtype=np.float32).T.reshape(rows, -1)


words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4)
wholes = st.integers(-(2**40), 2**40)
reals = st.floats(-1e6, 1e6)


@st.composite
def _cases(draw: st.DrawFn) -> tuple[Preprocessing, Columns]:
    rows = draw(st.integers(1, 5))
    known_words = draw(st.lists(words.filter(bool), unique=True, max_size=4))
    known_wholes = draw(st.lists(wholes, unique=True, max_size=4))
    categories = [Vocabulary("w", "string", sorted(known_words)), Vocabulary("i", "integer", sorted(known_wholes))]
    numbers = [
        NumberScale(
            name,
            draw(reals),
            draw(st.floats(0.01, 1e4)),
            draw(st.floats(0.1, 10)),
            has_missing_flag=draw(st.booleans()),
        )
        for name in ("x", "y")
    ]

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=rows, max_size=rows))

    words_or_known = st.one_of(words, st.sampled_from(known_words)) if known_words else words
    wholes_or_known = st.one_of(wholes, st.sampled_from(known_wholes)) if known_wholes else wholes
    columns = {
        "w": np.array(column(words_or_known), dtype=object),
        "i": np.array(column(wholes_or_known | st.just(np.nan)), dtype=np.float64),
        "x": np.array(column(reals | st.just(np.nan)), dtype=np.float64),
        "y": np.array(column(reals | st.just(np.nan)), dtype=np.float64),
    }
    return Preprocessing(categories, numbers), columns


@settings(max_examples=60, deadline=None)
@given(_cases())
def test_the_graph_does_what_plain_numpy_does(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[Preprocessing, Columns]
) -> None:
    transform, columns = case
    codes, numbers = _graph(transform, tmp_path_factory.mktemp("graph")).run(columns)
    expected_codes, expected_numbers = _plain(transform, columns)
    assert np.array_equal(codes, expected_codes)
    np.testing.assert_allclose(numbers, expected_numbers, rtol=1e-6, atol=1e-6)


def _seconds(*clocks: str) -> NDArray[Any]:
    return np.array([np.datetime64(clock).astype("datetime64[s]").astype(float) for clock in clocks])


def test_a_time_is_a_place_on_the_circles_of_day_week_and_year(tmp_path: Path) -> None:
    graph = _graph(Preprocessing([], [TimeEncoding("at", has_missing_flag=False)]), tmp_path)
    monday_noon, monday_later = "2024-01-01T12:00:00", "2030-12-30T12:00:00"
    found = graph.run({"at": _seconds(monday_noon, monday_later, "1969-12-31T18:00:00", "2024-07-01T12:00:00")})[1]
    assert found.shape == (4, 6)
    np.testing.assert_allclose(found[0, :2], [0, -1], atol=1e-6)  # noon is half way round the day
    np.testing.assert_allclose(found[:2, 2:4], [[np.sin(np.pi / 7), np.cos(np.pi / 7)]] * 2, atol=1e-5)
    np.testing.assert_allclose(found[2, :2], [-1, 0], atol=1e-6)  # before the epoch too
    np.testing.assert_allclose(found[0, 4:], [0, 1], atol=0.02)  # the year begins
    np.testing.assert_allclose(found[3, 4:], [0, -1], atol=0.02)  # and is half over


def test_a_missing_time_is_nowhere_and_flagged(tmp_path: Path) -> None:
    graph = _graph(Preprocessing([], [TimeEncoding("at", has_missing_flag=True)]), tmp_path)
    assert graph.run({"at": _floats(np.nan)})[1].tolist() == [[0, 0, 0, 0, 0, 0, 1]]
    assert graph.run({"at": _floats(0.0)})[1][0, -1] == 0


def test_arrays_are_scaled_and_keep_their_shape_beside_other_columns(tmp_path: Path) -> None:
    transform = Preprocessing(
        [Vocabulary("shop", "string", ["a"])],
        [],
        [ArrayScale("image", [2, 3], 8.0, 4.0), ArrayScale("other", [2], 0.0, 1.0)],
    )
    graph = _graph(transform, tmp_path)
    image = np.arange(24, dtype=np.float64).reshape(4, 2, 3)
    columns = {"shop": _text("a", "b", "a", ""), "image": image, "other": np.ones((4, 2))}
    codes, numbers, first, second = graph.run(columns)
    np.testing.assert_allclose(first, (image - 8) / 4)
    assert first.dtype == np.float32
    assert (codes.tolist(), numbers.shape, second.shape) == ([[1], [0], [1], [0]], (4, 0), (4, 2))


def test_arrays_alone_are_enough(tmp_path: Path) -> None:
    graph = _graph(Preprocessing([], [], [ArrayScale("image", [2, 2], 0.0, 1.0)]), tmp_path)
    codes, numbers, image = graph.run({"image": np.zeros((5, 2, 2))})
    assert (codes.shape, numbers.shape, image.shape) == ((5, 0), (5, 0), (5, 2, 2))
