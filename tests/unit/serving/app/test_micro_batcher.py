import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from merit.scoring.package import Columns, OnnxGraph, Package
from merit.serving.app.column_buffer import MAX_BATCH_ROWS
from merit.serving.app.micro_batcher import MicroBatcher, is_batch_invariant
from merit.serving.app.row_decoder import RowDecoder
from merit.serving.app.row_values import BadRows
from merit.serving.app.served_model import ServedModel

GOOD = {"shop": "north", "kind": 2, "size": 50.5, "weight": 0.25}
SHAPES: dict[str, list[int]] = {"image": [1, 2], "at": []}
PICTURE = {"image": [[1, 2]], "at": "2024-01-31T15:30:00"}


class Model:
    """The tiny package's model; it remembers how many rows it was given at once, and may fail at a value."""

    def __init__(self, package: Package) -> None:
        self.heights: list[int] = []
        self.fails_at: float | None = None
        self._predict = package.predict

    def __call__(self, columns: Columns) -> NDArray[np.float32]:
        """Score."""
        self.heights.append(len(next(iter(columns.values()))))
        if self.fails_at is not None and self.fails_at in columns["size"]:
            raise RuntimeError("of this row")
        return self._predict(columns)


@pytest.fixture
def package(workdir: Path, make_package: Callable[..., Path]) -> Package:
    return Package.load(make_package(Path("model")))


@pytest.fixture
def model(package: Package) -> Model:
    return Model(package)


@pytest.fixture
def together(package: Package, model: Model, monkeypatch: pytest.MonkeyPatch) -> MicroBatcher:
    answers = ServedModel(package, "4", 200)
    monkeypatch.setattr(answers, "score", model)
    made = MicroBatcher(answers)
    model.heights.clear()  # of what was tried at the start
    return made


def _all(together: MicroBatcher, rows: list[Any]) -> list[Any]:
    """Ask for all at once, each by itself."""

    async def asked() -> list[Any]:
        bodies = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
        return await asyncio.gather(*map(together.score, bodies), return_exceptions=True)

    return asyncio.run(asked())


def _alone(package: Package, row: Any) -> bytes:
    return package.predict(RowDecoder(package, 1).decode_columns(json.dumps(row).encode())).tobytes()


def _rows(count: int) -> list[dict[str, Any]]:
    shops = ["north", "south", "ünï", ""]
    return [
        {"shop": shops[n % 4], "kind": n % 7, "size": None if n % 5 == 0 else n * 1.5, "weight": 1 / (n + 1)}
        for n in range(count)
    ]


def _lists(rows: list[Any], *sizes: int) -> list[list[Any]]:
    """Cut rows into lists of these sizes."""
    starts = np.cumsum((0, *sizes))
    assert starts[-1] == len(rows)
    return [rows[start : start + size] for start, size in zip(starts, sizes, strict=False)]


