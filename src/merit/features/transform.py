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
CODES_OUTPUT, NUMBERS_OUTPUT, ARRAY_OUTPUT_PREFIX = "/codes", "/numbers", "/array/"
"""The names of the outputs; the output of an array column is ARRAY_OUTPUT_PREFIX followed by its name.

Names inside the graph begin with a slash, so that they don't clash with the names of raw columns."""
DAY_S = 86_400.0
CYCLES = {"day": (DAY_S, 0.0), "week": (7 * DAY_S, 3 * DAY_S), "year": (365.2425 * DAY_S, 0.0)}
"""The cycles that a time is encoded on: each cycle's length, and the epoch's offset in it (1 January 1970 was a
Thursday), both in seconds."""


@dataclass(frozen=True)
class Vocabulary:
    """A fitted vocabulary: the value at index i has code i + 1; code 0 is an unknown or missing value."""

    column: str
    type: str
    values: list[str] | list[int]

    @property
    def cardinality(self) -> int:
        """The number of codes."""
        return len(self.values) + 1


@dataclass(frozen=True)
class NumberScale:
    """A fitted scale: (x - mean) / deviation, clipped to [-clip, clip].

    A missing value becomes 0, the scaled mean; with `has_missing_flag`, a second output is 1 for a missing value.
    """

    column: str
    mean: float
    deviation: float
    clip: float
    has_missing_flag: bool

    @property
    def width(self) -> int:
        """The number of output columns."""
        return 2 if self.has_missing_flag else 1


@dataclass(frozen=True)
class TimeEncoding:
    """A time encoded as sine and cosine of its position in the day, the week and the year.

    A missing time becomes 0 everywhere; with `has_missing_flag`, a last output is 1 where the time is missing.
    """

    column: str
    has_missing_flag: bool

    @property
    def width(self) -> int:
        """The number of output columns."""
        return 2 * len(CYCLES) + self.has_missing_flag


