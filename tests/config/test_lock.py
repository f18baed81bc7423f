import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from merit.config import lock as locks
from merit.config.compose import compose
from merit.config.current_lock import read_current_lock
from merit.config.schema import Lock
from merit.errors import ConfigError, MeritError
from merit.expression import quote_name
from tests.conftest import ROOT

words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
leaves = st.one_of(words, st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), st.booleans())


def test_the_lock_begins_by_saying_that_it_is_generated(lock: Lock) -> None:
    text = locks.render_lock(lock)
    assert text.startswith("# Generated from conf/ by 'merit compose'. Don't edit: change conf/, then compose again.\n")
    assert text.splitlines()[1] == "name: tiny"


def test_rendering_is_stable(lock: Lock, make_lock: Callable[..., Lock]) -> None:
    assert (
        locks.render_lock(lock)
        == locks.render_lock(make_lock())
        == locks.render_lock(locks.parse_lock(locks.render_lock(lock), "x"))
    )


def test_the_sections_stand_in_the_order_of_the_schema(make_lock: Callable[..., Lock], values: dict[str, Any]) -> None:
    turned = Lock.model_validate(dict(reversed(values.items())))
    assert list(yaml.safe_load(locks.render_lock(turned))) == [name for name in Lock.model_fields if name != "merit"]


def test_the_real_lock_comes_back_as_it_was_written(conf: Path) -> None:
    lock = compose()
    assert locks.write_lock(lock)
    assert locks.read_lock() == lock


@settings(max_examples=40, deadline=None)
@given(arguments=st.dictionaries(words.filter(lambda w: w != "_target_"), leaves, max_size=5), sql=words)
def test_whatever_is_in_the_lock_comes_back(arguments: dict[str, Any], sql: str) -> None:
    target = _TEMPLATE.data.target.model_copy(update={"sql": quote_name(sql)})
    lock = _TEMPLATE.model_copy(
        update={
            "model": _TEMPLATE.model.model_validate({"_target_": "merit.models.networks.Linear", **arguments}),
            "data": _TEMPLATE.data.model_copy(update={"target": target}),
        }
    )
    assert locks.parse_lock(locks.render_lock(lock), "params.yaml") == lock


def test_writing_the_same_lock_again_writes_nothing_but_makes_it_newer(workdir: Path, lock: Lock) -> None:
    assert locks.write_lock(lock) is True
    before = Path("params.yaml").read_bytes()
    os.utime("params.yaml", (0, 0))
    assert locks.write_lock(lock) is False
    assert Path("params.yaml").read_bytes() == before
    assert Path("params.yaml").stat().st_mtime > 0


def test_a_lock_has_no_difference_from_itself(workdir: Path, lock: Lock) -> None:
    locks.write_lock(lock)
    assert locks.diff_lock(lock) == ""


def test_a_difference_shows_what_was_found_and_what_conf_says(workdir: Path, make_lock: Callable[..., Lock]) -> None:
    locks.write_lock(make_lock())
    lines = locks.diff_lock(make_lock(lambda v: v.update(seed=8))).splitlines()
    assert lines[:2] == ["--- params.yaml (found)", "+++ conf/ (composed)"]
    assert [line for line in lines[2:] if line[0] in "+-"] == ["-seed: 7", "+seed: 8"]


def test_without_a_lock_everything_differs(workdir: Path, lock: Lock) -> None:
    added = [line for line in locks.diff_lock(lock).splitlines() if line.startswith("+")]
    assert len(added) == len(locks.render_lock(lock).splitlines()) + 1


def test_a_missing_lock_is_told_with_the_command_that_writes_it(workdir: Path) -> None:
    with pytest.raises(MeritError) as caught:
        locks.read_lock()
    assert caught.value.exit_code == 2
    assert str(caught.value) == "params.yaml: not found; 'merit compose' writes it"


