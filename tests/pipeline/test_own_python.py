"""The metric and the check of docs/how-to/own-python.md, as they stand there, in a project that has run before."""

import json
import re

import pytest
from tests.support.small_project import ROOT

DOC = (ROOT / "docs/how-to/own-python.md").read_text(encoding="utf-8")


def _section(title):
    return re.search(rf"## {title}\n(.*?)(?=\n## |\Z)", DOC, re.S)[1]


def _block(title, language):
    return re.search(rf"```{language}\n(.*?)```", _section(title), re.S)[1]


@pytest.fixture
def own(project):
    package = project.folder / "mymodels"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "metrics.py").write_text(_block("A metric", "python"), encoding="utf-8")
    (package / "checks.py").write_text(_block("A gate check", "python"), encoding="utf-8")
    (project.folder / "pyproject.toml").write_text(
        '[tool.merit]\ntrusted = ["mymodels", "reference"]\n', encoding="utf-8"
    )
    experiment = "# @package _global_\n" + _block("A metric", "yaml")
    checks = _block("A gate check", "yaml").removeprefix("gate:\n")
    folder = project.folder / "conf/experiment"
    (folder / "mine.yaml").write_text(experiment + checks, encoding="utf-8")
    return project


def test_they_are_in_the_report_and_decide(own):
    done = own.merit("run", "experiment=mine", "gate.floors.recall=0.0")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(own.read("reports/gate.json"))
    recall = report["metrics"]["candidate"]["recall"]
    assert recall["low"] <= recall["value"] <= recall["high"]
    assert report["better"]["recall"] == "higher"
    assert {"alike", "floor: recall"} <= {check["name"] for check in report["checks"]}
    assert "recall" in own.read("reports/gate.md")

    done = own.merit("run", "experiment=mine", "gate.checks.alike.most=0.0", "gate.floors.recall=1.0")
    assert done.returncode == 1
    verdicts = {check["name"]: check["verdict"] for check in json.loads(own.read("reports/gate.json"))["checks"]}
    assert (verdicts["alike"], verdicts["floor: recall"]) == ("fail", "fail")


def test_an_error_of_theirs_shows_their_lines_and_fails_closed(own):
    checks = own.folder / "mymodels/checks.py"
    checks.write_text(checks.read_text().replace("gap = means.max()", "gap = None"), encoding="utf-8")
    done = own.merit("run", "experiment=mine", "gate.floors.recall=0.0")
    assert done.returncode == 2
    assert "mymodels.checks.AlikeAcross.__call__" in done.stderr
    assert "gap = None - means.min()" in done.stderr
    assert "merit/gate" not in done.stderr