@pytest.mark.parametrize("count", [1, 2, 4, 5, 63, MAX_BATCH_ROWS, MAX_BATCH_ROWS + 1, 3 * MAX_BATCH_ROWS])
def test_rows_that_come_together_are_answered_as_each_alone(
    together: MicroBatcher, package: Package, model: Model, count: int
) -> None:
    rows = _rows(count)
    assert [each.tobytes() for each in _all(together, rows)] == [_alone(package, row) for row in rows]
    assert len(model.heights) == -(-count // MAX_BATCH_ROWS)


@pytest.mark.parametrize(
    ("sizes", "runs"),
    [
        ((1,), [4]),
        ((1, 1, 1, 1), [4]),
        ((2, 3, 4), [12]),
        ((MAX_BATCH_ROWS,), [MAX_BATCH_ROWS]),
        ((60, 5), [60, 8]),  # what there is no more room for waits for the next run
        ((MAX_BATCH_ROWS + 1, 2), [MAX_BATCH_ROWS + 1, 4]),  # what no block holds is scored by itself
    ],
)
def test_lists_that_come_together_are_answered_as_each_row_alone(
    together: MicroBatcher, package: Package, model: Model, sizes: tuple[int, ...], runs: list[int]
) -> None:
    lists = _lists(_rows(sum(sizes)), *sizes)
    found = _all(together, lists)
    assert [each.tobytes() for each in found] == [b"".join(_alone(package, row) for row in rows) for rows in lists]
    assert model.heights == runs


def test_a_row_by_itself_and_a_list_share_a_run(together: MicroBatcher, package: Package, model: Model) -> None:
    first, *others = _rows(4)
    one, many = _all(together, [first, others])
    assert (one.tobytes(), many.tobytes()) == (
        _alone(package, first),
        b"".join(_alone(package, row) for row in others),
    )
    assert model.heights == [4]


def test_times_and_arrays_go_the_same_way(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = _pictures()
    rows = [{"at": f"1970-01-01T00:00:0{n}", "image": [[n, 0.5]]} for n in range(5)] + [{"image": [[1, 2]]}]
    wrong = [{"at": "yesterday", "image": [[1, 2]]}, {"image": [1, 2]}, [rows[0], {"image": [[1, 2], [3, 4]]}]]
    answers = ServedModel(package, "4", 3)
    together, model = MicroBatcher(answers), Model(package)
    monkeypatch.setattr(answers, "score", model)
    *found, clock, flat, tall = _all(together, [*rows[:3], rows[3:5], rows[5], *wrong])
    assert np.concatenate(found).tolist() == pytest.approx([0.5, 2.5, 4.5, 6.5, 8.5, 3.0])
    assert model.heights == [8]
    assert [str(each) for each in (clock, flat)] == [
        "column 'at': found 'yesterday'; send a time as 2024-01-31T15:30:00",
        "column 'image': send nested arrays of numbers, of the shape [1, 2]",
    ]
    assert str(tall).startswith("row 1: column 'image'")


def _pictures() -> Package:
    """Return a package of a time and an array; a prediction is the sum of all its numbers, missing ones left out."""
    double, float_ = TensorProto.DOUBLE, TensorProto.FLOAT
    nodes = [
        helper.make_node("IsNaN", ["at"], ["lacks"]),
        helper.make_node("Where", ["lacks", "zero", "at"], ["seconds"]),
        helper.make_node("ReduceSum", ["image", "axes"], ["inside"], keepdims=0),
        helper.make_node("Add", ["seconds", "inside"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["prediction"], to=float_),
    ]
    graph = helper.make_graph(
        nodes,
        "pictures",
        [helper.make_tensor_value_info(name, double, ["rows", *shape]) for name, shape in SHAPES.items()],
        [helper.make_tensor_value_info("prediction", float_, ["rows"])],
        [numpy_helper.from_array(np.zeros(1), "zero"), numpy_helper.from_array(np.array([1, 2]), "axes")],
    )
    Path("graph.onnx").write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    )
    inputs = [
        {"name": "image", "type": "array", "shape": [1, 2], "nullable": False, "description": None},
        {"name": "at", "type": "datetime", "nullable": True, "description": None},
    ]
    signature = {"inputs": inputs, "outputs": [{"name": "prediction", "task": "regression"}], "example": PICTURE}
    return Package(OnnxGraph(Path("graph.onnx")), signature, {"model": "pictures", "commit": "c"}, "")


def test_what_was_put_before_does_not_change_an_answer(together: MicroBatcher, package: Package) -> None:
    first, second = _rows(7), _rows(9)[7:]
    _all(together, first)
    assert [each.tobytes() for each in _all(together, second)] == [_alone(package, row) for row in second]


def test_rows_that_come_one_after_the_other_are_scored_one_by_one(together: MicroBatcher, model: Model) -> None:
    for row in _rows(3):
        _all(together, [row])
    assert model.heights == [4, 4, 4]


def test_a_row_that_is_wrong_is_refused_and_the_others_are_answered(together: MicroBatcher, package: Package) -> None:
    wrong = [{**GOOD, "kind": "x"}, b"{", {**GOOD, "size": 10**400}, {"shop": "north"}]
    found = _all(together, [GOOD, wrong[0], wrong[1], GOOD, wrong[2], wrong[3], {**GOOD, "kind": 2.0}])
    assert [type(each) for each in found] == [np.ndarray, BadRows, BadRows, np.ndarray, BadRows, BadRows, np.ndarray]
    assert {found[place].tobytes() for place in (0, 3, 6)} == {_alone(package, GOOD)}


def test_a_row_that_the_model_fails_on_fails_alone(together: MicroBatcher, package: Package, model: Model) -> None:
    model.fails_at = 13.0
    found = _all(together, [GOOD, {**GOOD, "size": 13.0}, GOOD])
    assert isinstance(found[1], RuntimeError)
    assert {found[0].tobytes(), found[2].tobytes()} == {_alone(package, GOOD)}


def test_a_request_that_is_given_up_leaves_the_others(together: MicroBatcher, package: Package) -> None:
    async def asked() -> NDArray[np.float32]:
        body = json.dumps(GOOD).encode()
        left, stays = asyncio.ensure_future(together.score(body)), asyncio.ensure_future(together.score(body))
        await asyncio.sleep(0)  # both have put their row
        left.cancel()
        return await stays

    assert asyncio.run(asked()).tobytes() == _alone(package, GOOD)


def test_where_the_place_of_a_row_shows_in_its_answer_each_is_scored_by_itself(
    package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    def placed(columns: Columns) -> NDArray[np.float32]:
        heights.append(len(columns["size"]))
        found = package.predict(columns)
        found[3::4] = np.nextafter(found[3::4], np.float32(2))
        return found

    heights: list[int] = []
    answers = ServedModel(package, "4", 3)
    assert is_batch_invariant(answers)
    package.signature["example"]["color"] = "red"  # an example that the model doesn't take says nothing
    assert not is_batch_invariant(answers)
    del package.signature["example"]["color"]
    monkeypatch.setattr(answers, "score", placed)
    assert not is_batch_invariant(answers)
    together = MicroBatcher(answers)
    heights.clear()
    assert [each.tobytes() for each in _all(together, _rows(5))] == [_alone(package, row) for row in _rows(5)]
    assert heights == [1] * 5
