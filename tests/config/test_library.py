import shutil
from pathlib import Path

import pytest
import yaml

from merit.config import lock as locks
from merit.config import merit_code, problems
from merit.config.compose import compose
from merit.config.schema import Lock
from merit.config.schema.data import Data
from merit.errors import ConfigError
from tests.conftest import ROOT

STAGES = set(yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"])


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """merit's code and files as a wheel lays them out; library works on this copy."""
    package = tmp_path / "lib" / "merit"
    shutil.copytree(merit_code.PACKAGE_ROOT, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "project/files").mkdir()
    shutil.copy(ROOT / "dvc.yaml", package / "project/files")
    monkeypatch.setattr(merit_code, "PACKAGE_ROOT", package)
    return package


def test_in_a_checkout_the_files_are_those_at_its_root() -> None:
    assert merit_code.find_template_root() == ROOT


def test_an_installed_merit_has_its_files_with_it(installed: Path) -> None:
    assert merit_code.find_template_root() == installed / "project/files"


def test_each_stage_has_the_hash_of_its_code(installed: Path) -> None:
    assert set(merit_code.hash_code_by_stage()) == STAGES


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("data/sources.py", {"ingest"}),
        ("models/networks.py", {"train", "seeds", "evaluate", "package"}),
        ("models/folded.py", {"train", "seeds", "package"}),
        ("features/fit.py", {"features"}),
        ("evaluation/baseline.py", {"baseline"}),
        ("gate/judge.py", set()),
        ("cli/stages.py", set()),
    ],
)
def test_changed_code_changes_the_hash_of_just_the_stages_that_it_makes(
    installed: Path, file: str, stages: set[str]
) -> None:
    before = merit_code.hash_code_by_stage()
    with (installed / file).open("a", encoding="utf-8") as handle:
        handle.write("# changed\n")
    after = merit_code.hash_code_by_stage()
    assert {name for name in STAGES if after[name] != before[name]} == stages


def test_what_python_has_compiled_is_no_code(installed: Path) -> None:
    before = merit_code.hash_code_by_stage()
    (installed / "features/__pycache__").mkdir()
    (installed / "features/__pycache__/fit.cpython-311.pyc").write_bytes(b"x")
    assert merit_code.hash_code_by_stage() == before


def test_the_lock_of_a_project_without_merits_source_records_the_code(conf: Path) -> None:
    assert compose().merit == merit_code.hash_code_by_stage()


def test_the_lock_of_merits_own_repository_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    lock = compose()
    assert lock.merit is None
    assert "merit" not in yaml.safe_load(locks.render_lock(lock))


@pytest.mark.parametrize("key", ["merit", "code"])
def test_conf_cannot_set_what_compose_records(conf: Path, key: str) -> None:
    with (conf / "config.yaml").open("a", encoding="utf-8") as handle:
        handle.write(f"{key}: {{train: mine}}\n")
    line = len((conf / "config.yaml").read_text(encoding="utf-8").splitlines())
    with pytest.raises(ConfigError) as caught:
        compose()
    assert str(caught.value) == (
        f"conf/config.yaml:{line}: {key}: can't be set: 'merit compose' fills it in; remove it"
    )
    assert key in problems.COMPOSED_KEYS
    assert problems.COMPOSED_KEYS.issubset({*Lock.model_fields, *Data.model_fields})


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("", "1: form: found 1, an older format version than 3; run 'merit upgrade'"),
        ("form: 1", "4: form: found 1, an older format version than 3; run 'merit upgrade'"),
        ("form: 4", "4: form: found 4, a newer format version than 3; install a newer merit"),
        ("form: two", "4: form: found 'two'; allowed: 3; correct it"),
        ("form: true", "4: form: found True; allowed: 3; correct it"),
    ],
)
def test_another_form_of_conf_is_refused_with_what_to_do(conf: Path, form: str, message: str) -> None:
    config = conf / "config.yaml"
    lines = config.read_text(encoding="utf-8").splitlines()
    config.write_text("\n".join(form if line.startswith("form: 3") else line for line in lines), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        compose()
    assert str(caught.value) == f"conf/config.yaml:{message}"
