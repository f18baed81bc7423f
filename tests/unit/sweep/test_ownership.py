import subprocess
import sys
from pathlib import Path

from merit.sweep import ownership

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


def test_an_owner_on_another_machine_is_there_while_it_gives_signs(tmp_path: Path) -> None:
    import os

    file = tmp_path / ownership.OWNERS_FOLDER / "elsewhere.7"
    file.parent.mkdir()
    file.touch()
    assert ownership.is_active(tmp_path, "elsewhere.7")
    os.utime(file, (0, 0))
    assert not ownership.is_active(tmp_path, "elsewhere.7")
