import os
import subprocess
import sys
from pathlib import Path

import pytest

from merit.serving.observability import shared_counters
from merit.serving.observability.shared_counters import SharedCounters, create_shared_folder

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


def test_the_counts_of_another_release_are_not_added(folder: Path) -> None:
    _ended(folder, os.getppid(), 3.0, 5.0, 7.0)
    ours = SharedCounters(2, folder)
    assert ours.sum_workers(GAUGES) == [0.0, 0.0]
    ours.close()


def test_a_process_alone_counts_in_memory_and_leaves_no_file(workdir: Path) -> None:
    alone = SharedCounters(2)
    alone.values[1] += 1
    assert alone.sum_workers(GAUGES) == [0.0, 1.0]
    alone.close()
    assert list(workdir.iterdir()) == []


def test_workers_of_one_parent_share_a_folder_that_only_they_can_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_counters, "MEMORY_FOLDER", tmp_path)
    folder = create_shared_folder()
    assert folder is not None
    started = Path(f"/proc/{os.getppid()}/stat").read_text().split()[-31]  # in clock ticks since boot
    assert folder == tmp_path / f"merit-{os.getuid()}-{os.getppid()}-{started}"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert create_shared_folder() == folder
    for mode in (0o701, 0o710):
        folder.chmod(mode)
        assert create_shared_folder() is None
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    assert create_shared_folder() is None


def test_a_folder_of_another_user_and_one_that_can_not_be_created_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_counters, "find_memory_folder", lambda: tmp_path / "missing")
    assert create_shared_folder() is None
    monkeypatch.setattr(shared_counters, "find_memory_folder", lambda: tmp_path)
    monkeypatch.setattr(shared_counters.os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    assert create_shared_folder() is None
