"""The fitted preprocessing as an ONNX graph, the single implementation for training and serving.

Training arrays are computed by running this graph, and the package is this graph joined to the network, so
preprocessing in training can't differ from preprocessing in serving.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 20
ML_OPSET = 4
IR_VERSION = 10
CODES, NUMBERS, ARRAY = "/codes", "/numbers", "/array/"
"""The names of the outputs; the output of an array column is ARRAY followed by the column.

Names inside the graph begin with a slash, so that they don't clash with the names of raw columns."""
DAY = 86_400.0
CYCLES = {"day": (DAY, 0.0), "week": (7 * DAY, 3 * DAY), "year": (365.2425 * DAY, 0.0)}
"""The cycles that a time is encoded on: each cycle's length, and the epoch's offset in it (1 January 1970 was a
Thursday), both in seconds."""


@dataclass(frozen=True)
class Category:
    """A fitted vocabulary: the value at index i has code i + 1; code 0 is an unknown or missing value."""

    column: str
    type: str
    values: list[str] | list[int]

    @property
    def cardinality(self) -> int:
        """The number of codes."""
        return len(self.values) + 1


@dataclass(frozen=True)
class Number:
    """A fitted scale: (x - mean) / deviation, clipped to [-clip, clip].

    A missing value becomes 0, the scaled mean; with `flagged`, a second output is 1 for a missing value.
    """

    column: str
    mean: float
    deviation: float
    clip: float
    flagged: bool

    @property
    def width(self) -> int:
        """The number of output columns."""
        return 2 if self.flagged else 1


@dataclass(frozen=True)
class Time:
    """A time encoded as sine and cosine of its position in the day, the week and the year.

    A missing time becomes 0 everywhere; with `flagged`, a last output is 1 where the time is missing.
    """

    column: str
    flagged: bool

    @property
    def width(self) -> int:
        """The number of output columns."""
        return 2 * len(CYCLES) + self.flagged


@dataclass(frozen=True)
class Array:
    """A fitted scale of an array, one for all its elements: (x - mean) / deviation."""

    column: str
    shape: list[int]
    mean: float
    deviation: float


@dataclass(frozen=True)
class Transform:
    """The preprocessing fitted on training rows.

    Categories become codes, numbers and times become columns of numbers, and arrays become scaled arrays.
    """

    categories: list[Category]
    numbers: list[Number | Time]
    arrays: list[Array] = field(default_factory=list)

    @property
    def cardinalities(self) -> list[int]:
        """The number of codes of each category, in order."""
        return [category.cardinality for category in self.categories]

    @property
    def width(self) -> int:
        """The number of columns of the output `numbers`."""
        return sum(number.width for number in self.numbers)

    @property
    def flags(self) -> list[int]:
        """The indices of the flag columns (0 or 1) in the output `numbers`; a flag is the last column of its number."""
        ends = accumulate(number.width for number in self.numbers)
        return [end - 1 for end, number in zip(ends, self.numbers, strict=True) if number.flagged]

    def graph(self) -> onnx.ModelProto:
        """Return the graph, with one input per column; outputs are `codes` int64, `numbers` and arrays float32.

        A string column is a tensor of strings [rows], "" for missing. An array is float64 [rows, *shape]. Every other
        column is float64 [rows], NaN for missing; a time is its wall-clock time in seconds since 1970.
        """
        build = _Builder()
        build.declare(self)
        build.categories(self.categories)
        build.numbers(self.numbers, self.width)
        build.outputs += [build.array(array) for array in self.arrays]
        return build.model()


