import importlib.metadata
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from merit import artifacts
from merit.gate.checks.model import replay, replay_key
from merit.gate.checks.model.source_rows import ReplayRows
from merit.gate.evidence import Evidence
from merit.gate.verdict import Check, Verdict
from merit.packaging.bento_files import assemble_files
from merit.scoring.package import extract_columns

Gated = Callable[..., Evidence]
Stand = Callable[..., None]

BENTOML = """#!{python}
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
own = sorted(name for name in os.environ if name.startswith(("MERIT_", "BENTOML_")))
assert own == ["BENTOML_DO_NOT_TRACK", "BENTOML_HOME"], own
open("{notes}", "a").write(f"{{sys.argv[1]}} {{os.getpid()}}\\n")
if sys.argv[1] == "build":
    assert os.path.isfile("bentofile.yaml") and os.path.isfile("model/manifest.json")
    print("what it says"); sys.exit({build})
if {serve}:
    sys.exit({serve})
if sum(line.startswith("serve") for line in open("{notes}")) <= {taken}:
    sys.exit("zmq.error.ZMQError: Address already in use")
class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers["content-type"].endswith("json"):
            rows = json.loads(body)
        else:
            import polars
            rows = polars.read_parquet(body).to_dicts()
        {answer}
        self.send_response({status}); self.end_headers(); self.wfile.write(json.dumps(told).encode())
    def log_message(self, *args): pass
HTTPServer(("127.0.0.1", int(sys.argv[-1])), Answer).serve_forever()
"""
TABLE = "told = {{'predictions': [table[str(row['weight'])] for row in rows], 'version': {version!r}}}"


@pytest.fixture
def asked(whole: Evidence, gated: Gated, workdir: Path, make_package: Callable[..., Path]) -> Evidence:
    """Evidence with the files that a Bento is made of, and a rule to replay 40 rows."""
    make_package(artifacts.PACKAGE)
    Path("bentofile.yaml").write_text("include: [model/**]\npython: {requirements_txt: needs.lock}\n")
    Path("needs.lock").write_text("numpy==1\nnothing-such==2\n")
    artifacts.write_table(artifacts.TEST_ROWS, whole.rows)
    return gated(whole, replay={"rows": 40})


