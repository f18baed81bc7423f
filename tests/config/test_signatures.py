import ast
import sys
from pathlib import Path
from typing import Any

import pytest

from merit.config.components import signatures


@pytest.mark.parametrize(
    ("annotation", "right", "wrong"),
    [
        ("int", [1, -1], [1.0, "1", True, None, [1]]),
        ("float", [1, 1.5], ["1", True, None]),
        ("bool", [True], [1, "true", None]),
        ("str", ["a"], [1, None, ["a"]]),
        ("Path", ["a"], [1]),
        ("int | None", [1, None], ["a"]),
        ("Optional[int]", [1, None], ["a"]),
        ("Union[int, str]", [1, "a"], [1.5, None]),
        ("'int'", [1], ["a"]),
        ("Sequence[int]", [[], [1, 2]], [1, [1.5], ["a"], {"a": 1}]),
        ("list[str] | None", [["a"], None], [[1], "a"]),
        ("tuple[float, float]", [[0.9, 1]], [[0.9], [0.9, 1, 2], 0.9, ["a", 1]]),
        ("tuple[int, ...]", [[], [1, 2, 3]], [[1.5]]),
        ("Literal['a', 1]", ["a", 1], ["b", True, None]),
        ("dict[str, int]", [{"a": 1}], [[1], 1]),
        ("float | Tensor", [0.1], ["a", None]),
        ("torch.Tensor | None", [None], [1]),
        ("Whatever[int]", [1, "a", None, [1]], []),
        ("int | Whatever", [1, "a"], []),
    ],
)
def test_an_annotation_lets_through_what_it_says(annotation: str, right: list[Any], wrong: list[Any]) -> None:
    schema = signatures.convert_annotation(ast.parse(annotation, mode="eval").body)
    assert [value for value in right if not signatures.matches_schema(value, schema)] == []
    assert [value for value in wrong if signatures.matches_schema(value, schema)] == []


def test_no_annotation_lets_everything_through() -> None:
    assert signatures.convert_annotation(None) == {}
    assert signatures.matches_schema(object(), {})


def test_what_is_still_open_is_taken_on_trust() -> None:
    assert signatures.matches_schema("${seed}", {"type": "integer"})
    assert signatures.matches_schema(["${seed}"], {"type": "array", "items": {"type": "integer"}})


def test_the_arguments_of_a_torch_class_are_read_without_importing_torch() -> None:
    before = set(sys.modules)
    arguments = signatures.read_arguments("torch.optim.AdamW") or {}
    assert (arguments["lr"].annotation, arguments["lr"].default) == ("float | Tensor", "0.001")
    assert arguments["params"].default is None
    told = signatures.read_argument_docs("torch.optim.AdamW")
    assert told["eps"] == "term added to the denominator to improve numerical stability (default: 1e-8)"
    assert told["maximize"].startswith("maximize the objective")
    assert not {name for name in set(sys.modules) - before if name.startswith("torch")}


def test_a_note_after_an_argument_is_not_part_of_its_words() -> None:
    assert "note" not in signatures.read_argument_docs("torch.optim.AdamW")["fused"]


def test_an_inherited_signature_is_read_too(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("pyproject.toml").write_text('[tool.merit]\ntrusted = ["mine", "reference"]\n')
    Path("mine").mkdir()
    Path("mine/__init__.py").touch()
    Path("mine/base.py").write_text("class Base:\n    def __init__(self, width: int = 3) -> None: ...\n")
    Path("mine/net.py").write_text("from mine.base import Base\n\n\nclass Net(Base):\n    pass\n")
    component = {"_target_": "mine.net.Net", "width": "wide"}
    (fault,) = signatures.find_faults({"model": component})
    assert (fault.key, fault.text) == (("model", "width"), "found 'wide'; allowed: int")