def test_a_lock_edited_by_hand_into_something_wrong_is_refused_with_every_fault(workdir: Path, lock: Lock) -> None:
    text = locks.render_lock(lock).replace("patience: 1", "patience: 0").replace("port: 3000", "prt: 3000")
    Path("params.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        locks.read_lock()
    assert caught.value.problems == [
        "params.yaml: trainer.patience: found 0; allowed: greater than 0; run 'merit compose'",
        "params.yaml: serve.port: missing; add it; run 'merit compose'",
        "params.yaml: serve.prt: unknown key; allowed: access_log, auth, host, log, max_bytes, max_concurrent, "
        "max_connections, max_rows, port, telemetry, timeout_seconds, workers; "
        "did you mean 'port'? run 'merit compose'",
    ]


def test_columns_edited_by_hand_are_refused_for_stages_know_them_by_their_hash(workdir: Path, lock: Lock) -> None:
    values = yaml.safe_load(locks.render_lock(lock))
    name = next(iter(values["data"]["columns"]))
    values["data"]["columns"][name]["description"] = "another"
    Path("params.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"columns_sha256 is the hash of other columns.*run 'merit compose'"):
        locks.read_lock()
    del values["data"]["columns_sha256"]
    assert (
        locks.parse_lock(yaml.safe_dump(values, sort_keys=False), "an older lock").data.columns_sha256
        != lock.data.columns_sha256
    )


def test_another_order_of_columns_is_another_hash(make_lock: Callable[..., Lock]) -> None:
    def turned(values: dict[str, Any]) -> None:
        values["data"]["columns"] = dict(reversed(values["data"]["columns"].items()))

    assert make_lock(turned).data.columns_sha256 != make_lock().data.columns_sha256


def test_no_stage_depends_on_every_column_by_itself() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    named = [param for stage in stages.values() for param in stage.get("params", ())]
    assert "data.columns_sha256" in named
    assert not {"data", "data.columns"} & set(named)


def test_a_lock_that_is_no_yaml_is_refused_in_one_line(workdir: Path) -> None:
    Path("params.yaml").write_text("name: [\n")
    with pytest.raises(ConfigError, match=r"^params\.yaml: not valid YAML: ") as caught:
        locks.read_lock()
    assert len(caught.value.problems) == 1
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "5"])
def test_a_lock_without_sections_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        locks.parse_lock(text, "params.yaml")
    assert caught.value.exit_code == 2
    assert re.search(r"params\.yaml: (: )?found .*; run 'merit compose'", str(caught.value))


def test_a_lock_that_is_not_utf_8_is_refused(workdir: Path, lock: Lock) -> None:
    Path("params.yaml").write_bytes(locks.render_lock(lock).encode() + b"# \xff\n")
    with pytest.raises(MeritError, match=r"params\.yaml"):
        locks.read_lock()


def _edit_serve(conf: Path, old: str, new: str) -> None:
    os.utime("params.yaml", (1, 1))
    file = conf / "serve/default.yaml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_a_lock_that_conf_has_left_behind_is_not_obeyed(conf: Path) -> None:
    locks.write_lock(compose())
    assert read_current_lock("serve") == locks.read_lock()
    for file in conf.rglob("*.yaml"):
        os.utime(file, (0, 0))
    (conf / "serve/more.yaml").write_text("# newer, but of no account\n", encoding="utf-8")
    _edit_serve(conf, "port: 3000", "port: 3001")
    with pytest.raises(MeritError) as caught:
        read_current_lock("serve")
    line = (conf / "serve/default.yaml").read_text(encoding="utf-8").splitlines().index("port: 3001") + 1
    assert str(caught.value) == (
        f"conf/serve/default.yaml:{line}: serve.port is 3001, but params.yaml says 3000; run 'merit compose'"
    )
    assert read_current_lock("stream") == locks.read_lock()


def test_a_conf_that_can_not_be_composed_keeps_the_old_lock_from_being_obeyed(conf: Path) -> None:
    locks.write_lock(compose())
    _edit_serve(conf, "port: 3000", "port: none")
    with pytest.raises(ConfigError, match=r"serve\.port"):
        read_current_lock("serve")


def test_faults_are_told_under_the_name_that_the_caller_gives() -> None:
    with pytest.raises(ConfigError) as caught:
        locks.parse_lock("name: x", "params.yaml at abc1234")
    assert all(problem.startswith("params.yaml at abc1234: ") for problem in caught.value.problems)


def _template() -> Lock:
    from tests import conftest

    return Lock.model_validate(conftest._values())


_TEMPLATE = _template()
