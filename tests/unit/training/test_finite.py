from math import inf, nan

import pytest
import torch
from torch import Tensor

from merit.models.build import Examples
from merit.training import finite


def _rows(numbers: float = 0.0, target: float = 0.0) -> Examples:
    return Examples((torch.zeros(2, 1, dtype=torch.int64), torch.full((2, 1), numbers)), torch.full((2,), target))


def _losses(*values: float) -> list[Tensor]:
    return [torch.tensor(value) for value in values]


@pytest.mark.parametrize(
    ("losses", "block", "cause"),
    [
        ([0.6, 0.5, nan, nan], [_rows(), _rows()], "it was 0.5 just before: lower optimizer.lr, or look for a "),
        ([0.6, 0.5, 40.0, inf], [_rows(), _rows()], "it grew from 0.6 to 40 before: lower optimizer.lr"),
        ([0.6, 0.5, nan, nan], [_rows(nan), _rows()], "its rows hold non-finite numbers values: check "),
        ([0.6, 0.5, 0.4, nan], [_rows(), _rows(target=inf)], "its rows hold non-finite target values: check "),
    ],
)
def test_a_loss_that_is_no_number_is_told_with_its_batch_and_the_likely_cause(
    losses: list[float], block: list[Examples], cause: str
) -> None:
    first = next(place for place, value in enumerate(losses) if not value < inf)
    told = str(finite.build_error(_losses(*losses), 2, block, 3))
    assert told.startswith(f"train: the loss is {losses[first]} from batch {first} of epoch 3 on; {cause}")


def test_a_first_batch_without_a_loss_points_at_the_network() -> None:
    told = str(finite.build_error(_losses(nan), 0, [_rows()], 0))
    assert told.endswith(
        "the first batch already: the network's weights start too large, or its loss is undefined there"
    )
