import socket
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from merit import artifacts
from merit.config import lock as locks
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.gate.report import terminal
from merit.pipeline import run
from merit.process import workspace_lock
from tests.conftest import Call
from tests.support.file_locks import is_locked


@pytest.mark.parametrize("text", ["", "schema: '2.0'\nstages: [x", "\udcff"])
def test_a_damaged_dvc_lock_is_told_with_how_to_mend_it(
    git_repo: Callable[..., str], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvc.repo import Repo

    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    Repo.init().close()
    Path("dvc.yaml").write_text("stages:\n  features:\n    cmd: 'true'\n    outs: [x]\n", encoding="utf-8")
    artifacts.DVC_LOCK.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(MeritError) as caught:
        run.update_stages()
    assert str(caught.value).startswith("pipeline: ")
    assert str(caught.value).endswith("; run 'git checkout dvc.lock', or remove it and run again")
    assert "\n" not in str(caught.value)


class _Repo:
    """DVC's view of a project in which nothing is up to date."""

    def __init__(self) -> None:
        self.ran: list[str | None] = []

    def status(self, *_: str, **__: bool) -> dict[str, str]:
        return dict.fromkeys(("features", "train"), "changed")

    def reproduce(self, last: str | None = None) -> list[Any]:
        self.ran.append(last)
        return []


@pytest.mark.parametrize("last", [None, "package"])
def test_what_keeps_the_runs_is_asked_before_any_stage(
    make_lock: Callable[..., Lock], monkeypatch: pytest.MonkeyPatch, last: str | None
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        uri = f"http://127.0.0.1:{closed.getsockname()[1]}"
    lock, repo = make_lock(lambda values: values["tracking"].update(uri=uri)), _Repo()
    monkeypatch.setattr(run, "_open_dvc", lambda: nullcontext(repo))
    monkeypatch.setattr(run.restore, "restore_current", lambda *_: None)
    monkeypatch.setattr(locks, "read_lock", lambda: lock)
    with pytest.raises(MeritError, match=f"tracking.uri '{uri}': can't be reached"):
        run.update_stages(last)
    assert repo.ran == []


def _create_stage(name: str, inputs: tuple[str, ...] = (), outputs: tuple[str, ...] = ()) -> SimpleNamespace:
    def list_paths(paths: tuple[str, ...]) -> list[SimpleNamespace]:
        return [SimpleNamespace(fs_path=path) for path in paths]

    return SimpleNamespace(addressing=name, deps=list_paths(inputs), outs=list_paths(outputs))


@pytest.mark.parametrize(
    ("stale_at_first", "stale_after_training", "package_input", "expected"),
    [
        ("train", "evaluate package", "model", [("features",), ("train",), ("package", "evaluate"), (None,)]),
        (
            "evaluate package",
            "evaluate package",
            "model",
            [("features",), ("train",), ("package", "evaluate"), (None,)],
        ),
        (
            "features",
            "evaluate package",
            "model",
            [("features",), ("train", "baseline"), ("package", "evaluate"), (None,)],
        ),
        ("train", "evaluate package", "reports/metrics.json", [("features",), ("train",), (None,)]),
        ("train", "evaluate package", "reports/plots/roc.csv", [("features",), ("train",), (None,)]),
        ("train", "package", "model", [("features",), ("train",), (None,)]),
        ("package", "package", "model", [(None,)]),
        ("seeds", "", "model", [(None,)]),
        ("train seeds", "package seeds", "model", [("features",), ("seeds",), ("train",), (None,)]),
        ("evaluate", "evaluate", "model", [(None,)]),
    ],
)
def test_evaluate_runs_beside_package_where_both_are_stale_and_neither_reads_the_other(
    monkeypatch: pytest.MonkeyPatch,
    stale_at_first: str,
    stale_after_training: str,
    package_input: str,
    expected: list[tuple[str | None, ...]],
) -> None:
    calls: list[tuple[str | None, ...]] = []
    outputs = ("reports/metrics.json", "reports/plots")
    stages = [*map(_create_stage, ("features", "train", "baseline")), _create_stage("evaluate", outputs=outputs)]
    answers = iter([stale_at_first, stale_after_training])
    repo = SimpleNamespace(
        status=lambda *_: dict.fromkeys(next(answers).split(), "changed"),
        reproduce=lambda last=None: calls.append((last,)) or [],
        index=SimpleNamespace(stages=[*stages, _create_stage("package", inputs=(package_input,))]),
    )
    monkeypatch.setattr(run, "_open_dvc", lambda: nullcontext(repo))
    monkeypatch.setattr(run, "_run_aside", lambda stage: calls.append((stage,)) or nullcontext())
    monkeypatch.setattr(run, "_reproduce_beside", lambda _, *pair: calls.append(pair) or list(pair))
    monkeypatch.setattr(run.restore, "restore_current", lambda *_: None)
    monkeypatch.setattr(run.tracking, "check_tracking", lambda _: None)
    monkeypatch.setattr(locks, "read_lock", lambda: SimpleNamespace(tracking=None))
    run.update_stages()
    assert calls == expected


def test_a_verdict_is_shown_though_the_run_could_not_be_kept(
    call: Call, lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked: list[bool] = []
    composed = SimpleNamespace(compose=lambda *_: SimpleNamespace(lock=lock))
    monkeypatch.setattr(run, "Composer", lambda: composed)
    monkeypatch.setattr(run, "update_stages", lambda **_: locked.append(is_locked(workspace_lock.RUN_LOCK)))
    monkeypatch.setattr(run.freshness, "load_current_report", lambda _: None)
    monkeypatch.setattr(
        run, "_run_gate", lambda _: locked.append(is_locked(workspace_lock.RUN_LOCK)) or {"verdict": "pass"}
    )
    monkeypatch.setattr(terminal, "print_report", lambda made: print(f"verdict: {made['verdict']}"))

    def fail(*_: Any) -> None:
        raise MeritError("tracking.uri: can't be used")

    monkeypatch.setattr(run, "_record_and_register", fail)
    assert call("run") == (2, "verdict: pass\n", "error: tracking.uri: can't be used\n")
    assert locked == [True, True]


def test_a_sweep_computes_features_under_the_lock_of_the_run(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    repo = SimpleNamespace(
        dvc_dir=".dvc",
        cache=SimpleNamespace(local=SimpleNamespace(path=".dvc/cache")),
        config={"remote": {"here": {"url": "/store"}, "there": {"url": "s3://bucket"}}},
    )
    monkeypatch.setattr(run, "_open_dvc", lambda: nullcontext(repo))
    monkeypatch.setattr(run, "update_stages", lambda last: seen.append((last, is_locked(workspace_lock.RUN_LOCK))))
    assert run.update_features() == [Path(".dvc"), Path(".dvc/cache"), Path("/store")]
    assert seen == [("features", True)]