class _Builder:
    """Collects the nodes of the graph.

    A node costs about half a microsecond whatever it computes, so the number of nodes sets the latency of a one-row
    request. Therefore all numbers are scaled together, as the rows of one matrix, and not column by column.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def declare(self, transform: "Transform") -> None:
        """Declare one input per column."""
        for category in transform.categories:
            kind = TensorProto.STRING if category.type == "string" else TensorProto.DOUBLE
            self.inputs.append(helper.make_tensor_value_info(category.column, kind, ["rows"]))
        for number in transform.numbers:
            self.inputs.append(helper.make_tensor_value_info(number.column, TensorProto.DOUBLE, ["rows"]))
        for array in transform.arrays:
            self.inputs.append(helper.make_tensor_value_info(array.column, TensorProto.DOUBLE, ["rows", *array.shape]))

    def categories(self, fitted: list[Category]) -> None:
        """Add the output `codes`."""
        codes = [self._category(each) for each in fitted]
        self.outputs.append(helper.make_tensor_value_info(CODES, TensorProto.INT64, ["rows", len(codes)]))
        if codes:
            self._named("Transpose", [self._matrix(codes, "coded")], CODES, perm=[1, 0])
        else:
            self._empty(CODES, TensorProto.INT64)

    def numbers(self, fitted: list[Number | Time], width: int) -> None:
        """Add the output `numbers`, with columns in the order of `fitted`."""
        self.outputs.append(helper.make_tensor_value_info(NUMBERS, TensorProto.FLOAT, ["rows", width]))
        scaled = [each for each in fitted if isinstance(each, Number)]
        times = [each for each in fitted if isinstance(each, Time)]
        if not fitted:
            self._empty(NUMBERS, TensorProto.FLOAT)
        elif not times:
            self._scaled(scaled, NUMBERS)
        else:
            first = [self._scaled(scaled, "/scaled")] if scaled else []
            joined = self._named("Concat", [*first, *map(self._time, times)], "/joined", axis=1)
            order = self._constant("order", _order(fitted, [*scaled, *times]))
            self._named("Gather", [joined, order], NUMBERS, axis=1)

    def _scaled(self, fitted: list[Number], output: str) -> str:
        """Scale numbers as the rows of one matrix; in the output, a flag follows its number."""
        columns = self._matrix([each.column for each in fitted], "raw")
        mean, deviation, clip = (
            self._constant(name, np.array([[getattr(each, name)] for each in fitted], dtype=np.float64))
            for name in ("mean", "deviation", "clip")
        )
        low = self._constant("low", np.array([[-each.clip] for each in fitted], dtype=np.float64))
        missing = self._named("IsNaN", [columns], "/missing")
        inside = self._named("Div", [self._named("Sub", [columns, mean], "/centred"), deviation], "/inside")
        kept = self._named("Where", [missing, self._constant("zero", np.array(0.0)), inside], "/kept")
        cut = self._named("Max", [self._named("Min", [kept, clip], "/under"), low], "/cut")
        values = self._named("Cast", [cut], "/values", to=TensorProto.FLOAT)
        if any(each.flagged for each in fitted):
            flags = self._named("Cast", [missing], "/flags", to=TensorProto.FLOAT)
            both = self._named("Concat", [values, flags], "/both", axis=0)
            places = [
                row
                for place, each in enumerate(fitted)
                for row in ([place, len(fitted) + place] if each.flagged else [place])
            ]
            chosen = self._constant("places", np.array(places, dtype=np.int64))
            values = self._named("Gather", [both, chosen], "/placed", axis=0)
        return self._named("Transpose", [values], output, perm=[1, 0])

    def _matrix(self, columns: list[str], name: str) -> str:
        """Stack columns, [rows] each, as the rows of a matrix."""
        shape = self._constant(f"{name}/shape", np.array([len(columns), -1], dtype=np.int64))
        return self._named("Reshape", [self._named("Concat", columns, f"/{name}/all", axis=0), shape], f"/{name}")

    def _category(self, fitted: Category) -> str:
        """Look up the codes of a column; unknown and missing values get 0."""
        known: Sequence[str | int] = fitted.values
        codes = {value: code for code, value in enumerate(known, start=1) if _is_exact(value)}
        # LabelEncoder needs at least one key: a dummy entry that maps to 0 keeps every code 0.
        codes = codes or {"\0" if fitted.type == "string" else 0: 0}
        keys: dict[str, Any] = {"keys_strings": list(codes)}
        if fitted.type != "string":  # keys have the type of the input, float64
            keys = {"keys_tensor": numpy_helper.from_array(np.array(list(codes), dtype=np.float64))}
        values = {"values_int64s": list(codes.values()), "default_int64": 0}
        return self._node("LabelEncoder", [fitted.column], fitted.column, "code", domain="ai.onnx.ml", **keys, **values)

    def _time(self, fitted: Time) -> str:
        """Encode a time on its cycles, followed by its flag, [rows, width]."""
        column = fitted.column
        missing = self._node("IsNaN", [column], column, "missing")
        zero = self._constant("zero", np.array(0.0))
        known = self._node("Where", [missing, zero, column], column, "known")
        nowhere = self._constant("nowhere", np.array(0.0, dtype=np.float32))
        places = []
        for cycle, (seconds, start) in CYCLES.items():
            turns = self._node(
                "Div",
                [
                    self._node(
                        "Add", [known, self._constant(f"{cycle}/start", np.array(start))], column, f"{cycle}/at"
                    ),
                    self._constant(f"{cycle}/seconds", np.array(seconds)),
                ],
                column,
                f"{cycle}/turns",
            )
            part = self._node(
                "Sub", [turns, self._node("Floor", [turns], column, f"{cycle}/whole")], column, f"{cycle}/part"
            )
            angle = self._node("Mul", [part, self._constant("circle", np.array(2 * np.pi))], column, f"{cycle}/angle")
            small = self._node("Cast", [angle], column, f"{cycle}/small", to=TensorProto.FLOAT)
            for function in ("Sin", "Cos"):
                place = self._node(function, [small], column, f"{cycle}/{function}")
                kept = self._node("Where", [missing, nowhere, place], column, f"{cycle}/{function}/kept")
                places.append(self._column(kept, f"{column}/{cycle}/{function}"))
        flags = [self._flag(missing, column)] if fitted.flagged else []
        return self._node("Concat", [*places, *flags], column, "time", axis=1)

    def array(self, fitted: Array) -> onnx.ValueInfoProto:
        """Scale an array and return its output."""
        column, output = fitted.column, f"{ARRAY}{fitted.column}"
        mean = self._constant(f"{column}/mean", np.array(fitted.mean))
        deviation = self._constant(f"{column}/deviation", np.array(fitted.deviation))
        scaled = self._node("Div", [self._node("Sub", [column, mean], column, "centred"), deviation], column, "scaled")
        self.nodes.append(helper.make_node("Cast", [scaled], [output], to=TensorProto.FLOAT))
        return helper.make_tensor_value_info(output, TensorProto.FLOAT, ["rows", *fitted.shape])

    def _flag(self, missing: str, column: str) -> str:
        """Return the flag for missing values as a column."""
        return self._node(
            "Unsqueeze",
            [self._node("Cast", [missing], column, "flag", to=TensorProto.FLOAT), self._axis()],
            column,
            "flag2d",
        )

    def _empty(self, name: str, kind: int) -> None:
        """Add an output without columns, with as many rows as the first input."""
        rows = self._node("Shape", [self.inputs[0].name], name, "rows", start=0, end=1)
        shape = self._node(
            "Concat", [rows, self._constant("none", np.array([0], dtype=np.int64))], name, "shape", axis=0
        )
        value = numpy_helper.from_array(np.zeros(1, dtype=helper.tensor_dtype_to_np_dtype(kind)), "value")
        self.nodes.append(helper.make_node("ConstantOfShape", [shape], [name], value=value))

    def model(self) -> onnx.ModelProto:
        """Return the finished, checked model."""
        graph = helper.make_graph(self.nodes, "transform", self.inputs, self.outputs, list(self.constants.values()))
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="merit")
        onnx.checker.check_model(model)
        return model

    def _column(self, source: str, column: str) -> str:
        return self._node("Unsqueeze", [source, self._axis()], column, "column")

    def _axis(self) -> str:
        return self._constant("axis", np.array([1], dtype=np.int64))

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        self.constants[f"/{name}"] = numpy_helper.from_array(value, f"/{name}")
        return f"/{name}"

    def _node(self, op: str, inputs: list[str], column: str, step: str, **attributes: Any) -> str:
        return self._named(op, inputs, f"/{column}/{step}", **attributes)

    def _named(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output


def _is_exact(value: str | int) -> bool:
    """Return whether float64 represents a value exactly.

    Whole numbers arrive as float64; some beyond 2**53 don't exist there and so can never be looked up.
    """
    return isinstance(value, str) or int(float(value)) == value


def _order(fitted: list[Number | Time], joined: list[Number | Time]) -> NDArray[np.int64]:
    """Return the index of each output column of `fitted` among those of `joined`, a permutation of `fitted`."""
    starts = np.cumsum([0, *(each.width for each in joined)])
    start = {each.column: int(at) for each, at in zip(joined, starts[:-1], strict=True)}
    return np.array([start[each.column] + i for each in fitted for i in range(each.width)], dtype=np.int64)
