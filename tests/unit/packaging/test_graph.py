import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml
from onnx import TensorProto, helper
from torch import Tensor, nn

from merit import artifacts
from merit.config.components import targets
from merit.errors import MeritError
from merit.features.transform import NumberScale, Preprocessing, Vocabulary
from merit.models.build import Examples, Predictor
from merit.packaging import graph
from merit.scoring.package import OnnxGraph


@pytest.fixture
def transform(workdir: Path, tiny_transform: Preprocessing) -> Preprocessing:
    """The tiny transform, written where `features` leaves it."""
    artifacts.FEATURES.mkdir(parents=True)
    artifacts.TRANSFORM.write_bytes(tiny_transform.build_graph().SerializeToString())
    return tiny_transform


def _network(transform: Preprocessing) -> Predictor:
    torch.manual_seed(0)
    file = Path(__file__).resolve().parents[3] / "conf" / "model" / "embedding_mlp.yaml"
    component = yaml.safe_load(file.read_text(encoding="utf-8"))
    network: nn.Module = targets.build_component(
        component, cardinalities=transform.cardinalities, numbers=transform.width
    )
    with torch.no_grad():
        for weights in network.parameters():
            weights.normal_(std=0.2)
    return Predictor(network, "binary", mean=0.0, deviation=1.0).eval()


def _rows(codes: np.ndarray, numbers: np.ndarray) -> Examples:
    return Examples((torch.from_numpy(codes), torch.from_numpy(numbers)), torch.zeros(len(codes)))


