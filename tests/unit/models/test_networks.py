from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from merit.config.components import targets
from merit.errors import MeritError
from merit.models.networks import Dropout, are_channels_last

NETWORKS: dict[str, dict[str, Any]] = {
    file.stem: yaml.safe_load(file.read_text(encoding="utf-8"))
    for file in sorted(Path(__file__).resolve().parents[3].glob("conf/model/*.yaml"))
}


def test_there_are_networks_to_choose_from() -> None:
    assert {"linear", "mlp", "embedding_mlp"} <= set(NETWORKS)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize(
    ("cardinalities", "numbers", "flags"),
    [([4, 5], 5, [1, 4]), ([4, 5], 3, []), ([], 3, [1]), ([4], 0, []), ([4], 2, [0, 1]), ([2, 2, 2], 41, [3, 5, 40])],
)
def test_the_ensemble_made_ready_for_inference_answers_as_before(
    cardinalities: list[int], numbers: int, flags: list[int], outputs: int
) -> None:
    torch.manual_seed(0)
    network = _built("embedding_mlp", cardinalities, numbers, outputs)
    values = 3 * torch.randn(300, numbers)
    values[:, flags] = (values[:, flags] > 0).float()
    codes = torch.randint(0, min([*cardinalities, 2]), (300, len(cardinalities)))
    with torch.inference_mode():
        for weights in network.parameters():
            weights.add_(0.1 * torch.randn(weights.shape))
        before = {name: weights.clone() for name, weights in network.state_dict().items()}
        expected = network(codes, values)
        folded = network.for_inference(flags)
        assert folded.edges.shape == (numbers, 14 * (numbers - len(flags)) + len(flags))
        torch.testing.assert_close(folded(codes, values), expected, atol=2e-5, rtol=1e-5)
    assert expected.std() > 0.1
    assert all((before[name] == weights).all() for name, weights in network.state_dict().items())


SHAPES = {"cnn": [[8, 8], [3, 8, 8]]}
"""The arrays of networks that take some."""


def _built(name: str, cardinalities: list[int], numbers: int, outputs: int = 1) -> nn.Module:
    made: nn.Module = targets.build_component(
        NETWORKS[name], cardinalities=cardinalities, numbers=numbers, shapes=SHAPES.get(name, []), outputs=outputs
    )
    return made.eval()


def _arrays(name: str, rows: int) -> list[torch.Tensor]:
    return [torch.randn(rows, *shape) for shape in SHAPES.get(name, [])]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("cardinalities", "numbers"), [([3, 2], 4), ([], 4), ([3], 0)])
@pytest.mark.parametrize("outputs", [1, 5])
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_a_network_gives_its_outputs_per_row(name: str, cardinalities: list[int], numbers: int, outputs: int) -> None:
    network = _built(name, cardinalities, numbers, outputs)
    codes = torch.zeros(7, len(cardinalities), dtype=torch.int64)
    if cardinalities:
        codes[-1] = torch.tensor(cardinalities) - 1  # the largest code there is
    given = network(codes, torch.randn(7, numbers), *_arrays(name, 7))
    assert given.shape[-2:] == (7, outputs)
    assert torch.isfinite(given).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_categories_share_no_weights(name: str) -> None:
    torch.manual_seed(0)
    network = _built(name, [3, 3], 1)
    with torch.no_grad():
        for weights in network.parameters():
            weights.normal_()
    codes = torch.tensor([[first, second] for first in range(3) for second in range(3)])
    given = network(codes, torch.zeros(9, 1), *[torch.zeros_like(each) for each in _arrays(name, 9)])
    # Codes of two categories that are swapped are another row: with shared weights a sum could not tell them apart.
    assert not torch.equal(given[..., 1, :], given[..., 3, :])


def test_an_image_is_the_same_with_its_channels_first_or_last() -> None:
    made = [
        targets.build_component(NETWORKS["cnn"], cardinalities=[], numbers=0, shapes=[shape], outputs=2).eval()
        for shape in ([3, 8, 6], [8, 6, 3])
    ]
    made[1].load_state_dict(made[0].state_dict())
    images = torch.randn(5, 3, 8, 6)
    rest = torch.zeros(5, 0, dtype=torch.int64), torch.zeros(5, 0)
    first, last = made[0](*rest, images), made[1](*rest, images.movedim(1, 3).contiguous())
    assert torch.allclose(first, last, atol=1e-6)


@pytest.mark.parametrize("shape", [[4, 4, 4], [2, 8, 8], [8, 8]])
def test_an_array_that_may_have_its_channels_first_has_them_first(shape: list[int]) -> None:
    assert not are_channels_last(shape)


@pytest.mark.parametrize(
    ("shapes", "line"),
    [
        ([], "it takes arrays of one height and width; found the shapes []"),
        ([[8, 8], [4, 4]], "it takes arrays of one height and width; found the shapes [[8, 8], [4, 4]]"),
        ([[64]], "it takes arrays of one height and width; found the shapes [[64]]"),
        ([[2, 2]], "2 blocks halve 2x2 to nothing; give fewer channels"),
    ],
)
def test_arrays_that_a_cnn_can_not_take_are_told_in_one_line(shapes: list[list[int]], line: str) -> None:
    with pytest.raises(MeritError) as caught:
        targets.build_component(NETWORKS["cnn"], cardinalities=[], numbers=0, shapes=shapes, outputs=2)
    assert str(caught.value) == f"_target_ 'merit.models.networks.CNN' refuses its arguments: {line}"


@pytest.mark.parametrize("share", [0.1, 0.4, 0.9])
def test_dropout_leaves_out_its_share_and_keeps_the_mean(share: float) -> None:
    torch.manual_seed(7)
    left = Dropout(share)(torch.ones(3, 101, 1000))
    assert (left == 0).float().mean().item() == pytest.approx(share, abs=0.005)
    assert left.mean().item() == pytest.approx(1, abs=0.02)
    assert left.unique().tolist() == pytest.approx([0, 1 / (1 - share)], rel=1e-3)


def test_dropout_draws_each_unit_by_itself() -> None:
    torch.manual_seed(7)
    left = (Dropout(0.5)(torch.ones(1000, 1000)) == 0).float()
    for apart in (1, 2, 3, 4, 1000):
        pairs = (left.flatten()[apart:] * left.flatten()[:-apart]).mean().item()
        assert pairs == pytest.approx(0.25, abs=0.005)


def test_dropout_passes_the_gradient_of_what_it_kept() -> None:
    torch.manual_seed(7)
    units = torch.ones(64, requires_grad=True)
    left = Dropout(0.5)(units)
    left.sum().backward()
    assert torch.equal(units.grad, left.detach())


def test_dropout_is_the_same_by_seed_and_does_nothing_out_of_training() -> None:
    units, drop = torch.randn(33), Dropout(0.3)
    first, again = (torch.manual_seed(seed) and drop(units) for seed in (7, 7))
    assert torch.equal(first, again)
    assert not torch.equal(first, drop(units))
    assert torch.equal(drop.eval()(units), units)
    assert torch.equal(Dropout(0.0)(units), units)


@pytest.mark.parametrize("share", [-0.1, 1.0, 2.0, float("nan")])
def test_a_share_that_can_not_be_left_out_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="can't be left out; give one from 0 to less than 1"):
        Dropout(share)
