import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from merit.errors import MeritError
from merit.packaging import bento_files
from tests.conftest import ROOT

BY_COMMAND = tuple(f"src/merit/serving/{each}" for each in ("mlmodel.py", "server/replica.py", "server/serve.py"))
"""What a Bento has and never runs: it is for commands, and for MLflow."""


def _put(root: Path) -> None:
    root.mkdir()
    (root / "bentofile.yaml").write_text("include: [model/**, 'code/**']\npython: {requirements_txt: needs.lock}\n")
    (root / "needs.lock").write_text("numpy==2\n")
    (root / "code").mkdir()
    (root / "code/serve.py").write_text("")
    (root / "code/inner").mkdir()
    (root / "code/inner/rows.py").write_text("")


def test_a_bento_of_another_place_and_package_holds_that_package_alone(
    tmp_path: Path, make_package: Callable[..., Path]
) -> None:
    root = tmp_path / "root"
    _put(root)
    (root / "model").mkdir()
    (root / "model/left.txt").write_text("what another run left")
    (root / "code/__pycache__").mkdir()
    (root / "code/__pycache__/serve.pyc").write_text("")
    package = make_package(tmp_path / "package")
    bento_files.assemble_files(tmp_path / "made", root=root, package=package)
    made = {path.relative_to(tmp_path / "made").as_posix() for path in (tmp_path / "made").rglob("*") if path.is_file()}
    packaged = {f"model/{path.name}" for path in package.iterdir()}
    assert made == packaged | {"bentofile.yaml", "needs.lock", "code/serve.py", "code/inner/rows.py"}


def test_a_file_that_is_named_and_not_there_is_told(tmp_path: Path) -> None:
    root = tmp_path / "root"
    _put(root)
    (root / "needs.lock").unlink()
    with pytest.raises(MeritError, match=r"bentofile\.yaml: names needs\.lock, which is not there"):
        bento_files.assemble_files(tmp_path / "made", root=root)


@pytest.mark.parametrize(
    "text",
    [
        "include: [",
        "include: [a]",
        "include: a\npython: {requirements_txt: b}",
        "include: [1]\npython: {requirements_txt: b}",
        "include: [a]\npython: {requirements_txt: 5}",
        "- a",
    ],
)
def test_a_bentofile_that_names_no_files_is_told_with_what_it_must_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "bentofile.yaml").write_text(text)
    with pytest.raises(MeritError, match=r"^bentofile\.yaml: must name what the Bento is made of under include and"):
        bento_files.list_files(tmp_path)


def test_a_bento_holds_every_module_that_its_own_import() -> None:
    patterns = [each for each in yaml.safe_load((ROOT / "bentofile.yaml").read_text())["include"] if each[:4] == "src/"]
    files = {path for each in patterns for path in ROOT.glob(each.replace("/**", "/**/*")) if path.suffix == ".py"}
    modules = {_module(path) for path in files}
    serving = [path for path in files if not path.relative_to(ROOT).as_posix().startswith(BY_COMMAND)]
    serving.remove(ROOT / "src/merit/__init__.py")  # it imports a name on its first use, and serving uses none
    assert {each for path in serving for each in _imported(path)} - modules == set()


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")


def _imported(path: Path) -> Iterator[str]:
    """Yield the modules of merit's that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "merit":
            yield from (f"merit.{each.name}" for each in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("merit."):
            yield str(node.module)
