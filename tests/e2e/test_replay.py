"""The gate asks the real Bento: built of the package, served on loopback, and stopped."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.small_project import Project


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
    assert first["found"].endswith("on 60 rows over HTTP and in a batch")
    assert not _left_behind(judged)
    assert _replay(judged)["found"].endswith("on 60 rows over HTTP and in a batch, measured before")


def test_serving_code_that_answers_otherwise_is_refused(judged: Project) -> None:
    _replay(judged)
    answers = judged.folder / "src/merit/serving/app/served_model.py"
    text = answers.read_text(encoding="utf-8")
    assert text.count("return self.package.predict(columns)") == 1
    answers.write_text(
        text.replace("return self.package.predict(columns)", "return self.package.predict(columns) * 0.99"),
        encoding="utf-8",
    )
    assert _replay(judged)["verdict"] == "fail"
    assert json.loads(judged.read("reports/gate.json"))["verdict"] == "fail"


def test_serving_code_that_does_not_come_up_is_inconclusive(judged: Project) -> None:
    with (judged.folder / "src/merit/serving/app/row_decoder.py").open("a", encoding="utf-8") as handle:
        handle.write("raise RuntimeError('planted')\n")
    found = _replay(judged)
    assert found["verdict"] == "inconclusive"
    assert "planted" in found["found"]
    assert not _left_behind(judged)


def test_a_gate_that_is_killed_leaves_no_server_and_no_folder_behind(tmp_path: Path, eventually) -> None:
    program, folder = tmp_path / "bentoml", tmp_path / "merit-bento-x"
    deaf = f"#!/bin/sh\ntrap '' TERM\necho $$ > {tmp_path}/pid\nwhile :; do sleep 1; done\n"
    program.write_text(deaf, encoding="utf-8")
    program.chmod(0o755)
    (folder / "project").mkdir(parents=True)
    code = (
        "import sys, time; from pathlib import Path; from merit.gate.checks.model import replay\n"
        "replay.BENTOML_PROGRAM = Path(sys.argv[1])\n"
        "with replay._run_bentoml(Path(sys.argv[2]), 'project', 'serve'): print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, program, folder], stdout=subprocess.PIPE) as gate:
        assert gate.stdout is not None
        gate.stdout.readline()
        eventually((tmp_path / "pid").is_file)
        gate.send_signal(signal.SIGKILL)
    server = int((tmp_path / "pid").read_text(encoding="utf-8"))
    eventually(lambda: not _is_running(server))
    eventually(lambda: not folder.exists())


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Whoever should have waited for it is gone; where nobody takes its place, it stays a name without a process.
    return "Z" not in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
