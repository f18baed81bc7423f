"""What a run that passed says is to be done next: by what it came from and by what Git has of it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from merit.cli import nextsteps
from merit.config import lock as locks
from merit.config.compose import compose
from merit.config.schema import Lock
from merit.gate.report import terminal
from merit.pipeline import run as pipeline

Git = Callable[..., str]
Call = Callable[..., tuple[int, str, str]]
KEEP = """\
model:   tiny, candidate 3 in MLflow
next:    'merit serve', then call it
         to keep this model, say model=linear 'evaluate.slices=[]' in conf/, then 'merit run': it is not trained again
         'merit run' alone brings back the model that conf/ says
"""


@pytest.fixture
def run(call: Call, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run `merit run OVERRIDE...` as if it had passed; return what it prints after the report."""

    verdict = {"verdict": "pass", "model": "tiny"}
    monkeypatch.setattr(pipeline.freshness, "load_current_report", lambda lock: verdict)
    monkeypatch.setattr(pipeline, "_find_receipt", lambda lock, report: {"version": "3"})
    monkeypatch.setattr(pipeline, "update_stages", lambda **_: [])
    monkeypatch.setattr(terminal, "print_report", lambda report: None)
    return lambda *overrides: call("run", *overrides)[1]


@pytest.fixture
def committed(conf: Path, git_repo: Git) -> Git:
    """The repository's conf/ with its lock and a dvc.lock, all of it committed."""
    locks.write_lock(compose())
    Path("dvc.lock").write_text("schema: '2.0'\n")
    git_repo("add", ".")
    git_repo("commit", "--quiet", "--message", "begin")
    return git_repo


def test_a_model_of_overrides_is_not_to_be_committed_but_said_in_conf(committed: Git, run: Callable[..., str]) -> None:
    assert run("model=linear", "evaluate.slices=[]") == KEEP


def test_overrides_that_say_what_conf_says_are_none(committed: Git, run: Callable[..., str]) -> None:
    said = run("model=embedding_mlp", "seed=7")
    assert said == run()
    assert said == (
        "model:   tiny, candidate 3 in MLflow; 'merit register' on main makes a version of it\n"
        "next:    'merit serve', then call it\n"
    )


def test_a_model_of_overrides_that_is_refused_is_told_how_conf_comes_back(
    committed: Git, call: Call, run: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.freshness, "load_current_report", lambda lock: {"verdict": "fail"})
    monkeypatch.setattr(terminal, "suggest_next_step", lambda report: "change conf/")
    assert call("run", "seed=8")[:2] == (
        1,
        "next:    change conf/\n         'merit run' alone brings back the model that conf/ says\n",
    )
    assert call("run")[:2] == (1, "next:    change conf/\n")


def test_what_is_not_committed_is_to_be(committed: Git, run: Callable[..., str]) -> None:
    Path("dvc.lock").write_text("schema: '2.1'\n")
    line = "'git add conf params.yaml dvc.lock' and commit: the champion of the next candidates\n"
    assert run().endswith(f"         {line}")


def test_a_table_and_code_that_git_lacks_are_committed_too(
    committed: Git, make_lock: Callable[..., Lock], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("source.parquet").write_text("rows")
    Path("mymodels").mkdir()
    Path("mymodels/__init__.py").touch()
    Path("pyproject.toml").write_text("[tool.merit]\n")
    monkeypatch.setattr(
        locks, "read_lock", lambda: make_lock(lambda values: values.update(code={"mymodels": "sha256:0"}))
    )
    rest = "mymodels pyproject.toml conf params.yaml dvc.lock' and commit: the champion of the next candidates"
    assert nextsteps.advise_commit() == [f"'git add source.parquet {rest}"]
    monkeypatch.setattr("merit.data.input_files.MAX_GIT_BYTES", 1)
    assert nextsteps.advise_commit() == [
        "'dvc add source.parquet', for large files are DVC's",
        f"'git add source.parquet.dvc .gitignore {rest}",
    ]


def test_without_a_repository_nothing_is_to_be_committed(workdir: Path) -> None:
    assert nextsteps.advise_commit() == []