@dataclass(frozen=True)
class ArrayScale:
    """A fitted scale of an array, one for all its elements: (x - mean) / deviation."""

    column: str
    shape: list[int]
    mean: float
    deviation: float


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing fitted on training rows.

    Categories become codes, numbers and times become columns of numbers, and arrays become scaled arrays.
    """

    categories: list[Vocabulary]
    numbers: list[NumberScale | TimeEncoding]
    arrays: list[ArrayScale] = field(default_factory=list)

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
        return [end - 1 for end, number in zip(ends, self.numbers, strict=True) if number.has_missing_flag]

    def build_graph(self) -> onnx.ModelProto:
        """Return the graph, with one input per column; outputs are `codes` int64, `numbers` and arrays float32.

        A string column is a tensor of strings [rows], "" for missing. An array is float64 [rows, *shape]. Every other
        column is float64 [rows], NaN for missing; a time is its wall-clock time in seconds since 1970.
        """
        builder = _GraphBuilder()
        builder.declare_inputs(self)
        builder.add_categories(self.categories)
        builder.add_numbers(self.numbers, self.width)
        builder.outputs += [builder.add_array(array) for array in self.arrays]
        return builder.build_model()


class _GraphBuilder:
    """Collects the nodes of the graph.

    A node costs about half a microsecond whatever it computes, so the number of nodes sets the latency of a one-row
    request. Therefore all numbers are scaled together, as the rows of one matrix, and not column by column.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def declare_inputs(self, transform: "Preprocessing") -> None:
        """Declare one input per column."""
        for category in transform.categories:
            element_type = TensorProto.STRING if category.type == "string" else TensorProto.DOUBLE
            self.inputs.append(helper.make_tensor_value_info(category.column, element_type, ["rows"]))
        for number in transform.numbers:
            self.inputs.append(helper.make_tensor_value_info(number.column, TensorProto.DOUBLE, ["rows"]))
        for array in transform.arrays:
            self.inputs.append(helper.make_tensor_value_info(array.column, TensorProto.DOUBLE, ["rows", *array.shape]))

    def add_categories(self, fitted: list[Vocabulary]) -> None:
        """Add the output `codes`."""
        codes = [self._encode_category(each) for each in fitted]
        self.outputs.append(helper.make_tensor_value_info(CODES_OUTPUT, TensorProto.INT64, ["rows", len(codes)]))
        if codes:
            self._add_node("Transpose", [self._stack_columns(codes, "coded")], CODES_OUTPUT, perm=[1, 0])
        else:
            self._add_empty_output(CODES_OUTPUT, TensorProto.INT64)

    def add_numbers(self, fitted: list[NumberScale | TimeEncoding], width: int) -> None:
        """Add the output `numbers`, with columns in the order of `fitted`."""
        self.outputs.append(helper.make_tensor_value_info(NUMBERS_OUTPUT, TensorProto.FLOAT, ["rows", width]))
        scaled = [each for each in fitted if isinstance(each, NumberScale)]
        times = [each for each in fitted if isinstance(each, TimeEncoding)]
        if not fitted:
            self._add_empty_output(NUMBERS_OUTPUT, TensorProto.FLOAT)
        elif not times:
            self._scale_numbers(scaled, NUMBERS_OUTPUT)
        else:
            first = [self._scale_numbers(scaled, "/scaled")] if scaled else []
            joined = self._add_node("Concat", [*first, *map(self._encode_time, times)], "/joined", axis=1)
            order = self._add_constant("order", _compute_order(fitted, [*scaled, *times]))
            self._add_node("Gather", [joined, order], NUMBERS_OUTPUT, axis=1)

    def _scale_numbers(self, fitted: list[NumberScale], output: str) -> str:
        """Scale numbers as the rows of one matrix; in the output, a flag follows its number."""
        columns = self._stack_columns([each.column for each in fitted], "raw")
        mean, deviation, clip = (
            self._add_constant(name, np.array([[getattr(each, name)] for each in fitted], dtype=np.float64))
            for name in ("mean", "deviation", "clip")
        )
        low = self._add_constant("low", np.array([[-each.clip] for each in fitted], dtype=np.float64))
        missing = self._add_node("IsNaN", [columns], "/missing")
        inside = self._add_node("Div", [self._add_node("Sub", [columns, mean], "/centred"), deviation], "/inside")
        filled = self._add_node("Where", [missing, self._add_constant("zero", np.array(0.0)), inside], "/kept")
        clipped = self._add_node("Max", [self._add_node("Min", [filled, clip], "/under"), low], "/cut")
        values = self._add_node("Cast", [clipped], "/values", to=TensorProto.FLOAT)
        if any(each.has_missing_flag for each in fitted):
            flags = self._add_node("Cast", [missing], "/flags", to=TensorProto.FLOAT)
            values_and_flags = self._add_node("Concat", [values, flags], "/both", axis=0)
            row_numbers = [
                row
                for index, each in enumerate(fitted)
                for row in ([index, len(fitted) + index] if each.has_missing_flag else [index])
            ]
            row_indices = self._add_constant("places", np.array(row_numbers, dtype=np.int64))
            values = self._add_node("Gather", [values_and_flags, row_indices], "/placed", axis=0)
        return self._add_node("Transpose", [values], output, perm=[1, 0])

    def _stack_columns(self, columns: list[str], name: str) -> str:
        """Stack columns, [rows] each, as the rows of a matrix."""
        shape = self._add_constant(f"{name}/shape", np.array([len(columns), -1], dtype=np.int64))
        return self._add_node("Reshape", [self._add_node("Concat", columns, f"/{name}/all", axis=0), shape], f"/{name}")

    def _encode_category(self, fitted: Vocabulary) -> str:
        """Look up the codes of a column; unknown and missing values get 0."""
        vocabulary: Sequence[str | int] = fitted.values
        codes = {value: code for code, value in enumerate(vocabulary, start=1) if _is_exact(value)}
        # LabelEncoder needs at least one key: a dummy entry that maps to 0 keeps every code 0.
        codes = codes or {"\0" if fitted.type == "string" else 0: 0}
        keys: dict[str, Any] = {"keys_strings": list(codes)}
        if fitted.type != "string":  # keys have the type of the input, float64
            keys = {"keys_tensor": numpy_helper.from_array(np.array(list(codes), dtype=np.float64))}
        values = {"values_int64s": list(codes.values()), "default_int64": 0}
        return self._add_column_node(
            "LabelEncoder", [fitted.column], fitted.column, "code", domain="ai.onnx.ml", **keys, **values
        )

    def _encode_time(self, fitted: TimeEncoding) -> str:
        """Encode a time on its cycles, followed by its flag, [rows, width]."""
        column = fitted.column
        missing = self._add_column_node("IsNaN", [column], column, "missing")
        zero = self._add_constant("zero", np.array(0.0))
        filled = self._add_column_node("Where", [missing, zero, column], column, "known")
        nowhere = self._add_constant("nowhere", np.array(0.0, dtype=np.float32))
        encoded_columns = []
        for cycle, (seconds, start) in CYCLES.items():
            turns = self._add_column_node(
                "Div",
                [
                    self._add_column_node(
                        "Add", [filled, self._add_constant(f"{cycle}/start", np.array(start))], column, f"{cycle}/at"
                    ),
                    self._add_constant(f"{cycle}/seconds", np.array(seconds)),
                ],
                column,
                f"{cycle}/turns",
            )
            part = self._add_column_node(
                "Sub",
                [turns, self._add_column_node("Floor", [turns], column, f"{cycle}/whole")],
                column,
                f"{cycle}/part",
            )
            angle = self._add_column_node(
                "Mul", [part, self._add_constant("circle", np.array(2 * np.pi))], column, f"{cycle}/angle"
            )
            small = self._add_column_node("Cast", [angle], column, f"{cycle}/small", to=TensorProto.FLOAT)
            for function in ("Sin", "Cos"):
                encoded = self._add_column_node(function, [small], column, f"{cycle}/{function}")
                masked = self._add_column_node("Where", [missing, nowhere, encoded], column, f"{cycle}/{function}/kept")
                encoded_columns.append(self._add_column_axis(masked, f"{column}/{cycle}/{function}"))
        flags = [self._add_flag(missing, column)] if fitted.has_missing_flag else []
        return self._add_column_node("Concat", [*encoded_columns, *flags], column, "time", axis=1)

    def add_array(self, fitted: ArrayScale) -> onnx.ValueInfoProto:
        """Scale an array and return its output."""
        column, output = fitted.column, f"{ARRAY_OUTPUT_PREFIX}{fitted.column}"
        mean = self._add_constant(f"{column}/mean", np.array(fitted.mean))
        deviation = self._add_constant(f"{column}/deviation", np.array(fitted.deviation))
        scaled = self._add_column_node(
            "Div", [self._add_column_node("Sub", [column, mean], column, "centred"), deviation], column, "scaled"
        )
        self.nodes.append(helper.make_node("Cast", [scaled], [output], to=TensorProto.FLOAT))
        return helper.make_tensor_value_info(output, TensorProto.FLOAT, ["rows", *fitted.shape])

    def _add_flag(self, missing: str, column: str) -> str:
        """Return the flag for missing values as a column."""
        return self._add_column_node(
            "Unsqueeze",
            [self._add_column_node("Cast", [missing], column, "flag", to=TensorProto.FLOAT), self._get_axis()],
            column,
            "flag2d",
        )

    def _add_empty_output(self, name: str, element_type: int) -> None:
        """Add an output without columns, with as many rows as the first input."""
        rows = self._add_column_node("Shape", [self.inputs[0].name], name, "rows", start=0, end=1)
        shape = self._add_column_node(
            "Concat", [rows, self._add_constant("none", np.array([0], dtype=np.int64))], name, "shape", axis=0
        )
        value = numpy_helper.from_array(np.zeros(1, dtype=helper.tensor_dtype_to_np_dtype(element_type)), "value")
        self.nodes.append(helper.make_node("ConstantOfShape", [shape], [name], value=value))

    def build_model(self) -> onnx.ModelProto:
        """Return the finished, checked model."""
        graph = helper.make_graph(self.nodes, "transform", self.inputs, self.outputs, list(self.constants.values()))
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="merit")
        onnx.checker.check_model(model)
        return model

    def _add_column_axis(self, source: str, column: str) -> str:
        return self._add_column_node("Unsqueeze", [source, self._get_axis()], column, "column")

    def _get_axis(self) -> str:
        return self._add_constant("axis", np.array([1], dtype=np.int64))

    def _add_constant(self, name: str, value: NDArray[Any]) -> str:
        self.constants[f"/{name}"] = numpy_helper.from_array(value, f"/{name}")
        return f"/{name}"

    def _add_column_node(self, op: str, inputs: list[str], column: str, step: str, **attributes: Any) -> str:
        return self._add_node(op, inputs, f"/{column}/{step}", **attributes)

    def _add_node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output


def _is_exact(value: str | int) -> bool:
    """Return whether float64 represents a value exactly.

    Whole numbers arrive as float64; some beyond 2**53 don't exist there and so can never be looked up.
    """
    return isinstance(value, str) or int(float(value)) == value


def _compute_order(
    fitted: list[NumberScale | TimeEncoding], joined: list[NumberScale | TimeEncoding]
) -> NDArray[np.int64]:
    """Return the index of each output column of `fitted` among those of `joined`, a permutation of `fitted`."""
    starts = np.cumsum([0, *(each.width for each in joined)])
    start = {each.column: int(position) for each, position in zip(joined, starts[:-1], strict=True)}
    return np.array([start[each.column] + i for each in fitted for i in range(each.width)], dtype=np.int64)
