import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from merit.config.components import targets
from merit.errors import MeritError


def _faults(place: str, **component: Any) -> list[tuple[str, str]]:
    component["_target_"] = component.pop("target")
    section, _, inner = place.partition(".")
    values = {section: {inner: component} if inner else component}
    return [(".".join(fault.key), fault.text) for fault in targets.find_faults(values)]


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "subprocess.Popen",
        "torch.load",
        "torch.hub.load",
        "merit.config.components.targets.build_component",
        "merit.data.sources",
        "merit.data.sourcesx.Csv",
        "torch.optimx.AdamW",
        "torch.optim",
        "torch.optim.",
        "torch.optim.x y",
        "torch.optim.__import__('os')",
        "torch.optim.AdamW ",
        " torch.optim.AdamW",
        "torch.optim.AdamW.",
        "torch.optim.AdamW\n",
        "torch.optim.\N{CYRILLIC CAPITAL LETTER A}damW",
        "torch.\N{CYRILLIC SMALL LETTER O}ptim.AdamW",
        "torch.optim.\N{FULLWIDTH LATIN CAPITAL LETTER A}damW",
        "torch.optim._multi_tensor.AdamW",
        "torch.optim.optimizer.__builtins__.eval",
        "merit.data.sources.__loader__.load_module",
        "merit_evil.networks.Net",
        "torchvision.models.ResNet",
        ".torch.optim.AdamW",
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
        targets.build_component({"_target_": "planted.Thing"})
    assert "planted" not in sys.modules


def test_checking_a_trusted_target_imports_nothing_of_torch() -> None:
    before = set(sys.modules)
    assert _faults("optimizer", target="torch.optim.AdamW", lr=0.1) == []
    assert {name for name in set(sys.modules) - before if name.startswith("torch")} == set()


def test_a_target_deep_inside_is_found() -> None:
    values = {"data": {"list": [{"inner": {"_target_": "os.system"}}]}, "name": "x"}
    (fault,) = targets.find_faults(values)
    assert fault.key == ("data", "list", "0", "inner", "_target_")


def test_a_misspelt_class_is_refused_with_what_was_meant() -> None:
    ((key, text),) = _faults("model", target="merit.models.networks.EmbedingMLP")
    assert key == "model._target_"
    assert text.startswith("'merit.models.networks' has no class 'EmbedingMLP'; did you mean 'EmbeddingMLP'? allowed")


def test_a_component_of_another_section_is_refused() -> None:
    ((key, text),) = _faults("model", target="torch.optim.AdamW", lr=0.1)
    assert (key, text) == (
        "model._target_",
        "found 'torch.optim.AdamW'; allowed here: merit.models.networks.*, reference.*",
    )


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
        ("model", "merit.models.networks.Linear", "cardinalities"),
        ("model", "merit.models.networks.Linear", "numbers"),
    ],
)
def test_an_argument_that_the_run_supplies_can_not_be_set(section: str, target: str, argument: str) -> None:
    assert _faults(section, target=target, **{argument: 1}) == [
        (f"{section}.{argument}", "can't be set here: the run supplies it; remove it")
    ]


def test_a_missing_argument_is_told_with_who_needs_it() -> None:
    assert _faults("model", target="merit.models.networks.MLP", hidden=[4]) == [
        ("model.dropout", "missing; 'merit.models.networks.MLP' needs it")
    ]


def test_a_source_needs_its_path() -> None:
    assert _faults("data.source", target="merit.data.sources.Csv") == [
        ("data.source.path", "missing; 'merit.data.sources.Csv' needs it")
    ]


@pytest.mark.parametrize("extra", ["_args_", "_partial_", "_recursive_", "_convert_"])
def test_hydras_own_instructions_are_refused(extra: str) -> None:
    said = "an instruction to Hydra, which merit doesn't follow; remove it"
    assert _faults("optimizer", target="torch.optim.AdamW", **{extra: True}) == [(f"optimizer.{extra}", said)]
    (fault,) = targets.find_faults({"evaluate": {"baseline": [{extra: 1}]}})
    assert (fault.key, fault.text) == (("evaluate", "baseline", "0", extra), said)


def test_a_trusted_class_is_built_with_its_arguments() -> None:
    source = targets.build_component({"_target_": "merit.data.sources.Csv", "path": "a.csv", "separator": ";"})
    assert source.path == Path("a.csv")
    assert source.dialect.separator == ";"


def test_what_the_run_supplies_goes_to_those_that_take_it() -> None:
    assert targets.build_component({"_target_": "merit.data.sources.Csv"}, path="b.csv", numbers=3).path == Path(
        "b.csv"
    )


