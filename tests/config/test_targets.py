import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

import pytest

from merit.config import targets
from merit.errors import MeritError


def _faults(section: str, **component: Any) -> list[tuple[str, str]]:
    component["_target_"] = component.pop("target")
    return [(".".join(fault.key), fault.text) for fault in targets.faults({section: component})]


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "subprocess.Popen",
        "torch.load",
        "torch.hub.load",
        "merit.config.targets.build",
        "merit.data.sources",
        "merit.data.sourcesx.Flights",
        "torch.optimx.AdamW",
        "torch.optim",
        "torch.optim.",
        "torch.optim.x y",
        "torch.optim.__import__('os')",
        "torch.optim..AdamW",
        "../torch.optim.AdamW",
        "",
    ],
)
def test_an_untrusted_target_is_refused(target: str) -> None:
    ((key, text),) = _faults("model", target=target)
    assert key == "model._target_"
    assert f"found {target!r}, which is not trusted; allowed: merit.data.sources.*" in text


@pytest.mark.parametrize("target", [5, None, ["torch.optim.AdamW"], {"a": 1}])
def test_a_target_that_is_no_name_is_refused(target: object) -> None:
    ((key, text),) = _faults("model", target=target)
    assert key == "model._target_"
    assert "not trusted" in text


def test_an_untrusted_target_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "planted.py").write_text("raise SystemExit('imported')\nclass Thing: ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    ((_, text),) = _faults("model", target="planted.Thing")
    assert "not trusted" in text
    with pytest.raises(MeritError, match="not trusted"):
        targets.build({"_target_": "planted.Thing"})
    assert "planted" not in sys.modules


def test_checking_a_trusted_target_imports_nothing_of_torch() -> None:
    before = set(sys.modules)
    assert _faults("optimizer", target="torch.optim.AdamW", lr=0.1) == []
    assert {name for name in set(sys.modules) - before if name.startswith("torch")} == set()


def test_a_target_deep_inside_is_found() -> None:
    values = {"data": {"list": [{"inner": {"_target_": "os.system"}}]}, "name": "x"}
    (fault,) = targets.faults(values)
    assert fault.key == ("data", "list", "0", "inner", "_target_")


def test_a_misspelt_class_is_refused_with_what_was_meant() -> None:
    ((key, text),) = _faults("model", target="merit.training.networks.EmbedingMLP")
    assert key == "model._target_"
    assert text.startswith("'merit.training.networks' has no class 'EmbedingMLP'; did you mean 'EmbeddingMLP'? allowed")


def test_a_component_of_another_section_is_refused() -> None:
    ((key, text),) = _faults("model", target="torch.optim.AdamW", lr=0.1)
    assert (key, text) == ("model._target_", "found 'torch.optim.AdamW'; allowed here: merit.training.networks.*")


@pytest.mark.parametrize("target", ["torch.optim.adamw.AdamWW", "torch.optim.nowhere.Adam", "torch.optim.adamw.NULL"])
def test_a_class_that_is_not_there_is_refused(target: str) -> None:
    ((_, text),) = _faults("optimizer", target=target)
    assert "has no class" in text


def test_a_misspelt_argument_is_refused_with_what_was_meant() -> None:
    ((key, text),) = _faults("optimizer", target="torch.optim.AdamW", learning_rate=0.1, weight_decy=0.1)[1:]
    assert key == "optimizer.weight_decy"
    assert text.startswith("unknown key; did you mean 'weight_decay'? allowed: ")
    assert "params" not in text


@pytest.mark.parametrize(
    ("section", "target", "argument"),
    [
        ("optimizer", "torch.optim.AdamW", "params"),
        ("model", "merit.training.networks.Linear", "cardinalities"),
        ("model", "merit.training.networks.Linear", "numbers"),
    ],
)
def test_an_argument_that_the_run_supplies_can_not_be_set(section: str, target: str, argument: str) -> None:
    assert _faults(section, target=target, **{argument: 1}) == [
        (f"{section}.{argument}", "can't be set here: the run supplies it; remove it")
    ]


def test_a_missing_argument_is_told_with_who_needs_it() -> None:
    assert _faults("model", target="merit.training.networks.MLP", hidden=[4]) == [
        ("model.dropout", "missing; 'merit.training.networks.MLP' needs it")
    ]


def test_a_source_needs_its_path() -> None:
    assert _faults("data", target="merit.data.sources.Csv") == [
        ("data.path", "missing; 'merit.data.sources.Csv' needs it")
    ]


@pytest.mark.parametrize("extra", ["_args_", "_partial_", "_recursive_", "_convert_"])
def test_hydras_own_instructions_are_no_arguments(extra: str) -> None:
    ((key, text),) = _faults("optimizer", target="torch.optim.AdamW", **{extra: True})
    assert key == f"optimizer.{extra}"
    assert "unknown key" in text


@pytest.mark.parametrize(
    "target",
    [
        "torch.optim.AdamW",
        "torch.optim.SGD",
        "torch.optim.Adam",
        "torch.optim.adamw.AdamW",
        "merit.training.networks.Linear",
        "merit.training.networks.MLP",
        "merit.training.networks.EmbeddingMLP",
        "merit.data.sources.Csv",
        "merit.data.sources.Parquet",
        "merit.data.sources.Flights",
    ],
)
def test_a_signature_read_from_source_is_the_one_that_python_sees(target: str) -> None:
    module, _, name = target.rpartition(".")
    parameters = list(inspect.signature(getattr(importlib.import_module(module), name)).parameters.values())
    read = targets.signature_of(target)
    assert read is not None
    named = [p for p in parameters if p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}]
    assert set(read.names) == {p.name for p in named}
    assert set(read.required) == {p.name for p in named if p.default is p.empty}
    assert read.takes_any == any(p.kind is p.VAR_KEYWORD for p in parameters)


