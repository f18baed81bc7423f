import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import yaml
from torch import Tensor, nn

from merit import artifacts
from merit.config import targets
from merit.errors import MeritError
from merit.features.transform import Transform
from merit.network import Predictor, Rows
from merit.packaging import graph
from merit.scoring import Graph


@pytest.fixture
def transform(workdir: Path, tiny_transform: Transform) -> Transform:
    """The tiny transform, written where `features` leaves it."""
    artifacts.FEATURES.mkdir(parents=True)
    artifacts.TRANSFORM.write_bytes(tiny_transform.graph().SerializeToString())
    return tiny_transform


def _network(transform: Transform) -> Predictor:
    torch.manual_seed(0)
    file = Path(__file__).resolve().parents[3] / "conf" / "model" / "embedding_mlp.yaml"
    component = yaml.safe_load(file.read_text(encoding="utf-8"))
    network: nn.Module = targets.build(component, cardinalities=transform.cardinalities, numbers=transform.width)
    with torch.no_grad():
        for weights in network.parameters():
            weights.normal_(std=0.2)
    return Predictor(network, "binary", mean=0.0, deviation=1.0).eval()


def _rows(codes: np.ndarray, numbers: np.ndarray) -> Rows:
    return Rows((torch.from_numpy(codes), torch.from_numpy(numbers)), torch.zeros(len(codes)))


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


def test_the_joined_graph_answers_as_the_network_does_on_any_number_of_rows(transform: Transform) -> None:
    network = _network(transform)
    columns = _columns(50)
    codes, numbers = Graph(artifacts.TRANSFORM).run(columns)
    rows = _rows(codes, numbers)
    joined = graph.join(network, rows)
    data = joined.SerializeToString(deterministic=True)
    Path("model.onnx").write_bytes(data)
    shipped = Graph(Path("model.onnx"))
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
    assert data == graph.join(network, rows).SerializeToString(deterministic=True)
    # Nothing in the bytes tells of the machine that made them.
    for place in (str(Path.cwd()), str(Path.home()), "site-packages", "/usr/", "/home/", ".py"):
        assert place.encode() not in data
    assert not re.search(rb"torch|pytest", data)


class Untraceable(nn.Module):
    """A network that asks its data what to do."""

    def forward(self, codes: Tensor, numbers: Tensor) -> Tensor:
        """Return something that can't be traced."""
        return numbers[:, :1] if float(numbers.sum()) > 0 else numbers[:, 1:2]


def test_a_network_that_can_not_be_exported_is_told_in_one_line(transform: Transform) -> None:
    predictor = Predictor(Untraceable(), "binary", mean=0.0, deviation=1.0)
    with pytest.raises(MeritError) as caught:
        graph.join(predictor, _rows(np.zeros((2, 2), dtype=np.int64), np.ones((2, 3), dtype=np.float32)))
    assert str(caught.value).startswith("package: torch can't export the network of conf/model to ONNX: ")
    assert "\n" not in str(caught.value)


def test_without_the_preprocessing_the_command_that_makes_it_is_told(workdir: Path) -> None:
    with pytest.raises(MeritError, match=r"^data/features/transform\.onnx: not found; 'merit features' makes it"):
        graph.join(
            Predictor(nn.Identity(), "binary", mean=0.0, deviation=1.0), _rows(np.zeros((2, 2)), np.ones((2, 3)))
        )
