import errno
import os
import shutil
from pathlib import Path

import pytest

from merit import artifacts
from merit.errors import MeritError
from merit.sweep.trials import prepare


def test_a_full_disk_is_told_with_the_file_that_it_has_no_room_for(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(source))

    for file in [artifacts.FEATURES_REPORT, *map(artifacts.part_path, prepare.PARTS)]:
        artifacts.write_text(file, "x")
    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(MeritError, match=r"^sweeps/one/features/features\.json: can't be written: No space left"):
        prepare._link_features(Path("sweeps/one/features"))
