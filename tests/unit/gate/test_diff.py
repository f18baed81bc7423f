import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from click.testing import CliRunner

from merit import artifacts
from merit.cli import main
from merit.config.schema import Lock
from merit.dvc import cache
from merit.errors import MeritError
from merit.gate import diff

Git = Callable[..., str]
Commit = Callable[..., str]


STALE = diff._describe_staleness


@pytest.fixture(autouse=True)
def _composed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take what is locked for what conf/ says, unless a test asks for more."""
    monkeypatch.setattr(diff, "_describe_staleness", lambda: None)
    cache._find_configured_folder.cache_clear()


def _cached(content: bytes, suffix: str = "") -> str:
    """Put a file where DVC's cache would have it; return its hash."""
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest() + suffix
    place = cache.DEFAULT_CACHE / md5[:2] / md5[2:]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    return md5


def _lock(rows: int = 3, metric: float = 0.7, graph: bytes = b"graph", **columns: Any) -> None:
    """Write dvc.lock of a run, and what it made into the cache."""
    table = pl.DataFrame({"a": list(range(rows)), **columns})
    table.write_parquet("t.parquet")
    files = {"manifest.json": b"{}" + graph, "model.onnx": graph}
    listed = [{"relpath": name, "md5": _cached(content)} for name, content in files.items()]
    metrics = {"rows": rows, "candidate": {"roc_auc": {"value": metric, "low": 0, "high": 1}}}
    outs = {
        artifacts.RAW: _cached(Path("t.parquet").read_bytes()),
        artifacts.METRICS: _cached(json.dumps(metrics).encode()),
        artifacts.PACKAGE: _cached(json.dumps(listed).encode(), ".dir"),
    }
    stages = {path.stem: {"outs": [{"path": path.as_posix(), "md5": md5}]} for path, md5 in outs.items()}
    artifacts.DVC_LOCK.write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


def _params(lock: Lock, **changed: Any) -> None:
    artifacts.LOCK.write_text(
        yaml.safe_dump({**lock.model_dump(mode="json", by_alias=True), **changed}, sort_keys=False)
    )


@pytest.fixture
def committed(git_repo: Git, lock: Lock) -> Git:
    """A repository on main, whose locks are of a finished run."""
    _lock()
    _params(lock)
    git_repo("add", "params.yaml", "dvc.lock")
    git_repo("commit", "--quiet", "-m", "x")
    return git_repo


def _run(*args: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, ["diff", *args])
    return done.exit_code, done.stdout, done.stderr


def test_without_a_difference_the_exit_code_is_0(committed: Git) -> None:
    code, out, _ = _run()
    assert code == 0
    assert out.splitlines() == [
        f"against: {committed('rev-parse', 'HEAD')[:7]}",
        "config:  the same",
        "data:    the same",
        "metrics: the same",
        "package: the same",
    ]


def test_every_part_that_differs_is_told_and_the_exit_code_is_1(committed: Git, lock: Lock) -> None:
    _lock(rows=5, metric=0.75, graph=b"wider graph", b=["x"] * 5)
    gate = lock.gate.model_dump(mode="json") | {"size_mb": 99.0}
    _params(lock, seed=8, gate=gate)
    code, out, _ = _run()
    assert code == 1
    lines = out.splitlines()
    assert lines[1:] == [
        "config:  2 keys differ",
        "  seed: 7 → 8",
        "  gate.size_mb: 1.0 → 99.0  (weaker: the gate lets more through)",
        "data:    3 rows, 1 columns → 5 rows, 2 columns",
        "  added: b",
        "metrics: of the test rows of each, not paired; 'merit gate' compares them on the same rows",
        "  roc_auc: 0.7000 → 0.7500  +0.0500",
        f"package: {_digest(b'{}graph')}, 12 bytes → {_digest(b'{}wider graph')}, 24 bytes",
        "  changed: manifest.json, model.onnx",
    ]


def _digest(manifest: bytes) -> str:
    return ("sha256:" + hashlib.sha256(manifest).hexdigest())[:19]


@pytest.mark.parametrize("part", ["data", "metrics", "package"])
def test_one_part_alone_is_a_difference(committed: Git, part: str) -> None:
    _lock(**{"data": {"b": [1, 2, 3]}, "metrics": {"metric": 0.8}, "package": {"graph": b"x"}}[part])
    found = diff.diff()
    assert found["differs"]
    assert [name for name in ("data", "metrics", "package") if not found[name]["same"]] == [part]
    assert found["config"] == []


def test_what_is_not_in_the_cache_is_said_to_be_elsewhere(committed: Git) -> None:
    _lock(rows=5)
    shutil.rmtree(cache.DEFAULT_CACHE)
    code, out, _ = _run()
    assert code == 1
    assert "not in DVC's cache here; " in out
    assert "rows" not in out.replace("test rows", "")


def test_metrics_of_which_one_side_is_not_in_the_cache_are_said_to_be_elsewhere(committed: Git) -> None:
    before = diff.diff()["metrics"]["before"]["hash"]
    (cache.DEFAULT_CACHE / before[:2] / before[2:]).unlink()
    _lock(metric=0.8)
    found = diff.diff()
    (line,) = [line for line in diff.render_lines(found) if line.startswith("metrics: ")]
    after = found["metrics"]["after"]["hash"]
    assert line == f"metrics: {before[:7]} ({diff.NOT_CACHED}) → {after[:7]}"


def test_a_package_of_which_a_file_is_not_in_the_cache_is_elsewhere(committed: Git) -> None:
    _lock(graph=b"x")
    graph = hashlib.md5(b"x", usedforsecurity=False).hexdigest()
    (cache.DEFAULT_CACHE / graph[:2] / graph[2:]).unlink()
    found = diff.diff()["package"]
    assert found["before"]["here"]
    assert not found["after"]["here"]
    assert found["files"] is None