def test_the_public_classes_of_a_module_are_listed() -> None:
    assert targets.classes_in("merit.data.sources") == ["Source", "Csv", "Parquet", "Digits", "Flights"]
    assert targets.classes_in("merit.nowhere") == []


def test_a_class_without_init_has_its_parents_signature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "__init__.py").touch()
    (tmp_path / "home" / "room.py").write_text(
        "class A:\n  def __init__(self, x, /, y=1, *, z, w=2, **rest): ...\n"
        "class B(A): ...\nclass C(object): ...\nclass D(B): ...\n"
    )
    (tmp_path / "home" / "door.py").write_text("import os\nfrom home.room import D as E\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    inherited = targets.Signature(("x", "y", "z", "w"), ("x", "z"), takes_any=True)
    assert targets.signature_of("home.room.A") == targets.signature_of("home.room.B") == inherited
    assert targets.signature_of("home.door.E") == inherited
    assert targets.signature_of("home.room.C") == targets.Signature((), (), takes_any=False)
    assert targets.signature_of("home.room.Nothing") is None
    targets._source.cache_clear()


def test_a_trusted_class_is_built_with_its_arguments() -> None:
    source = targets.build({"_target_": "merit.data.sources.Csv", "path": "a.csv", "separator": ";"})
    assert source.path == Path("a.csv")
    assert source.separator == ";"


def test_what_the_run_supplies_is_given_to_those_that_take_it() -> None:
    built = targets.build({"_target_": "merit.data.sources.Csv"}, path="b.csv", outputs=3)
    assert built.path == Path("b.csv")


def test_building_leaves_the_configuration_as_it_was() -> None:
    component = {"_target_": "merit.data.sources.Csv", "path": "a.csv"}
    targets.build(component)
    assert component == {"_target_": "merit.data.sources.Csv", "path": "a.csv"}


def test_an_untrusted_target_is_not_built() -> None:
    with pytest.raises(MeritError) as caught:
        targets.build({"_target_": "os.system", "command": "exit 1"})
    assert caught.value.exit_code == 2
    assert str(caught.value).startswith("_target_ 'os.system' is not trusted; allowed: merit.data.sources.*, ")


@pytest.mark.parametrize(
    "target",
    [
        "merit.data.sources.Path",
        "merit.data.sources.importlib",
        "merit.data.sources.MeritError",
        "merit.data.sources.TYPE_CHECKING",
        "torch.optim.lr_scheduler.Counter",
    ],
)
def test_what_a_trusted_module_only_borrows_is_not_built(target: str) -> None:
    with pytest.raises(MeritError, match=f"_target_ '{target}' is not a class of a trusted module; allowed: merit"):
        targets.build({"_target_": target})


@pytest.mark.parametrize("target", ["merit.data.sources.Cvs", "merit.data.sources.nowhere.Csv"])
def test_what_is_not_there_can_not_be_built(target: str) -> None:
    with pytest.raises(MeritError, match=f"_target_ '{target}' can't be found: "):
        targets.build({"_target_": target})


def test_arguments_that_a_class_refuses_are_told_in_one_line() -> None:
    with pytest.raises(MeritError, match=r"^_target_ 'merit\.data\.sources\.Csv' refuses its arguments: .*'pth'"):
        targets.build({"_target_": "merit.data.sources.Csv", "pth": "a.csv"})
