from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from merit.config.schema import Lock
from merit.config.schema.data import Data
from merit.errors import MeritError
from merit.features.transform import Preprocessing
from merit.gate.champion import Champion
from merit.gate.checks.model import champion_labels
from merit.gate.evidence import Evidence
from merit.gate.verdict import Verdict
from merit.scoring.package import Package
from tests.unit.gate.conftest import ROWS, Rival, run_family, transform_of


class LabelledRival(Rival):
    """A champion whose data is at hand."""

    file: Path | None = None
    settings: Data | None = None

    def has_same_data(self) -> bool:
        return False

    def read_data_section(self) -> Data:
        assert self.settings is not None
        return self.settings

    @contextmanager
    def fetch_data(self) -> Iterator[Path]:
        if self.file is None:
            raise MeritError("its data is neither in DVC's cache nor in a remote (gone)")
        yield self.file


Judge = Callable[..., Any]


@pytest.fixture
def judge(
    evidence: Evidence, tmp_path: Path, load: Callable[[Preprocessing], Package], make_lock: Callable[..., Lock]
) -> Judge:
    """Judge the candidate against a champion that leaves out a number, by labels now and labels before."""

    def run(now: np.ndarray[Any, Any], before: np.ndarray[Any, Any] | None) -> list[Any]:
        lock = make_lock(
            lambda values: values["gate"].update(
                champion=[{"metric": "roc_auc", "margin": 0.02}, {"metric": "log_loss", "margin": 0.02}]
            )
        )
        times = [datetime(2024, 4, 1) + timedelta(hours=turn) for turn in range(ROWS)]
        rows = evidence.rows.with_columns(when=pl.Series(times), late=pl.Series(now))
        champion = LabelledRival("a" * 40, {"data/raw.parquet": "b" * 32})
        object.__setattr__(champion, "package", load(transform_of(2.0, 0.1)))
        object.__setattr__(champion, "settings", lock.data)
        if before is not None:
            rows.with_columns(late=pl.Series(before)).sample(fraction=1, shuffle=True, seed=0).write_parquet(
                tmp_path / "before.parquet"
            )
            object.__setattr__(champion, "file", tmp_path / "before.parquet")
        found = replace(evidence, lock=lock, rows=rows, target=now, champion=champion)
        return run_family(champion_labels.FAMILY, found)

    return run


def test_a_gain_that_the_champions_labels_show_too_passes(judge: Judge, evidence: Evidence) -> None:
    former = evidence.target.copy()
    former[:5] = 1 - former[:5]
    (check,) = judge(evidence.target, former)
    assert check.verdict is Verdict.PASS
    assert check.found.startswith(f"5 of {ROWS} test rows that the champion's data has changed their label; better")


def test_labels_that_did_not_change_need_no_second_score(judge: Judge, evidence: Evidence) -> None:
    (check,) = judge(evidence.target, evidence.target)
    assert (check.verdict, check.found) == (
        Verdict.PASS,
        f"0 of {ROWS} test rows that the champion's data has changed their label",
    )


def test_a_gain_by_changed_labels_alone_is_no_pass(judge: Judge, evidence: Evidence) -> None:
    """The labels now are what the candidate says, and were what any model says."""
    former = np.random.default_rng(3).permutation(evidence.target)
    (check,) = judge((evidence.candidate > 0.5).astype(float), former)
    assert check.verdict is not Verdict.PASS
    assert "by the champion's labels roc_auc" in check.found


def test_a_candidate_worse_by_the_champions_labels_fails(judge: Judge, evidence: Evidence) -> None:
    (check,) = judge(evidence.target, 1 - evidence.target)
    assert check.verdict is Verdict.FAIL


def test_data_that_nobody_has_is_no_pass(judge: Judge, evidence: Evidence) -> None:
    (check,) = judge(evidence.target, None)
    assert check.verdict is Verdict.INCONCLUSIVE
    assert "its data is neither in DVC's cache" in check.found


def test_without_a_champion_or_its_data_there_is_no_check(evidence: Evidence) -> None:
    assert run_family(champion_labels.FAMILY, evidence) == []
    champion = Champion("a" * 40, {"model": "m.dir"})
    assert run_family(champion_labels.FAMILY, replace(evidence, champion=champion)) == []


@pytest.mark.parametrize(
    ("present", "former", "verdict"),
    [
        (0.02, 0.0, Verdict.PASS),
        (0.03, 0.0, Verdict.INCONCLUSIVE),
        (0.03, 0.01, Verdict.PASS),
        (0.02, -0.02, Verdict.PASS),
        (0.021, -0.02, Verdict.INCONCLUSIVE),
        (-0.05, -0.021, Verdict.FAIL),
        (float("nan"), 0.0, Verdict.INCONCLUSIVE),
    ],
)
def test_the_margin_decides_what_is_worse_and_what_is_a_gain_by_labels_alone(
    evidence: Evidence, make_lock: Callable[..., Lock], present: float, former: float, verdict: Verdict
) -> None:
    lock = make_lock(lambda values: values["gate"].update(champion=[{"metric": "roc_auc", "margin": 0.02}]))
    judged = champion_labels._judge_gains(replace(evidence, lock=lock), {"roc_auc": present}, {"roc_auc": former})
    assert judged is verdict