def test_building_leaves_the_configuration_as_it_was() -> None:
    component = {"_target_": "merit.data.sources.Csv", "path": "a.csv"}
    targets.build_component(component)
    assert component == {"_target_": "merit.data.sources.Csv", "path": "a.csv"}


def test_an_untrusted_target_is_not_built() -> None:
    with pytest.raises(MeritError) as caught:
        targets.build_component({"_target_": "os.system", "command": "exit 1"})
    assert caught.value.exit_code == 2
    assert str(caught.value).startswith("_target_ 'os.system' is not trusted; allowed: merit.data.sources.*, ")


@pytest.mark.parametrize(
    ("target", "home"),
    [
        ("merit.data.sources.MeritError", "merit.errors"),
        ("torch.optim.lr_scheduler.Counter", "collections"),
        ("torch.optim.optimizer.OrderedDict", "collections"),
    ],
)
def test_what_a_trusted_module_only_borrows_is_refused_and_not_built(target: str, home: str) -> None:
    module, _, name = target.rpartition(".")
    said = f"'{module}' only imports '{name}' from '{home}', which is not trusted"
    section = "optimizer" if target.startswith("torch") else "data.source"
    assert _faults(section, target=target) == [(f"{section}._target_", said)]
    with pytest.raises(MeritError, match=said):
        targets.build_component({"_target_": target})


@pytest.mark.parametrize(
    "target",
    [
        "merit.data.sources.Cvs",
        "merit.data.sources.nowhere.Csv",
        "merit.data.sources.importlib",
        "merit.data.sources.importlib.util.find_spec",
        "merit.data.sources.TYPE_CHECKING",
        "torch.optim.optimizer.warnings",
        "torch.optim.swap_in_optimizer_params_and_state",
    ],
)
def test_what_is_no_class_there_can_not_be_built(target: str) -> None:
    module, _, name = target.rpartition(".")
    with pytest.raises(MeritError, match=f"'{module}' has no class '{name}'; "):
        targets.build_component({"_target_": target})


@pytest.mark.parametrize("spelling", ["elsewhere", "nowhere", "another name"])
def test_a_class_that_was_put_in_the_place_of_another_is_not_built(
    monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    planted = type("Csv", (), {"__module__": "merit.data.sources"})
    if spelling == "another name":
        planted.__qualname__ = "Parquet"
    else:
        planted.__module__ = {"elsewhere": "collections", "nowhere": "merit.data.sources.nowhere"}[spelling]
    monkeypatch.setattr("merit.data.sources.Csv", planted)
    with pytest.raises(MeritError, match=r"'merit\.data\.sources\.Csv' is not a class of a trusted module"):
        targets.build_component({"_target_": "merit.data.sources.Csv"})


def test_a_local_file_that_was_imported_as_a_library_is_refused(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("torch.py").write_text("raise SystemExit('imported')")
    spec = importlib.util.spec_from_file_location("torch", workdir / "torch.py")
    assert spec is not None
    monkeypatch.setitem(sys.modules, "torch", importlib.util.module_from_spec(spec))
    assert _faults("optimizer", target="torch.optim.AdamW") == [
        ("optimizer._target_", "'torch.py' has the name of the installed package 'torch'; rename it")
    ]


def test_a_function_in_the_place_of_a_class_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("merit.data.sources.Csv", print)
    with pytest.raises(MeritError, match="is not a class of a trusted module"):
        targets.build_component({"_target_": "merit.data.sources.Csv"})


@pytest.mark.parametrize(
    ("place", "key"),
    [
        ({"model": {"_target_": "merit.models.networks.Linear", "inner": {"_target_": "os.system"}}}, "model.inner"),
        ({"trainer": {"_target_": "torch.optim.SGD"}}, "trainer"),
        ({"data": {"_target_": "merit.data.sources.Csv"}}, "data"),
        ({"gate": [{"_target_": "torch.optim.SGD"}]}, "gate.0"),
        ({"_target_": "torch.optim.SGD"}, ""),
    ],
)
def test_a_component_where_none_is_asked_for_is_refused(place: dict[str, Any], key: str) -> None:
    found = {".".join(fault.key): fault.text for fault in targets.find_faults(place)}
    text = found[f"{key}._target_" if key else "_target_"]
    assert "no component can stand here; it can at data.source, model, optimizer" in text or "not trusted" in text


def test_arguments_that_a_class_refuses_are_told_in_one_line() -> None:
    with pytest.raises(MeritError, match=r"^_target_ 'merit\.data\.sources\.Csv' refuses its arguments: .*'pth'"):
        targets.build_component({"_target_": "merit.data.sources.Csv", "pth": "a.csv"})
