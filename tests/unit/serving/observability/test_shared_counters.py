import os
import subprocess
import sys
from pathlib import Path

import pytest

from merit.serving.observability.shared_counters import SharedCounters

GAUGES = range(1, 2)


def _ended(folder: Path, pid: int, *values: float) -> SharedCounters:
    """Return the counts of another worker, whose process lives."""
    found = SharedCounters(len(values), folder)
    for place, value in enumerate(values):
        found.values[place] = value
    assert found._file is not None
    found._file = found._file.replace(folder / f"{pid}.counts")
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "counts"
    made.mkdir()
    return made


def test_workers_that_end_at_once_leave_nothing(folder: Path) -> None:
    other = _ended(folder, os.getppid(), 1.0, 1.0)
    ours = SharedCounters(2, folder)
    other.close()
    assert folder.is_dir()
    ours.close()
    assert not folder.exists()


def test_what_a_worker_counted_that_has_ended_still_counts_but_not_what_it_had_in_hand(folder: Path) -> None:
    other = _ended(folder, os.getppid(), 3.0, 5.0)
    ours = SharedCounters(2, folder)
    ours.values[0] = 1.0
    assert ours.sum_workers(GAUGES) == [4.0, 5.0]
    other.close()
    assert ours.sum_workers(GAUGES) == [4.0, 0.0]


def test_a_worker_that_was_killed_keeps_nobody_from_tidying_up(folder: Path) -> None:
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    _ended(folder, killed.pid, 3.0, 5.0)
    ours = SharedCounters(2, folder)
    assert ours.sum_workers(GAUGES) == [3.0, 0.0]
    ours.close()
    assert not folder.exists()