@pytest.fixture
def stand_in(asked: Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    """Put a program in the place of BentoML; it answers what the package does unless told otherwise."""

    def put(
        *,
        build: int = 0,
        serve: int = 0,
        taken: int = 0,
        answer: str | None = None,
        status: int = 200,
        off: float = 0.0,
    ) -> None:
        known = asked.rows["weight"].to_list()
        table = {str(weight): float(value) + off for weight, value in zip(known, asked.candidate, strict=True)}
        if answer is None:
            Path("table.json").write_text(json.dumps(table))
            answer = f"table = json.load(open({str(Path('table.json').absolute())!r})); " + TABLE.format(
                version=asked.package.digest
            )
        text = BENTOML.format(
            python=sys.executable,
            notes=tmp_path / "notes",
            build=build,
            serve=serve,
            taken=taken,
            answer=answer,
            status=status,
        )
        program = tmp_path / "bin" / "bentoml"
        program.parent.mkdir(exist_ok=True)
        program.write_text(text)
        program.chmod(0o755)
        for name in ("MERIT_LOG_LEVEL", "BENTOML_CONFIG"):  # settings of another service on this machine
            monkeypatch.setenv(name, "warning")
        monkeypatch.setattr(replay, "BENTOML_PROGRAM", program)
        monkeypatch.setattr(replay, "predict_in_batch", lambda _, rows, __: batch(rows))

    def batch(rows: ReplayRows) -> NDArray[Any]:
        return asked.package.predict(extract_columns(rows.table, asked.package.graph.inputs))

    return put


def _check(evidence: Evidence) -> Check:
    with replay.build_checks(evidence)["replay"] as check:
        return check(evidence)


def _notes(tmp_path: Path) -> list[list[str]]:
    path = tmp_path / "notes"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def test_without_a_rule_no_bento_is_asked(evidence: Evidence) -> None:
    assert not replay.build_checks(evidence)


def test_a_bento_that_answers_as_the_package_passes(asked: Evidence, stand_in: Stand, tmp_path: Path) -> None:
    stand_in()
    found = _check(asked)
    assert (found.name, found.verdict) == ("replay", Verdict.PASS), found
    assert found.found.endswith("on 40 rows over HTTP and in a batch")
    for _, pid in _notes(tmp_path):
        assert not _is_running(int(pid))


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_was_measured_is_not_measured_again_until_something_changes(
    asked: Evidence, stand_in: Stand, tmp_path: Path
) -> None:
    stand_in()
    _check(asked)
    again = _check(asked)
    assert again.verdict is Verdict.PASS
    assert again.found.endswith("over HTTP and in a batch, measured before")
    assert len(_notes(tmp_path)) == 2
    Path("needs.lock").write_text("numpy==2\n")
    assert not _check(asked).found.endswith("measured before")
    assert len(_notes(tmp_path)) == 4


def test_a_bento_that_answers_otherwise_fails(asked: Evidence, stand_in: Stand) -> None:
    stand_in(off=0.01)
    found = _check(asked)
    assert found.verdict is Verdict.FAIL
    assert found.found.startswith("1.0e-02 on 40 rows")


@pytest.mark.parametrize(
    ("answer", "status", "told"),
    [
        ("told = {'error': 'unknown column'}", 400, "/predict answers 400"),
        ("told = {'predictions': [0.5] * len(rows), 'version': 'v1'}", 200, "which is not this package"),
        ("told = {'predictions': ['a'] * len(rows), 'version': ''}", 200, "answers no predictions"),
        ("told = [1]", 200, "answers no predictions"),
    ],
)
def test_a_bento_that_gives_no_answers_of_this_package_fails(
    asked: Evidence, stand_in: Stand, answer: str, status: int, told: str
) -> None:
    stand_in(answer=answer, status=status)
    found = _check(asked)
    assert found.verdict is Verdict.FAIL
    assert told in found.found
    assert not replay.CACHE_FILE.exists()


def test_answers_that_are_no_numbers_never_pass_and_are_not_kept(asked: Evidence, stand_in: Stand) -> None:
    stand_in(answer=f"told = {{'predictions': [None] * len(rows), 'version': {asked.package.digest!r}}}")
    assert _check(asked).verdict is Verdict.FAIL
    assert not replay.CACHE_FILE.exists()


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"build": 3}, "'bentoml build' failed: what it says"),
        ({"serve": 4}, "'bentoml serve' ended with exit code 4"),
    ],
)
def test_a_bento_that_does_not_come_up_is_inconclusive_with_the_reason(
    asked: Evidence, stand_in: Stand, how: dict[str, int], told: str
) -> None:
    stand_in(**how)
    found = _check(asked)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert told in found.found
    assert "gate.replay: null" in found.advice


@pytest.mark.parametrize(("taken", "verdict"), [(2, Verdict.PASS), (3, Verdict.INCONCLUSIVE)])
def test_a_bento_whose_port_another_process_took_is_started_again_and_not_for_ever(
    asked: Evidence, stand_in: Stand, tmp_path: Path, taken: int, verdict: Verdict
) -> None:
    stand_in(taken=taken)
    found = _check(asked)
    assert found.verdict is verdict, found
    assert [name for name, _ in _notes(tmp_path)] == ["build", "serve", "serve", "serve"]


def test_without_bentoml_it_is_inconclusive(asked: Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "BENTOML_PROGRAM", Path("no/such/program"))
    assert _check(asked).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("text", [None, "include: 3", "[", "include: [model/**]", "include: [1]\npython: {}"])
def test_without_a_bentofile_it_is_inconclusive(asked: Evidence, text: str | None) -> None:
    Path("bentofile.yaml").unlink()
    if text is not None:
        Path("bentofile.yaml").write_text(text)
    found = _check(asked)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "bentofile.yaml: must name what the Bento is made of" in found.found


