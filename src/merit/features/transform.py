"""The fitted preprocessing as an ONNX graph: the only implementation, used in training and in serving alike.

Training arrays are made by running this very graph, and the package is this graph joined to the network.
So training code can't differ from inference code: there is one piece of it.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 20
ML_OPSET = 4
IR_VERSION = 10
CODES, NUMBERS, ARRAY = "/codes", "/numbers", "/array/"
"""The outputs; that of an array column is ARRAY and its name. Names inside the graph begin with a slash, so that a raw
column can have almost any name."""
DAY = 86_400.0
CYCLES = {"day": (DAY, 0.0), "week": (7 * DAY, 3 * DAY), "year": (365.2425 * DAY, 0.0)}
"""What a time is placed on: each cycle's seconds, and how far the epoch, a Thursday in January, was into it."""


@dataclass(frozen=True)
class Category:
    """A fitted vocabulary: value number i has code i + 1; code 0 is a value unknown or missing."""

    column: str
    type: str
    values: list[str] | list[int]

    @property
    def cardinality(self) -> int:
        """The number of codes."""
        return len(self.values) + 1


@dataclass(frozen=True)
class Number:
    """A fitted scale: (x - mean) / deviation, cut at `clip`; a missing value is the mean, and flagged if `flagged`."""

    column: str
    mean: float
    deviation: float
    clip: float
    flagged: bool

    @property
    def width(self) -> int:
        """The number of outputs."""
        return 2 if self.flagged else 1


@dataclass(frozen=True)
class Time:
    """A time of day, week and year, each as sine and cosine; a missing one is nowhere (0), and flagged if `flagged`."""

    column: str
    flagged: bool

    @property
    def width(self) -> int:
        """The number of outputs."""
        return 2 * len(CYCLES) + self.flagged


@dataclass(frozen=True)
class Array:
    """A fitted scale of all elements of an array alike: (x - mean) / deviation."""

    column: str
    shape: list[int]
    mean: float
    deviation: float


@dataclass(frozen=True)
class Transform:
    """What was fitted on training rows: categories become codes, numbers and times numbers, arrays scaled arrays."""

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

    def graph(self) -> onnx.ModelProto:
        """Return the graph: a named input per column; `codes` int64, `numbers` and arrays float32 out, [rows, ...].

        A string column is a tensor of strings [rows], "" for missing; an array is float64 [rows, *shape]; every other
        column is float64 [rows], NaN for missing, a time being the seconds since 1970 of its clock.
        """
        build = _Builder()
        codes = [build.category(category) for category in self.categories]
        numbers = [
            build.number(number) if isinstance(number, Number) else build.time(number) for number in self.numbers
        ]
        arrays = [build.array(array) for array in self.arrays]
        build.join(codes, CODES, TensorProto.INT64, len(codes))
        build.join(numbers, NUMBERS, TensorProto.FLOAT, self.width)
        build.outputs += arrays
        return build.model()


