from pathlib import Path

import pytest
import yaml

from merit import dvc
from merit.dvc import lockfile
from merit.errors import MeritError
from tests.support.planted_outputs import Planted

ABC, DEF = "abc".ljust(32, "0") + ".dir", "d" * 32
LOCK = f"""schema: '2.0'
stages:
  validate: {{cmd: merit validate}}
  package:
    cmd: merit package
    outs:
    - {{path: model, md5: {ABC}, size: 3}}
    - {{path: x, md5: {DEF}}}
"""


def test_a_dvc_lock_names_the_hash_of_every_output() -> None:
    assert lockfile.parse_outputs(LOCK, "dvc.lock") == {"model": ABC, "x": DEF}
    digits = "1" * 32
    assert lockfile.parse_outputs(LOCK.replace(DEF, digits), "dvc.lock")["x"] == digits


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a word",
        "[1]",
        "schema: '2.0'",
        "stages: [a]",
        "stages: {a: 3}",
        "stages: {a: {outs: [b]}}",
        "stages: {a: {outs: [{path: b}]}}",
        "stages: {a: {outs: [{path: [b], md5: c}]}}",
        "stages: [",
        "<<<<<<< HEAD\nstages: {}\n=======\n",
        "stages: " + "[" * 5000,
        LOCK.replace("path: x", "path: ../x"),
        LOCK.replace("path: x", "path: .venv/x"),
        LOCK.replace("path: x", "path: model"),
        LOCK.replace("path: x", "path: Model"),
        LOCK.replace("path: x", "path: model/x"),
        LOCK.replace(DEF, "../../../../etc/passwd"),
        LOCK.replace(DEF, f"{DEF}.dir.dir"),
        LOCK + f"  another: {{cmd: x, outs: [{{path: model, md5: {DEF}}}]}}\n",
    ],
)
def test_what_is_no_dvc_lock_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(MeritError) as caught:
        lockfile.parse_outputs(text, "dvc.lock at abc1234")
    assert str(caught.value).startswith("dvc.lock at abc1234: not a lock of DVC's (")
    assert str(caught.value).endswith("; restore it from Git")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_aliases_that_mean_a_million_outputs_are_refused() -> None:
    outs = ", ".join(f"{{path: x{number}, md5: {DEF}}}" for number in range(1000))
    stages = "".join(f"  s{number}: {{outs: *many}}\n" for number in range(1000))
    with pytest.raises(MeritError, match="it can't be read as stages with outputs"):
        lockfile.parse_outputs(f"stages:\n  first: {{outs: &many [{outs}]}}\n{stages}", "dvc.lock")


def test_the_lock_here_is_a_plain_file(planted: Planted) -> None:
    assert dvc.read_outputs() is None
    Path("other").write_text(LOCK)
    Path("dvc.lock").symlink_to("other")
    with pytest.raises(MeritError, match=r"dvc\.lock: must be a plain file"):
        dvc.read_outputs()
    Path("dvc.lock").unlink()
    Path("dvc.lock").write_text(LOCK)
    assert dvc.read_outputs() == yaml.safe_load(f"{{model: {ABC}, x: {DEF}}}")
