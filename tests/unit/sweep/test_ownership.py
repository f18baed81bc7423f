import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from merit.errors import MeritError
from merit.sweep import ownership
from tests.support.file_locks import is_locked

OWN = """
import sys
from pathlib import Path
from merit.sweep.ownership import Owner
owner = Owner(Path("."))
print(owner.name, owner.worker_index, flush=True)
sys.stdin.read()
"""


def test_an_owner_is_there_until_its_process_is_gone_however_it_goes(tmp_path: Path) -> None:
    mine = ownership.Owner(tmp_path)
    assert mine.worker_index == 0
    with subprocess.Popen(
        [sys.executable, "-c", OWN], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        name, place = other.stdout.readline().split()
        assert place == "1"
        assert ownership.is_active(tmp_path, name)
        other.kill()
    assert not ownership.is_active(tmp_path, name)
    mine.withdraw()
    assert not ownership.is_active(tmp_path, mine.name)
    assert not ownership.is_active(tmp_path, None)


def test_an_owner_on_another_machine_is_there_for_a_minute_after_its_last_heartbeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ownership.OWNERS_FOLDER / "elsewhere.7"
    file.parent.mkdir()
    file.touch()
    os.utime(file, (1000, 1000))
    for now, is_active in ((1000.0, True), (1059.9, True), (1060.0, False), (5000.0, False)):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        assert ownership.is_active(tmp_path, "elsewhere.7") is is_active


def test_a_heartbeat_is_seen_by_other_machines_and_none_is_missed_for_a_folder_that_is_gone(tmp_path: Path) -> None:
    owner = ownership.Owner(tmp_path)
    file = tmp_path / ownership.OWNERS_FOLDER / owner.name
    os.utime(file, (0, 0))
    owner.send_heartbeat()
    assert file.stat().st_mtime > 1e9
    owner.withdraw()
    owner.send_heartbeat()
    assert not file.exists()


def test_claims_are_made_by_one_process_at_a_time(tmp_path: Path) -> None:
    file = tmp_path / ownership.CLAIM_LOCK_FILE
    with ownership.lock_claims(tmp_path):
        assert is_locked(file)
    assert not is_locked(file)


def test_a_sweeps_folder_that_was_removed_is_not_created_by_its_lock(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), ownership.lock_claims(tmp_path / "gone"):
        pass
    assert not (tmp_path / "gone").exists()


def test_a_process_works_on_a_sweep_once(tmp_path: Path) -> None:
    owner = ownership.Owner(tmp_path)
    assert is_locked(tmp_path / ownership.OWNERS_FOLDER / owner.name)
    with pytest.raises(MeritError, match="this process works on it already"):
        ownership.Owner(tmp_path)
    owner.withdraw()
    ownership.Owner(tmp_path).withdraw()