def test_columns_of_another_type_and_gone_are_told(committed: Git) -> None:
    _lock(b=[1, 2, 3])
    committed("commit", "--quiet", "-am", "b")
    _lock(a=["1", "2", "3"])
    assert diff.diff()["data"]["columns"] == {
        "added": [],
        "gone": ["b"],
        "retyped": [{"column": "a", "before": "Int64", "after": "String"}],
    }
    assert "  retyped: a from Int64 to String" in diff.render_lines(diff.diff())


def test_before_the_first_run_and_without_a_lock_there_the_rest_is_compared(git_repo: Git, lock: Lock) -> None:
    git_repo("commit", "--quiet", "--allow-empty", "-m", "x")
    _params(lock)
    code, out, _ = _run()
    assert code == 1
    assert out.splitlines()[1:] == [
        "config:  no params.yaml there",
        "data:    none yet, as before",
        "metrics: none yet, as before",
        "package: none yet, as before",
    ]
    _lock()
    assert "data:    none there → 3 rows, 1 columns" in _run()[1]


def test_another_commit_can_be_named(committed: Git, lock: Lock) -> None:
    _params(lock, seed=8)
    committed("commit", "--quiet", "-am", "y")
    assert _run()[0] == 0
    assert _run("HEAD")[0] == 0
    assert _run("HEAD~1")[0] == 1
    assert _run("main")[0] == 0


@pytest.mark.parametrize("ref", ["nope", "HEAD~9", "HEAD:params.yaml", "-x"])
def test_what_is_no_commit_is_told_in_a_line(committed: Git, ref: str) -> None:
    code, out, err = _run("--", ref)
    assert (code, out) == (2, "")
    assert err == (
        f"error: diff: '{ref}': no such commit; name a branch, a tag or a commit (a shallow clone lacks most)\n"
    )


def test_before_the_first_commit_there_is_nothing_to_compare_with(git_repo: Git, lock: Lock) -> None:
    _params(lock)
    line = "diff: nothing is committed yet, so there is nothing to compare with; commit first"
    assert _run() == (2, "", f"error: {line}\n")
    assert _run("main") == (2, "", f"error: {line}\n")


def test_without_a_lock_here_what_writes_it_is_told(committed: Git) -> None:
    artifacts.LOCK.unlink()
    assert _run() == (2, "", "error: params.yaml: not found; 'merit compose' writes it\n")


@pytest.mark.parametrize("content", [b"a: [", b"a word", b"\xff\xfe"])
@pytest.mark.parametrize("path", [artifacts.LOCK, artifacts.DVC_LOCK])
def test_a_broken_lock_is_told_in_a_line(committed: Git, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    code, out, err = _run()
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {path}")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("path", [artifacts.RAW, artifacts.METRICS, artifacts.PACKAGE])
def test_a_broken_cache_is_told_in_a_line(committed: Git, path: Path) -> None:
    _lock(rows=5, metric=0.9, graph=b"x")
    stages = yaml.safe_load(artifacts.DVC_LOCK.read_text())["stages"]
    md5 = stages[path.stem]["outs"][0]["md5"]
    (cache.DEFAULT_CACHE / md5[:2] / md5[2:]).write_bytes(b"{broken")
    with pytest.raises(
        MeritError,
        match=r"can't be read .*; delete it, then 'merit pull'|listing is not what its hash",
    ):
        diff.diff()


def test_as_json_it_is_what_the_lines_are_made_of(committed: Git, lock: Lock) -> None:
    _params(lock, seed=8)
    code, out, _ = _run("--json")
    found = json.loads(out)
    assert code == 1
    assert found["differs"] is True
    assert found["config"] == [{"key": "seed", "before": "7", "after": "8"}]
    assert found == json.loads(json.dumps(diff.diff()))


def test_control_characters_stay_out_of_the_terminal(committed: Git, lock: Lock) -> None:
    _params(lock, name="\x1b[31mred\u202e")
    assert "\x1b" not in _run()[1]
    assert "\u202e" not in _run()[1]


def test_a_cache_elsewhere_is_found_by_dvcs_configuration(committed: Git, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    _lock(rows=5)
    elsewhere.mkdir()
    shutil.move(cache.DEFAULT_CACHE.parent, elsewhere / "files")
    Path(".dvc/config.local").write_text(f"[cache]\n    dir = {elsewhere}\n")
    assert diff.diff()["data"]["after"]["rows"] == 5


def test_a_lock_that_conf_no_longer_gives_is_told_and_compared_all_the_same(
    conf: Path, git_repo: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diff, "_describe_staleness", STALE)
    CliRunner().invoke(main, ["compose"])
    git_repo("add", ".")
    git_repo("commit", "--quiet", "-m", "x")
    assert _run()[0] == 0
    (conf / "optimizer" / "adamw.yaml").write_text("_target_: torch.optim.AdamW\nlr: 0.5\n")
    code, out, _ = _run()
    assert (code, out.splitlines()[1]) == (0, "note:    params.yaml is stale; run 'merit compose'")
    (conf / "config.yaml").write_text("oops: [")
    code, out, _ = _run()
    assert code == 0
    assert out.splitlines()[1].startswith("note:    conf/ can't be composed (")


def test_it_imports_neither_torch_nor_mlflow_nor_dvc(committed: Git) -> None:
    code = (
        "import sys\nfrom merit.gate import diff\ndiff._describe_staleness = lambda: "
        "None\ndiff.render_lines(diff.diff())\n"
        "print(sorted({'torch', 'mlflow', 'dvc.repo', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
