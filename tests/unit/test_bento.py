import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from merit import bento
from merit.errors import MeritError
from merit.serving import keys
from tests.conftest import ROOT


def _put(root: Path) -> None:
    root.mkdir()
    (root / "bentofile.yaml").write_text("include: [model/**, 'code/**']\npython: {requirements_txt: needs.lock}\n")
    (root / "needs.lock").write_text("numpy==2\n")
    (root / "code").mkdir()
    (root / "code/serve.py").write_text("")


def test_a_bento_of_another_place_and_package_holds_that_package_alone(
    tmp_path: Path, make_package: Callable[..., Path]
) -> None:
    root = tmp_path / "root"
    _put(root)
    (root / "model").mkdir()
    (root / "model/left.txt").write_text("what another run left")
    package = make_package(tmp_path / "package")
    bento.assemble(tmp_path / "made", root=root, package=package)
    made = {path.relative_to(tmp_path / "made").as_posix() for path in (tmp_path / "made").rglob("*") if path.is_file()}
    packaged = {f"model/{path.name}" for path in package.iterdir()}
    assert made == packaged | {"bentofile.yaml", "needs.lock", "code/serve.py"}


def test_a_file_that_is_named_and_not_there_is_told(tmp_path: Path) -> None:
    root = tmp_path / "root"
    _put(root)
    (root / "needs.lock").unlink()
    with pytest.raises(MeritError, match=r"bentofile\.yaml: names needs\.lock, which is not there"):
        bento.assemble(tmp_path / "made", root=root)


def test_a_bento_holds_what_reads_a_file_of_keys(tmp_path: Path, make_package: Callable[..., Path]) -> None:
    bento.assemble(tmp_path / "made", root=ROOT, package=make_package(tmp_path / "package"))
    text = keys.text([keys.made("test", expires=None, quota=None, roles=("predict",))[1]])
    code = f"from merit.serving import keys; print(len(keys.read({text!r}, 'keys.yaml')))"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "made/src")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "1\n", done.stderr
