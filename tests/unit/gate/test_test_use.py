"""How often test rows were asked, as MLflow and Git know it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from merit import artifacts
from merit.config.schema import Lock
from merit.dvc import cache, history
from merit.errors import MeritError
from merit.gate import test_use
from merit.gate.checks.model import test_rows as test_rows_check
from merit.gate.evidence import Evidence
from merit.gate.test_use import TestUse, compute_digest, count_candidates, record_verdict
from merit.gate.verdict import Verdict
from merit.mlflow import judged_candidates
from merit.mlflow.judged_candidates import Judgement
from tests.unit.gate.conftest import run_family

Git = Callable[..., str]
ROWS_HASH, OTHER_ROWS = "a" * 32, "b" * 32
PACKAGES = [f"{number}" * 32 + ".dir" for number in range(1, 6)]


def dvc_lock(package: str, rows: str = ROWS_HASH) -> str:
    """Return a dvc.lock as DVC writes it, a name that is not ASCII included."""
    return (
        "schema: '2.0'\nstages:\n  features:\n    cmd: merit features\n    params:\n      params.yaml:\n"
        f"        features: 'größe {package[:3]}'\n    outs:\n    - path: data/features/test.parquet\n      hash: md5\n"
        f"      md5: {rows}\n      size: 3\n  package:\n    cmd: merit package\n    deps:\n"
        f"    - path: data/features/test.parquet\n      hash: md5\n      md5: {rows}\n      size: 3\n"
        f"    outs:\n    - path: model\n      hash: md5\n      md5: {package}\n      size: 3\n      nfiles: 5\n"
    )


def commit(git: Git, text: str) -> None:
    artifacts.DVC_LOCK.write_text(text, encoding="utf-8")
    git("add", ".")
    git("commit", "--quiet", "-m", "x")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch, lock: Lock, rows: pl.DataFrame) -> Callable[..., TestUse]:
    """Count for the package PACKAGES[0], with these packages in MLflow (None: it has no store) and in Git."""

    def count(in_mlflow: dict[str, Judgement] | None, in_git: set[str], lock: Lock = lock) -> TestUse:
        monkeypatch.setattr(cache, "hash_file", lambda _: ROWS_HASH)
        monkeypatch.setattr(cache, "hash_folder", lambda _: PACKAGES[0])
        monkeypatch.setattr(history, "list_packages", lambda *_: in_git)
        monkeypatch.setattr(judged_candidates, "has_store", lambda _: in_mlflow is not None)
        monkeypatch.setattr(judged_candidates, "read_judgements", lambda *_: in_mlflow)
        return count_candidates(lock, rows.with_columns(when="size", late="weight"))

    return count


def judged(*packages: str) -> dict[str, Judgement]:
    """Return these packages as judged one after the other."""
    return {each[:32]: Judgement(f"2026-01-0{day}T00:00:00", "fail") for day, each in enumerate(packages, 1)}


def test_packages_of_git_are_those_beside_the_same_test_rows(git_repo: Git) -> None:
    assert history.list_packages(ROWS_HASH, "tiny@v*") == set()
    commit(git_repo, dvc_lock(PACKAGES[0]))
    commit(git_repo, dvc_lock(PACKAGES[1]))
    commit(git_repo, dvc_lock(PACKAGES[2], OTHER_ROWS))
    git_repo("switch", "--quiet", "--detach")
    commit(git_repo, dvc_lock(PACKAGES[3]))
    git_repo("tag", "tiny@v1")
    git_repo("switch", "--quiet", "main")
    assert history.list_packages(ROWS_HASH, "other@v*") == {*PACKAGES[:2]}
    assert history.list_packages(ROWS_HASH, "tiny@v*") == {*PACKAGES[:2], PACKAGES[3]}
    assert history.list_packages(OTHER_ROWS, "tiny@v*") == {PACKAGES[2]}
    git_repo("switch", "--quiet", "--create", "candidate")
    commit(git_repo, dvc_lock(PACKAGES[4]))
    assert PACKAGES[4] in history.list_packages(ROWS_HASH, "tiny@v*")


def test_a_lock_that_names_the_hash_for_something_else_does_not_count(git_repo: Git) -> None:
    commit(git_repo, dvc_lock(PACKAGES[0], OTHER_ROWS) + f"# {ROWS_HASH}\n")
    commit(git_repo, dvc_lock(PACKAGES[1]).replace("- path: model\n", "- path: models\n"))
    git_repo("rm", "--quiet", "dvc.lock")
    git_repo("commit", "--quiet", "-m", "gone")
    assert history.list_packages(ROWS_HASH, "tiny@v*") == set()


def test_a_project_in_a_folder_of_a_repository_has_a_history(git_repo: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("project").mkdir()
    monkeypatch.chdir("project")
    commit(git_repo, dvc_lock(PACKAGES[0]))
    assert history.list_packages(ROWS_HASH, "tiny@v*") == {PACKAGES[0]}


def test_without_a_repository_nothing_is_counted(workdir: Path) -> None:
    assert history.list_packages(ROWS_HASH, "tiny@v*") == set()


def test_a_shallow_clone_counts_what_it_has(git_repo: Git, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in PACKAGES[:3]:
        commit(git_repo, dvc_lock(package))
    git_repo("clone", "--quiet", "--depth=1", f"file://{workdir}", "clone")
    monkeypatch.chdir("clone")
    assert history.list_packages(ROWS_HASH, "tiny@v*") == {PACKAGES[2]}


def test_each_package_of_mlflow_and_git_counts_once_and_so_does_this_one(counted: Callable[..., TestUse]) -> None:
    use = counted(judged(*PACKAGES[1:3]), {*PACKAGES[2:4]})
    assert (use.candidates, use.sources) == (4, "MLflow and Git")
    assert counted({}, set()).candidates == counted({}, {PACKAGES[0]}).candidates == 1


def test_a_candidate_that_is_judged_again_is_not_a_later_question(counted: Callable[..., TestUse]) -> None:
    """What passed when it was asked passes when it is registered, whatever was asked in the meantime."""
    use = counted(judged(PACKAGES[1], PACKAGES[0], *PACKAGES[2:]), {PACKAGES[2]})
    assert use.candidates == 2


def test_without_a_store_git_alone_is_asked(counted: Callable[..., TestUse]) -> None:
    use = counted(None, {*PACKAGES[:3]})
    assert (use.candidates, use.sources, use.judgements) == (3, "Git", None)


def test_a_store_or_a_history_that_can_not_be_read_costs_no_verdict(
    counted: Callable[..., TestUse],
    make_lock: Callable[..., Lock],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: Any) -> None:
        raise MeritError("it is broken")

    monkeypatch.setattr(test_use.git, "is_shallow", fail)
    use = counted(judged(PACKAGES[1]), {*PACKAGES})
    assert (use.candidates, use.sources) == (2, "MLflow and this folder")
    monkeypatch.setattr(test_use.git, "is_shallow", lambda: True)
    assert counted(None, {*PACKAGES}).sources == "a shallow clone of Git's history"
    monkeypatch.setattr(judged_candidates, "has_store", fail)
    assert test_use._read_judgements(make_lock(), "sha256:0") == (None, "")
    assert caplog.text.count("it is broken") == 2


def test_files_of_csv_tracking_are_no_store(make_lock: Callable[..., Lock], workdir: Path) -> None:
    files = make_lock(lambda values: values.update(tracking={"to": "csv", "experiment": "tiny"})).tracking
    assert not judged_candidates.has_store(files)
    database = make_lock().tracking
    assert not judged_candidates.has_store(database)
    Path("mlflow.db").touch()
    assert judged_candidates.has_store(database)


def test_test_rows_are_the_same_whatever_columns_they_have_and_others_with_another_label(lock: Lock) -> None:
    rows = pl.DataFrame({"when": [1, 2], "late": [0.0, 1.0], "size": [3, 4]})
    digest = compute_digest(lock, rows)
    assert digest == compute_digest(lock, rows.select("late", "when", pl.lit(1).alias("more")))
    others = [rows.with_columns(late=pl.lit(0.0)), rows.with_columns(when=pl.col("when") + 1), rows.head(1)]
    assert len({digest, *(compute_digest(lock, each) for each in others)}) == 4


def test_test_rows_without_keys_are_known_by_their_file(
    counted: Callable[..., TestUse], make_lock: Callable[..., Lock]
) -> None:
    no_keys = make_lock(lambda values: values["data"]["contract"].update(unique=[]))
    assert counted({}, set(), no_keys).test_rows == f"md5:{ROWS_HASH}"


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What is written to MLflow."""
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(judged_candidates, "record_judgement", lambda _, *rest: calls.append(rest))
    return calls


