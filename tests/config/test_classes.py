import importlib
import inspect
from pathlib import Path

import pytest

from merit.config.components import class_source
from merit.config.components.class_source import Signature
from merit.errors import MeritError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty package `home`, installed beside the others."""
    package = tmp_path / "installed" / "home"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.chdir(tmp_path)
    return package


@pytest.mark.parametrize(
    "target",
    [
        "torch.optim.AdamW",
        "torch.optim.SGD",
        "torch.optim.Adam",
        "torch.optim.adamw.AdamW",
        "merit.models.networks.Linear",
        "merit.models.networks.MLP",
        "merit.models.networks.EmbeddingMLP",
        "merit.data.sources.Csv",
        "merit.data.sources.Parquet",
        "reference.flights.Flights",
    ],
)
def test_a_signature_read_from_source_is_the_one_that_python_sees(target: str) -> None:
    module, _, name = target.rpartition(".")
    parameters = list(inspect.signature(getattr(importlib.import_module(module), name)).parameters.values())
    read = class_source.read_signature(target)
    assert read is not None
    named = [p for p in parameters if p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}]
    assert set(read.names) == {p.name for p in named}
    assert set(read.required) == {p.name for p in named if p.default is p.empty}
    assert read.takes_any == any(p.kind is p.VAR_KEYWORD for p in parameters)


def test_the_public_classes_of_a_module_are_listed() -> None:
    assert class_source.list_classes("merit.data.sources") == ["Source", "Csv", "Parquet", "Sql"]
    assert class_source.list_classes("merit.nowhere") == []


def test_a_class_without_init_has_its_parents_signature(home: Path) -> None:
    (home / "room.py").write_text(
        "import abc, typing\nfrom home import other as o\nimport home.other\nfrom elsewhere import Far\n"
        "class A:\n  def __init__(self, x, /, y=1, *, z, w=2, **rest): ...\n"
        "class B(A): ...\nclass C(object): ...\nclass D(B): ...\nclass Mixin: ...\n"
        "class E(Mixin, abc.ABC, D): ...\nclass F(typing.Generic[int]): ...\n"
        "class G(o.Other): ...\nclass H(home.other.Other): ...\nclass I(Far): ...\n"
    )
    (home / "other.py").write_text("class Other:\n  def __init__(self, o): ...\n")
    inherited = Signature(("x", "y", "z", "w"), ("x", "z"), takes_any=True)
    for name in "ABDE":
        assert class_source.read_signature(f"home.room.{name}") == inherited, name
    for name in "CF":
        assert class_source.read_signature(f"home.room.{name}") == class_source.NO_ARGUMENTS, name
    for name in "GH":
        assert class_source.read_signature(f"home.room.{name}") == Signature(("o",), ("o",), takes_any=False), name
    assert class_source.read_signature("home.room.I") == class_source.ANY_ARGUMENTS
    assert class_source.read_signature("home.room.Nothing") is None


@pytest.mark.parametrize(
    "line",
    ["from home.room import A", "from .room import A", "from . import room\nfrom .room import B as A",
     "from ..home.room import A"],
)  # fmt: skip
def test_a_class_is_found_through_imports(home: Path, line: str) -> None:
    (home / "room.py").write_text("class A: ...\nclass B: ...\n")
    (home / "inner").mkdir()
    (home / "__init__.py").write_text(line)
    (home / "inner" / "__init__.py").write_text("from ..room import A\nfrom .deep import C\n")
    (home / "inner" / "deep.py").write_text("from ..room import A as C\n")
    for name in ("home.A", "home.inner.A", "home.inner.C"):
        found = class_source.find_class(*name.rpartition(".")[::2])
        assert found is not None
        assert found[0] == "home.room"


def test_imports_that_go_in_a_circle_are_told(home: Path) -> None:
    (home / "a.py").write_text("from home.b import X")
    (home / "b.py").write_text("from home.a import X")
    with pytest.raises(MeritError, match="can't be found: the imports are circular"):
        class_source.read_signature("home.a.X")


def test_a_dataclass_takes_its_fields(home: Path) -> None:
    (home / "room.py").write_text(
        "import dataclasses\nfrom dataclasses import dataclass, field, KW_ONLY\nfrom typing import ClassVar\n"
        "@dataclass\nclass A:\n  a: int\n  b: int = 1\n  limit: ClassVar[int] = 3\n"
        "@dataclasses.dataclass(frozen=True)\nclass B(A):\n  _: KW_ONLY\n  c: list = field(default_factory=list)\n"
        "  d: int = field(repr=False)\n  e: int = field(init=False)\n  a: int = 2\n"
        "@other\nclass C:\n  a: int\n"
    )
    assert class_source.read_signature("home.room.A") == Signature(("a", "b"), ("a",), takes_any=False)
    assert class_source.read_signature("home.room.B") == Signature(("a", "b", "c", "d"), ("d",), takes_any=False)
    assert class_source.read_signature("home.room.C") == class_source.ANY_ARGUMENTS


@pytest.mark.parametrize(("text", "line"), [(b"x = 1\nclass A(:\n", ":2"), (b"x = '\x00'\n", "")])
def test_source_that_is_no_python_is_told_with_its_line(home: Path, text: bytes, line: str) -> None:
    (home / "room.py").write_bytes(text)
    with pytest.raises(MeritError, match=rf"home/room\.py{line}: not valid Python: "):
        class_source.read_signature("home.room.A")


def test_reading_a_module_imports_nothing(home: Path) -> None:
    (home / "__init__.py").write_text("raise SystemExit('imported')")
    (home / "room.py").write_text("raise SystemExit('imported')\nclass A: ...")
    assert class_source.read_signature("home.room.A") == class_source.NO_ARGUMENTS


def test_a_changed_file_is_read_again(home: Path) -> None:
    import os

    (home / "room.py").write_text("class A: ...")
    assert class_source.list_classes("home.room") == ["A"]
    (home / "room.py").write_text("class B: ...")
    os.utime(home / "room.py", ns=(1, 1))
    assert class_source.list_classes("home.room") == ["B"]
