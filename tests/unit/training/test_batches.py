import pytest
import torch

from merit.network import Rows
from merit.training.batches import Batches


def _rows(count: int) -> Rows:
    numbers = torch.arange(count, dtype=torch.float32)
    return Rows((torch.arange(count)[:, None], numbers[:, None]), numbers)


def _epoch(batches: Batches) -> list[int]:
    return [int(row) for batch in batches for row in batch.target]


@pytest.mark.parametrize(("rows", "size", "sizes"), [(10, 4, [4, 4, 2]), (8, 4, [4, 4]), (3, 4, [3])])
def test_batches_are_of_their_size_but_for_the_last(rows: int, size: int, sizes: list[int]) -> None:
    batches = Batches(_rows(rows), size, 7)
    assert [len(batch.target) for batch in batches] == sizes
    assert len(batches) == len(sizes)


def test_each_row_comes_once_in_each_epoch() -> None:
    batches = Batches(_rows(103), 10, 7)
    for _ in range(3):
        assert sorted(_epoch(batches)) == list(range(103))


def test_the_parts_of_a_row_stay_together() -> None:
    for batch in Batches(_rows(103), 10, 7):
        codes, numbers = batch.inputs
        assert torch.equal(codes[:, 0].float(), batch.target)
        assert torch.equal(numbers[:, 0], batch.target)


def test_epochs_are_shuffled_differently_and_the_same_on_every_run() -> None:
    first, again, other = Batches(_rows(50), 7, 7), Batches(_rows(50), 7, 7), Batches(_rows(50), 7, 8)
    epochs = [_epoch(first) for _ in range(3)]
    assert [_epoch(again) for _ in range(3)] == epochs
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert _epoch(other) != epochs[0]


def test_the_order_depends_on_no_other_random_draws() -> None:
    torch.manual_seed(1)
    first = _epoch(Batches(_rows(50), 7, 7))
    torch.manual_seed(2)
    assert _epoch(Batches(_rows(50), 7, 7)) == first


def test_without_a_seed_the_order_is_kept() -> None:
    batches = Batches(_rows(10), 4)
    assert _epoch(batches) == _epoch(batches) == list(range(10))
