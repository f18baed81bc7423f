"""The stage seeds: which seeds, how many at once, and what is left if one of them fails."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from merit import artifacts
from merit.cli import stages
from merit.cli.group import main
from merit.config import lock as locks
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.training import seeds

MakeLock = Callable[..., Lock]


def _make(make_lock: MakeLock, count: int, seed: int = 7, **trainer: object) -> Lock:
    def edit(values: dict[str, dict[str, object]]) -> None:
        values["evaluate"]["seeds"] = count
        values["trainer"].update(trainer)
        values["seed"] = seed  # type: ignore[assignment]

    return make_lock(edit)


def test_the_other_seeds_follow_from_the_first_and_are_not_those_of_a_neighbour(make_lock: MakeLock) -> None:
    found = seeds.list_seeds(_make(make_lock, 4))
    assert found == seeds.list_seeds(_make(make_lock, 4))
    assert found[:2] == seeds.list_seeds(_make(make_lock, 3))  # more seeds keep the former ones
    neighbours = [each for seed in (6, 8) for each in seeds.list_seeds(_make(make_lock, 4, seed))]
    assert len({7, *found, *neighbours}) == 10
    assert seeds.list_seeds(_make(make_lock, 1)) == []


@pytest.mark.parametrize(
    ("count", "trainer", "expected"),
    [
        (3, {"threads": 1}, 2),
        (9, {"threads": 1}, 4),
        (9, {"threads": 2}, 2),
        (9, {"threads": 1, "devices": 2}, 2),
        (9, {"threads": 8}, 1),
        (1, {"threads": 1}, 1),
        (9, {"threads": 1, "accelerator": "gpu"}, 1),
    ],
)
def test_as_many_seeds_are_trained_at_once_as_four_processors_allow_and_one_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, make_lock: MakeLock, count: int, trainer: dict[str, object], expected: int
) -> None:
    monkeypatch.setattr(seeds, "count_cores", lambda: 4)
    assert seeds.count_processes(_make(make_lock, count, **trainer)) == expected


@pytest.fixture
def run(workdir: Path, make_lock: MakeLock, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], int]:
    """Run the command for so many seeds, each of which writes one byte; return its exit code."""
    monkeypatch.setattr(stages, "_make_seed", _write_seed)

    def call(count: int) -> int:
        locks.write_lock(_make(make_lock, count))
        return CliRunner().invoke(main, ["seeds"]).exit_code

    return call


def _write_seed(lock: Lock, folder: Path, seed: int) -> None:
    if lock.evaluate.seeds == 4:
        raise MeritError("train: the loss is not a number")
    (folder / f"{seed}.onnx").write_bytes(b"1")


def test_the_stage_leaves_a_graph_for_each_seed_and_none_of_an_earlier_run(
    run: Callable[[int], int], make_lock: MakeLock
) -> None:
    for count in (3, 2, 1):
        assert run(count) == 0
        expected = sorted(f"{seed}.onnx" for seed in seeds.list_seeds(_make(make_lock, count)))
        assert sorted(path.name for path in artifacts.SEEDS.iterdir()) == expected


def test_a_seed_that_fails_fails_the_stage_and_changes_nothing(run: Callable[[int], int]) -> None:
    assert run(3) == 0
    before = sorted(artifacts.SEEDS.iterdir())
    assert run(4) != 0
    assert sorted(artifacts.SEEDS.iterdir()) == before
    assert [path.name for path in artifacts.SEEDS.parent.iterdir()] == [artifacts.SEEDS.name]