def test_a_first_verdict_is_recorded_with_its_time_and_a_later_one_keeps_it(
    lock: Lock, recorded: list[tuple[Any, ...]]
) -> None:
    use = TestUse("sha256:0", PACKAGES[0], 1, "MLflow and Git", {})
    record_verdict(lock, use, "fail")
    ((rows, package, judgement),) = recorded
    assert (rows, package, judgement.verdict) == ("sha256:0", PACKAGES[0], "fail")
    known = replace(use, judgements={PACKAGES[0][:32]: judgement})
    record_verdict(lock, known, "fail")
    assert len(recorded) == 1
    record_verdict(lock, known, "pass")
    assert recorded[1][2] == Judgement(judgement.time, "pass")
    record_verdict(lock, replace(use, judgements=None), "pass")
    assert len(recorded) == 2


def test_a_store_that_takes_no_verdict_costs_none(
    lock: Lock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise MeritError("it is read-only")

    monkeypatch.setattr(judged_candidates, "record_judgement", fail)
    record_verdict(lock, TestUse("sha256:0", PACKAGES[0], 1, "MLflow and Git", {}), "fail")
    assert "it is read-only" in caplog.text


@pytest.mark.parametrize(
    ("candidates", "budget", "result"),
    [
        (3, 3, (Verdict.PASS, "at most 3")),
        (4, 3, (Verdict.INCONCLUSIVE, "at most 3")),
        (4_000, None, (Verdict.PASS, "any number")),
    ],
)
def test_more_candidates_than_the_budget_are_inconclusive(
    candidates: int,
    budget: int | None,
    result: tuple[Verdict, str],
    evidence: Evidence,
    gated: Callable[..., Evidence],
) -> None:
    made = gated(evidence, test_rows={"candidates": budget})
    made.__dict__["test_use"] = TestUse("sha256:0", PACKAGES[0], candidates, "MLflow and Git")
    (check,) = run_family(test_rows_check.FAMILY, made)
    assert (check.name, (check.verdict, check.allowed)) == ("test rows", result)
    assert check.found == f"{candidates:,} candidates were judged on these 600 rows (counted in MLflow and Git)"
    assert "move data.split to newer rows" in check.advice
