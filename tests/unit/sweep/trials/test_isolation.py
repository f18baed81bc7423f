import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from merit.sweep.trials import isolation

TRIED = """
import os, subprocess, sys
from pathlib import Path
import numpy as np
from merit.sweep.trials import isolation

isolation.kernel_has_landlock = {landlock}
print(isolation.Sandbox.from_paths([Path("closed").resolve(), Path("file.bin").resolve()]).enter())
ways = {{
    "open": lambda path: open(path, "rb").read(),
    "os.open": lambda path: os.open(path, os.O_RDONLY),
    "numpy": lambda path: np.fromfile(path, dtype=np.uint8),
    "child": lambda path: subprocess.run(["cat", path], check=True, capture_output=True),
    "link": lambda path: os.link(path, "mine"),
    "rename": lambda path: os.rename(path, "mine"),
}}
for name, way in ways.items():
    for path in ("closed/test.bin", "file.bin", "elsewhere"):
        try:
            way(path)
            print(name, path, "OPENED")
        except (PermissionError, subprocess.CalledProcessError) as error:
            print(name, path, type(error).__name__)
print(open("open.txt").read(), os.listdir("closed"))
Path("written").mkdir()
Path("written/a").write_text("a")
Path("open/b").write_text(Path("open/c").read_text())
Path("open/d").mkdir()
os.rename("open/b", "open/d/b")
print("works")
"""


def _tried(folder: Path, landlock: str) -> str:
    for name in ("closed", "open"):
        (folder / name).mkdir()
    for name in ("closed/test.bin", "file.bin", "open.txt", "open/c"):
        (folder / name).write_text("seen")
    (folder / "elsewhere").symlink_to(folder / "closed" / "test.bin")
    done = subprocess.run(
        [sys.executable, "-c", TRIED.format(landlock=landlock)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not isolation.kernel_has_landlock(), reason="this kernel has no Landlock")
def test_landlock_keeps_python_native_code_and_children_from_what_is_closed(tmp_path: Path) -> None:
    told = _tried(tmp_path, "isolation.kernel_has_landlock")
    assert "Landlock and an audit hook" in told
    assert "OPENED" not in told
    assert told.count("PermissionError") == 15
    assert told.count("CalledProcessError") == 3
    assert "seen ['test.bin']\nworks" in told


def test_the_audit_hook_alone_keeps_python_from_it(tmp_path: Path) -> None:
    told = _tried(tmp_path, "lambda: False")
    assert told.startswith("an audit hook\n")
    assert {line.split()[0] for line in told.splitlines() if "OPENED" in line} == {"child"}
    assert "works" in told


def test_the_audit_hook_looks_at_both_paths_of_what_opens_links_or_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks: list[Callable[[str, tuple[object, ...]], None]] = []
    monkeypatch.setattr(sys, "addaudithook", hooks.append)
    isolation._add_audit_hook([tmp_path / "data", tmp_path / "file"])
    (check_event,) = hooks
    for name in ("data", "data/test.parquet", "file", "model/../data/x"):
        path = str(tmp_path / name)
        for event, arguments in (("open", (path, "r", 0)), ("open", (os.fsencode(path),)), ("os.rename", ("a", path))):
            with pytest.raises(PermissionError, match="it may hold test rows"):
                check_event(event, arguments)
        check_event("os.listdir", (path,))
    for name in ("database", "file2", "."):
        check_event("open", (tmp_path / name, "r", 0))
    check_event("open", (3, "r", 0))


def test_what_is_not_there_needs_no_rules(tmp_path: Path) -> None:
    assert isolation.Sandbox.from_paths([tmp_path / "nothing"]) == isolation.Sandbox((), None)


def test_the_rules_name_all_that_lies_beside_and_nothing_closed(tmp_path: Path) -> None:
    for name in ("a", "a/x", "a/y", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("a")
    found = set(isolation._list_allowed_paths([tmp_path / "a" / "x"]))
    assert {str(tmp_path / "a" / "y"), str(tmp_path / "b")} <= found
    assert not {str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "x"), str(tmp_path / "link")} & found
    assert os.sep not in found
    nested = isolation._list_allowed_paths([tmp_path / "a", tmp_path / "a" / "x" / "inner"])
    assert not [path for path in nested if path.startswith(str(tmp_path / "a"))], "a folder in a closed one is open"
