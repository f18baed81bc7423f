import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from jsonschema import Draft7Validator

from merit.cli import main
from merit.config.compose import compose
from merit.config.composition import yaml_files
from merit.config.documentation import json_schemas
from merit.gate.report import schema as form
from tests.conftest import ROOT

COMMITTED = {file.name: file.read_text(encoding="utf-8") for file in (ROOT / "conf/.schema").glob("*.json")}
MADE = {name.removesuffix(".json"): json.loads(text) for name, text in COMMITTED.items() if name != form.SCHEMA_FILE}
"""What the code makes, if the first test below passes: to make it takes seconds."""
SHIPPED = sorted(file.relative_to(ROOT / "conf").as_posix() for file in (ROOT / "conf").rglob("*.yaml"))


def _complaints(schema: str, values: Any) -> list[str]:
    return [error.message for error in Draft7Validator(MADE[schema]).iter_errors(values)]


def _values(file: Path) -> dict[str, Any]:
    read = yaml_files.read_file(file)
    assert read.problems == []
    return {**read.root.to_plain(), **({"defaults": read.defaults.to_plain()} if read.defaults.value else {})}


def _schema_of(name: str) -> str:
    group = name.partition("/")[0]
    return group if group in MADE else "config"


@pytest.fixture(scope="module")
def built() -> dict[str, Any]:
    """The schemas as a process of its own builds them, and whether it imported torch."""
    code = (
        "import json, sys\nfrom merit.config.documentation import json_schemas\n"
        "print(json.dumps({'texts': json_schemas.build_schemas(), 'torch': 'torch' in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


@pytest.fixture
def texts(built: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The schemas, which are not built again in this test."""
    monkeypatch.setattr(json_schemas, "build_schemas", lambda: built["texts"])
    return dict(built["texts"])


def test_the_schemas_in_conf_are_what_the_code_says(texts: dict[str, str]) -> None:
    assert json_schemas.find_stale(ROOT / "conf" / ".schema", {form.SCHEMA_FILE: form.render_schema()}) == []
    assert {**texts, form.SCHEMA_FILE: form.render_schema()} == COMMITTED


@pytest.mark.parametrize("name", sorted(MADE))
def test_a_schema_is_one(name: str) -> None:
    Draft7Validator.check_schema(MADE[name])


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_file_names_its_schema_and_fits_it(name: str) -> None:
    file = ROOT / "conf" / name
    # The package of an experiment has to come first: Hydra reads no comment before it.
    (line,) = re.findall(r"^# yaml-language-server: \$schema=(.*)$", file.read_text(encoding="utf-8"), re.M)
    named = (file.parent / line).resolve()
    assert named == ROOT / "conf" / ".schema" / f"{_schema_of(name)}.json"
    assert _complaints(_schema_of(name), _values(file)) == []


@pytest.mark.parametrize(
    "name", [name for name in SHIPPED if _values(ROOT / "conf" / name).keys() - {"defaults"} and name != "config.yaml"]
)
def test_a_misspelt_key_in_a_shipped_file_is_a_complaint(name: str) -> None:
    values = _values(ROOT / "conf" / name)
    key = [key for key in values if key != "defaults"][-1]
    values[f"{key}x"] = values.pop(key)
    # A file of one key, the class, lacks that key instead.
    assert any(
        f"'{key}x'" in complaint or f"'{key}' is a required" in complaint
        for complaint in _complaints(_schema_of(name), values)
    )


@pytest.mark.parametrize(
    ("schema", "values"),
    [
        ("trainer", {"defaults": ["cpu"], "batch_size": 8}),
        ("model", {"defaults": ["mlp", "_self_"], "hidden": [8]}),
        ("optimizer", {"_target_": "torch.optim.SGD", "lr": 0.1, "momentum": 0.9}),
        ("optimizer", {"_target_": "mymodels.optimizers.Own", "speed": 3}),
        ("optimizer", {"_target_": "torch.optim.AdamW", "betas": [0.9, 0.95], "lr": "${seed}"}),
        ("experiment", {"defaults": [{"override /model": "mlp"}], "trainer": {"max_epochs": 3}}),
        ("experiment", {"data": {"split": {"test_until": "2013-10-30"}, "columns": {"temp": {"min": -50}}}}),
        ("experiment", {"optimizer": {"lr": 0.1}, "seed": "${trainer.threads}", "gate": {"baseline": {"margin": 0.2}}}),
        ("tracking", {"uri": "???", "experiment": "${name}"}),
    ],
)
def test_what_is_right_in_a_part_is_no_complaint(schema: str, values: dict[str, Any]) -> None:
    assert _complaints(schema, values) == []


@pytest.mark.parametrize(
    ("schema", "values", "words"),
    [
        ("trainer", {"batch_size": 8}, "'max_epochs' is a required property"),
        ("trainer", {"defaults": ["cpu"], "batch_size": 0}, "0 is not valid under any of the given schemas"),
        ("model", {"_target_": "merit.models.networks.MLP", "hidden": [8]}, "'dropout' is a required property"),
        ("model", {"_target_": "merit.models.networks.MPL"}, "'merit.models.networks.MPL' is not valid under any"),
        ("model", {"_target_": "merit.models.networks.Linear", "numbers": 3}, "'numbers' was unexpected"),
        ("optimizer", {"_target_": "torch.optim.AdamW", "lr": "fast"}, "'fast' is not valid under any"),
        ("optimizer", {"_target_": "torch.optim.AdamW", "betas": [1]}, "[1] is not valid under any"),
        ("experiment", {"trainer": {"max_epoch": 3}}, "'max_epoch' was unexpected"),
        ("experiment", {"gate": {"champion": [{"metric": "brier"}]}}, "[{'metric': 'brier'}] is not valid under any"),
        ("data", {"fingerprint": "sha256:0"}, "'fingerprint' was unexpected"),
    ],
)
def test_what_is_wrong_is_a_complaint(schema: str, values: dict[str, Any], words: str) -> None:
    assert any(words in complaint for complaint in _complaints(schema, values)), _complaints(schema, values)


def test_a_target_completes_to_the_classes_of_its_place_with_their_words() -> None:
    names = MADE["optimizer"]["properties"]["_target_"]["anyOf"][0]["enum"]
    assert {"torch.optim.AdamW", "torch.optim.SGD"} <= set(names)
    assert not {"torch.optim.Optimizer", "merit.models.networks.MLP"} & set(names)
    each_class = [each for each in MADE["optimizer"]["allOf"] if "then" in each]
    of_class = {each["if"]["properties"]["_target_"]["const"]: each["then"] for each in each_class}
    assert "params" not in of_class["torch.optim.AdamW"]["properties"]
    assert of_class["torch.optim.AdamW"]["properties"]["lr"]["description"].startswith("learning rate (default: 1e-3)")
    assert MADE["trainer"]["properties"]["patience"]["description"].startswith("Epochs without an improved")


@pytest.mark.usefixtures("texts")
def test_the_command_writes_once_and_its_check_tells_what_is_stale(workdir: Path) -> None:
    run = CliRunner()
    assert run.invoke(main, ["schema", "--check"]).exit_code == 1
    assert run.invoke(main, ["schema"]).stdout.startswith("conf/.schema/ written: config.json, data.json, ")
    assert run.invoke(main, ["schema"]).stdout == "conf/.schema/ is up to date\n"
    Path("conf/.schema/gone.json").write_text("{}")
    Path("conf/.schema/gate.json").write_text("{}")
    stale = run.invoke(main, ["schema", "--check"])
    assert (stale.exit_code, stale.stdout) == (1, "conf/.schema/ is stale: gate.json, gone.json; run 'merit schema'\n")
    assert run.invoke(main, ["schema"]).exit_code == 0
    assert not Path("conf/.schema/gone.json").exists()


def test_schemas_do_not_change_what_is_composed(conf: Path) -> None:
    before = compose()
    (conf / ".schema" / "odd.yaml").write_text("oops: [")
    assert compose() == before


def test_making_schemas_imports_no_torch(built: dict[str, Any]) -> None:
    assert not built["torch"]
