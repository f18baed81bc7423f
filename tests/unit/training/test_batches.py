import pytest
import torch

from merit.models.build import Examples
from merit.training import batches as module
from merit.training.batches import Batches


def _rows(count: int) -> Examples:
    numbers = torch.arange(count, dtype=torch.float32)
    return Examples((torch.arange(count)[:, None], numbers[:, None]), numbers)


def _epoch(batches: Batches) -> list[int]:
    return [int(row) for block in batches for row in block.target]


@pytest.mark.parametrize(("rows", "size", "sizes"), [(10, 2, [4, 4, 2]), (8, 2, [4, 4]), (3, 2, [3])])
def test_blocks_are_of_their_batches_but_for_the_last(rows: int, size: int, sizes: list[int]) -> None:
    batches = Batches(_rows(rows), size, 7, batches_per_block=2)
    assert [block.count for block in batches] == sizes
    assert len(batches) == len(sizes)


@pytest.mark.parametrize(("rows", "steps"), [(10, 5), (9, 5), (1, 1)])
def test_an_epoch_has_as_many_steps_as_it_has_batches(rows: int, steps: int) -> None:
    assert Batches(_rows(rows), 2, 7, batches_per_block=3).steps == steps


@pytest.mark.parametrize("chunk", [1, 4])
def test_each_row_comes_once_in_each_epoch(chunk: int) -> None:
    batches = Batches(_rows(103), 10, 7, batches_per_block=2, chunk_rows=chunk)
    for _ in range(3):
        assert sorted(_epoch(batches)) == list(range(103))
    assert len(list(batches)) == len(batches)


@pytest.mark.parametrize("chunk", [1, 4])
def test_the_parts_of_a_row_stay_together(chunk: int) -> None:
    for block in Batches(_rows(103), 10, 7, batches_per_block=2, chunk_rows=chunk):
        codes, numbers = block.inputs
        assert torch.equal(codes[:, 0].float(), block.target)
        assert torch.equal(numbers[:, 0], block.target)


@pytest.mark.parametrize("chunk", [1, 4])
def test_epochs_are_shuffled_differently_and_the_same_on_every_run(chunk: int) -> None:
    first, again, other = (Batches(_rows(50), 4, seed, batches_per_block=2, chunk_rows=chunk) for seed in (7, 7, 8))
    epochs = [_epoch(first) for _ in range(3)]
    assert [_epoch(again) for _ in range(3)] == epochs
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert _epoch(other) != epochs[0]


def test_adjacent_rows_of_a_file_are_read_together_and_yet_mixed() -> None:
    block, *_ = Batches(_rows(400), 20, 7, batches_per_block=2, chunk_rows=4)
    rows = [int(row) for row in block.target]
    chunks = {row // 4 for row in rows}
    assert len(rows) == 40
    assert len(chunks) == 10  # each of them whole
    assert max(chunks) - min(chunks) > 40  # from all over the file
    assert rows != sorted(rows)
    assert [row // 4 for row in rows[:4]] != [rows[0] // 4] * 4


def test_the_order_depends_on_no_other_random_draws() -> None:
    torch.manual_seed(1)
    first = _epoch(Batches(_rows(50), 7, 7))
    torch.manual_seed(2)
    assert _epoch(Batches(_rows(50), 7, 7)) == first


def test_without_a_seed_the_order_is_kept() -> None:
    batches = Batches(_rows(10), 4)
    assert _epoch(batches) == _epoch(batches) == list(range(10))


def test_an_epoch_goes_on_after_the_blocks_that_are_done() -> None:
    first = Batches(_rows(50), 4, 7, batches_per_block=2)
    _epoch(first)
    whole, state = [block.target.tolist() for block in first], first.generator_state
    again = Batches(_rows(50), 4, 7, batches_per_block=2)
    again.resume_epoch(state, skip=3)
    assert [block.target.tolist() for block in again] == [[], [], [], *whole[3:]]
    assert _epoch(again) == _epoch(first)


@pytest.mark.parametrize("chunk", [1, 4])
def test_processes_share_the_rows_of_each_block_and_take_as_many_steps(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = []
    for rank in range(2):
        monkeypatch.setattr(module, "_read_rank", lambda rank=rank: (rank, 2))
        shares.append(
            [block.target.tolist() for block in Batches(_rows(51), 4, 7, batches_per_block=2, chunk_rows=chunk)]
        )
    assert [len(block) for block in shares[0]] == [len(block) for block in shares[1]]
    rows = [row for share in shares for block in share for row in block]
    assert len(rows) == len(set(rows)) == 50


def test_rows_that_keep_their_order_are_given_to_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_read_rank", lambda: (1, 2))
    assert _epoch(Batches(_rows(10), 4)) == list(range(10))