def _columns(rows: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    size = draw.normal(50, 20, rows)
    size[::3] = np.nan
    return {
        "shop": draw.choice(["north", "south", "elsewhere", ""], rows).astype(object),
        "kind": draw.choice([1.0, 2.0, 9.0, np.nan], rows),
        "size": size,
        "weight": draw.uniform(-3, 3, rows),
    }


def test_the_joined_graph_answers_as_the_network_does_on_any_number_of_rows(transform: Preprocessing) -> None:
    network = _network(transform)
    columns = _columns(50)
    codes, numbers = OnnxGraph(artifacts.TRANSFORM).run(columns)
    rows = _rows(codes, numbers)
    joined = graph.join_graphs(network, rows)
    data = joined.SerializeToString(deterministic=True)
    Path("model.onnx").write_bytes(data)
    shipped = OnnxGraph(Path("model.onnx"))
    with torch.inference_mode():
        expected = network(*rows.inputs).numpy()
    found = shipped.run(columns)[0]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.std() > 0.001
    for count in (1, 2, 17):
        part = {name: values[:count] for name, values in columns.items()}
        np.testing.assert_allclose(shipped.run(part)[0], expected[:count], atol=1e-6)

    assert [(each.name) for each in joined.graph.input] == ["shop", "kind", "size", "weight"]
    assert [each.name for each in joined.graph.output] == ["prediction"]
    onnx.checker.check_model(joined, full_check=True)
    assert data == graph.join_graphs(network, rows).SerializeToString(deterministic=True)
    # Nothing in the bytes tells of the machine that made them.
    for place in (str(Path.cwd()), str(Path.home()), "site-packages", "/usr/", "/home/", ".py"):
        assert place.encode() not in data
    assert not re.search(rb"torch|pytest", data)


class Ready(nn.Module):
    """A network that is shipped as another."""

    def __init__(self, ready: Any) -> None:
        super().__init__()
        self.ready = ready

    def forward(self, codes: Tensor, numbers: Tensor) -> Tensor:
        """Return a sum that takes long."""
        return numbers.exp().log().sum(dim=1, keepdim=True)

    def for_inference(self, flags: Sequence[int]) -> Any:
        """Return what the test wants."""
        return self.ready(flags)


class Short(nn.Module):
    """The same sum in short."""

    def __init__(self, flags: Sequence[int]) -> None:
        super().__init__()
        self.flags = list(flags)

    def forward(self, codes: Tensor, numbers: Tensor) -> Tensor:
        """Return the sum, and as much again of flags."""
        return numbers.sum(dim=1, keepdim=True) + numbers[:, self.flags].sum(dim=1, keepdim=True)


def _tiny_rows() -> Examples:
    return _rows(np.zeros((2, 2), dtype=np.int64), np.ones((2, 3), dtype=np.float32))


def test_a_network_ships_as_what_it_makes_of_itself_for_inference(transform: Preprocessing) -> None:
    columns = _columns(20)
    numbers = OnnxGraph(artifacts.TRANSFORM).run(columns)[1]
    predictor = Predictor(Ready(Short), "regression", mean=5.0, deviation=2.0)
    joined = graph.join_graphs(predictor, _tiny_rows(), transform.flags)
    Path("model.onnx").write_bytes(joined.SerializeToString())
    found = OnnxGraph(Path("model.onnx")).run(columns)[0]
    np.testing.assert_allclose(found, 5 + 2 * (numbers.sum(axis=1) + numbers[:, 1]), rtol=1e-5)
    assert not {"Exp", "Log"} & {node.op_type for node in joined.graph.node}


def _refuse(_: Sequence[int]) -> nn.Module:
    raise KeyError("no such\nlayer")


@pytest.mark.parametrize(
    ("ready", "told"),
    [
        (_refuse, "package: Ready.for_inference failed: 'no such\\nlayer'"),
        (lambda _: None, "package: Ready.for_inference gave NoneType; it must return a torch.nn.Module"),
    ],
)
def test_a_network_that_can_not_be_made_ready_is_told_in_one_line(
    transform: Preprocessing, ready: Any, told: str
) -> None:
    with pytest.raises(MeritError) as caught:
        graph.join_graphs(Predictor(Ready(ready), "binary", mean=0.0, deviation=1.0), _tiny_rows())
    assert str(caught.value) == told


@pytest.mark.parametrize("sizes", [[], [3], [3, 2]])
def test_an_output_has_the_sizes_of_the_networks_after_its_rows(sizes: list[int]) -> None:
    output = helper.make_tensor_value_info("prediction", TensorProto.FLOAT, ["rows", *sizes])
    assert graph._read_other_sizes(output) == sizes


def test_folding_shortens_the_graph_and_keeps_a_row_s_answer_apart_from_other_rows(workdir: Path) -> None:
    fitted = [NumberScale(f"n{place}", 0.0, 1.0, 6.0, has_missing_flag=place % 2 == 0) for place in range(24)]
    transform = Preprocessing([Vocabulary("c", "integer", list(range(30)))], list(fitted))
    artifacts.FEATURES.mkdir(parents=True)
    artifacts.TRANSFORM.write_bytes(transform.build_graph().SerializeToString())
    draw = np.random.default_rng(0)
    columns = {each.column: draw.normal(size=2100) for each in fitted}
    for each in fitted[::2]:
        columns[each.column][::5] = np.nan
    columns["c"] = draw.integers(0, 32, 2100).astype(np.float64)
    network = _network(transform)
    codes, numbers = OnnxGraph(artifacts.TRANSFORM).run(columns)
    rows = _rows(codes, numbers)
    joined = graph.join_graphs(network, rows, transform.flags)
    assert len(joined.graph.node) <= 39
    (first,) = (each for each in joined.graph.initializer if each.name.endswith("from_bins"))
    assert list(first.dims) == [24 * 14 + 12, 128]  # twelve flags of one bin each
    Path("model.onnx").write_bytes(joined.SerializeToString())
    shipped = OnnxGraph(Path("model.onnx"))
    (whole,) = shipped.run(columns)
    with torch.inference_mode():
        np.testing.assert_allclose(whole, network(*rows.inputs).numpy(), atol=1e-5)
    for size in [*range(1, 71), 2000, 2047, 2048, 2049, 2050, 2051, 2099]:
        for start in (0, 1, 2, 3, 2100 - size):
            stop = min(start + size, 2100)
            found = shipped.run({name: values[start:stop] for name, values in columns.items()})[0]
            assert (found == whole[start:stop]).all(), (size, start)


class Untraceable(nn.Module):
    """A network that asks its data what to do."""

    def forward(self, codes: Tensor, numbers: Tensor) -> Tensor:
        """Return something that can't be traced."""
        return numbers[:, :1] if float(numbers.sum()) > 0 else numbers[:, 1:2]


def test_a_network_that_can_not_be_exported_is_told_in_one_line(transform: Preprocessing) -> None:
    predictor = Predictor(Untraceable(), "binary", mean=0.0, deviation=1.0)
    with pytest.raises(MeritError) as caught:
        graph.join_graphs(predictor, _rows(np.zeros((2, 2), dtype=np.int64), np.ones((2, 3), dtype=np.float32)))
    assert str(caught.value).startswith("package: torch can't export the network of conf/model to ONNX: ")
    assert "\n" not in str(caught.value)


def test_without_the_preprocessing_the_command_that_makes_it_is_told(workdir: Path) -> None:
    with pytest.raises(MeritError, match=r"^data/features/transform\.onnx: not found; 'merit features' makes it"):
        graph.join_graphs(
            Predictor(nn.Identity(), "binary", mean=0.0, deviation=1.0), _rows(np.zeros((2, 2)), np.ones((2, 3)))
        )