def test_one_that_takes_too_long_is_given_up_and_stopped(
    asked: Evidence, stand_in: Stand, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(replay, "READY_TIMEOUT_S", 1.0)
    stand_in()
    monkeypatch.setattr(replay, "_is_ready", lambda *_: False)
    found = _check(asked)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "it does not come up within 1 seconds" in found.found
    assert not any(_is_running(int(pid)) for _, pid in _notes(tmp_path))


def test_the_watchdog_outlives_the_process_group_of_the_gate(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "WATCHDOG", workdir / "watchdog.py")
    replay.WATCHDOG.write_text("import os, sys\nopen('groups', 'w').write(f'{os.getpgrp()} {sys.stdin.readline()}')\n")
    with replay._start_watchdog(workdir) as register:
        register("7\n")
    group, noted = Path("groups").read_text().split()
    assert (int(group) != os.getpgrp(), noted) == (True, "7")


def test_when_another_check_breaks_the_bento_is_stopped_at_once(
    asked: Evidence, stand_in: Stand, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stand_in()
    monkeypatch.setattr(replay, "_is_ready", lambda *_: False)
    with pytest.raises(ZeroDivisionError), replay.build_checks(asked)["replay"]:
        raise ZeroDivisionError
    assert not any(_is_running(int(pid)) for _, pid in _notes(tmp_path))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"key": 1}'])
def test_a_broken_note_of_the_last_measurement_is_no_measurement(asked: Evidence, stand_in: Stand, text: str) -> None:
    stand_in()
    artifacts.write_text(replay.CACHE_FILE, text)
    assert _check(asked).found.endswith("over HTTP and in a batch")


def test_the_key_covers_the_package_its_code_the_requirements_the_rows_and_how_many(
    asked: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [replay_key.compute_cache_key(40), replay_key.compute_cache_key(41)]
    for path in (artifacts.PACKAGE / artifacts.GRAPH, Path("bentofile.yaml"), Path("needs.lock"), artifacts.TEST_ROWS):
        content = path.read_bytes()
        path.write_bytes(content + b"\n")
        keys.append(replay_key.compute_cache_key(40))
        path.write_bytes(content)
    (artifacts.PACKAGE / "more.txt").touch()
    keys.append(replay_key.compute_cache_key(40))
    for content in ("1", "2"):
        artifacts.write_text(artifacts.SOURCE_ROWS, content)
        keys.append(replay_key.compute_cache_key(40))
    monkeypatch.setattr(importlib.metadata, "version", lambda name: f"{name} of another environment")
    keys.append(replay_key.compute_cache_key(40))
    assert len(set(keys)) == len(keys)


def test_the_versions_of_what_is_required_and_installed_count() -> None:
    requirements = (
        "numpy==1 \\\n    --hash=sha256:0\n# scipy==1\npolars[a]==2 ; python_version < '3'\nnothing-such==3\n"
    )
    installed = {name: importlib.metadata.version(name) for name in ("numpy", "polars")}
    assert replay_key._find_versions(requirements) == installed


def test_a_project_with_merit_installed_takes_the_serving_code_from_there(asked: Evidence, tmp_path: Path) -> None:
    Path("bentofile.yaml").write_text(
        "include: [model/**, src/merit/scoring/package.py, 'src/merit/serving/**']\n"
        "python: {requirements_txt: needs.lock}\n"
    )
    assemble_files(tmp_path / "made")
    assert (tmp_path / "made/src/merit/serving/bento.py").is_file()
    assert (tmp_path / "made/src/merit/scoring/package.py").is_file()
    assert (tmp_path / "made/model/model.onnx").is_file()
    assert not list((tmp_path / "made").rglob("__pycache__"))


def test_rows_are_spread_over_all_test_rows(asked: Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(
        replay, "_query_bento", lambda found, chosen, _: seen.append(chosen) or [found.candidate[chosen]]
    )
    assert _check(asked).verdict is Verdict.PASS
    (chosen,) = seen
    assert (chosen[0], chosen[-1], len(chosen)) == (0, len(asked.candidate) - 1, 40)
    assert np.diff(chosen).max() <= 16