class _Builder:
    """Collects the nodes of the graph."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def category(self, fitted: Category) -> str:
        is_text = fitted.type == "string"
        self._input(fitted.column, TensorProto.STRING if is_text else TensorProto.DOUBLE)
        codes = list(range(1, fitted.cardinality))
        keys: dict[str, Any] = {
            "keys_strings" if is_text else "keys_int64s": fitted.values or (["\0"] if is_text else [0])
        }
        source = fitted.column if is_text else self._whole_numbers(fitted.column)
        # A vocabulary can't be empty in ONNX: one value that stands for nothing keeps every answer 0.
        values = {"values_int64s": codes or [0], "default_int64": 0}
        code = self._node("LabelEncoder", [source], fitted.column, "code", domain="ai.onnx.ml", **keys, **values)
        return self._column(code, fitted.column)

    def _whole_numbers(self, column: str) -> str:
        """Turn float64 into int64 keys; missing becomes the one number that no vocabulary holds."""
        missing = self._node("IsNaN", [column], column, "missing")
        nothing = self._constant("nothing", np.array(np.iinfo(np.int64).min, dtype=np.float64))
        return self._node(
            "Cast",
            [self._node("Where", [missing, nothing, column], column, "kept")],
            column,
            "whole",
            to=TensorProto.INT64,
        )

    def number(self, fitted: Number) -> str:
        column = fitted.column
        self._input(column, TensorProto.DOUBLE)
        mean = self._constant(f"{column}/mean", np.array(fitted.mean))
        deviation = self._constant(f"{column}/deviation", np.array(fitted.deviation))
        low = self._constant(f"{column}/low", np.array(-fitted.clip))
        high = self._constant(f"{column}/high", np.array(fitted.clip))
        zero = self._constant("zero", np.array(0.0))
        missing = self._node("IsNaN", [column], column, "missing")
        scaled = self._node("Div", [self._node("Sub", [column, mean], column, "centred"), deviation], column, "scaled")
        kept = self._node("Where", [missing, zero, scaled], column, "kept")
        cut = self._node("Clip", [kept, low, high], column, "cut")
        value = self._column(self._node("Cast", [cut], column, "value", to=TensorProto.FLOAT), column)
        flags = [self._flag(missing, column)] if fitted.flagged else []
        return self._node("Concat", [value, *flags], column, "number", axis=1)

    def time(self, fitted: Time) -> str:
        column = fitted.column
        self._input(column, TensorProto.DOUBLE)
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
        column, output = fitted.column, f"{ARRAY}{fitted.column}"
        self.inputs.append(helper.make_tensor_value_info(column, TensorProto.DOUBLE, ["rows", *fitted.shape]))
        mean = self._constant(f"{column}/mean", np.array(fitted.mean))
        deviation = self._constant(f"{column}/deviation", np.array(fitted.deviation))
        scaled = self._node("Div", [self._node("Sub", [column, mean], column, "centred"), deviation], column, "scaled")
        self.nodes.append(helper.make_node("Cast", [scaled], [output], to=TensorProto.FLOAT))
        return helper.make_tensor_value_info(output, TensorProto.FLOAT, ["rows", *fitted.shape])

    def _flag(self, missing: str, column: str) -> str:
        return self._node(
            "Unsqueeze",
            [self._node("Cast", [missing], column, "flag", to=TensorProto.FLOAT), self._axis()],
            column,
            "flag2d",
        )

    def join(self, columns: list[str], name: str, kind: int, width: int) -> None:
        if columns:
            self.nodes.append(helper.make_node("Concat", columns, [name], axis=1))
        else:
            self._empty(name, kind)
        self.outputs.append(helper.make_tensor_value_info(name, kind, ["rows", width]))

    def _empty(self, name: str, kind: int) -> None:
        """Make an output of no columns, with as many rows as the first input."""
        rows = self._node("Shape", [self.inputs[0].name], name, "rows", start=0, end=1)
        shape = self._node(
            "Concat", [rows, self._constant("none", np.array([0], dtype=np.int64))], name, "shape", axis=0
        )
        value = numpy_helper.from_array(np.zeros(1, dtype=helper.tensor_dtype_to_np_dtype(kind)), "value")
        self.nodes.append(helper.make_node("ConstantOfShape", [shape], [name], value=value))

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "transform", self.inputs, self.outputs, list(self.constants.values()))
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="merit")
        onnx.checker.check_model(model)
        return model

    def _input(self, name: str, kind: int) -> None:
        self.inputs.append(helper.make_tensor_value_info(name, kind, ["rows"]))

    def _column(self, source: str, column: str) -> str:
        return self._node("Unsqueeze", [source, self._axis()], column, "column")

    def _axis(self) -> str:
        return self._constant("axis", np.array([1], dtype=np.int64))

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        self.constants[f"/{name}"] = numpy_helper.from_array(value, f"/{name}")
        return f"/{name}"

    def _node(self, op: str, inputs: list[str], column: str, step: str, **attributes: Any) -> str:
        output = f"/{column}/{step}"
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output
