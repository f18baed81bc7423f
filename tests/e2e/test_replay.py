"""The gate asks the real Bento: built of the package, served on loopback, and stopped."""

import json
import subprocess

import pytest
from tests.small_project import Project


@pytest.fixture
def judged(project: Project) -> Project:
    """A finished project whose gate replays 60 rows."""
    small = project.folder / "conf/size/small.yaml"
    small.write_text(small.read_text(encoding="utf-8").replace("replay: null", "replay: {rows: 60}"), encoding="utf-8")
    assert project.merit("compose").returncode == 0
    return project


def _replay(project: Project) -> dict:
    done = project.merit("gate")
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    checks = {check["name"]: check for check in json.loads(project.read("reports/gate.json"))["checks"]}
    return checks["replay"]


def _left_behind(project: Project) -> list[str]:
    shown = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in shown.splitlines() if "merit-bento-" in line]


def test_the_built_bento_answers_as_the_package_and_is_asked_once(judged: Project) -> None:
    first = _replay(judged)
    assert first["verdict"] == "pass", first
    assert first["found"].endswith("on 60 rows over HTTP")
    assert not _left_behind(judged)
    assert _replay(judged)["found"].endswith("on 60 rows over HTTP, asked before")


def test_serving_code_that_answers_otherwise_is_refused(judged: Project) -> None:
    _replay(judged)
    endpoint = judged.folder / "src/merit/serving/endpoint.py"
    text = endpoint.read_text(encoding="utf-8")
    assert text.count("found = self._package.predict(columns)") == 1
    endpoint.write_text(
        text.replace("found = self._package.predict(columns)", "found = self._package.predict(columns) * 0.99"),
        encoding="utf-8",
    )
    assert _replay(judged)["verdict"] == "fail"
    assert json.loads(judged.read("reports/gate.json"))["verdict"] == "fail"


def test_serving_code_that_does_not_come_up_is_inconclusive(judged: Project) -> None:
    with (judged.folder / "src/merit/serving/rows.py").open("a", encoding="utf-8") as handle:
        handle.write("raise RuntimeError('planted')\n")
    found = _replay(judged)
    assert found["verdict"] == "inconclusive"
    assert "planted" in found["found"]
    assert not _left_behind(judged)
