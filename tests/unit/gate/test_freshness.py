"""What a verdict depends on: whatever the checks read must make the last report stale when it changes."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from merit import artifacts
from merit.config.schema import Lock
from merit.gate import freshness, waivers
from merit.gate.champion import Champion

DATA_FILES = [artifacts.DATA_REPORT, artifacts.RAW]
MODEL_FILES = [
    artifacts.PREDICTIONS,
    artifacts.METRICS,
    artifacts.TEST_ROWS,
    artifacts.TRANSFORM,
    artifacts.HISTORY,
    artifacts.SOURCE_ROWS,
    artifacts.DVC_LOCK,
    Path("dvc.yaml"),
    artifacts.PACKAGE / artifacts.GRAPH,
    artifacts.SEEDS / "11.onnx",
]
CHAMPION = Champion("a" * 40, {"model": "m.dir", "data/raw.parquet": "d" * 32})


@pytest.fixture
def files(workdir: Path) -> list[Path]:
    """All files that the gate reads, each of one byte."""
    for file in [*DATA_FILES, *MODEL_FILES]:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"1")
    return [*DATA_FILES, *MODEL_FILES]


def test_each_file_counts_in_the_scopes_that_read_it(files: list[Path], lock: Lock) -> None:
    scopes = (None, "data", "model")
    before = [freshness.compute_inputs_digest(lock, None, scope) for scope in scopes]
    assert len(set(before)) == 3
    assert before == [freshness.compute_inputs_digest(lock, None, scope) for scope in scopes]
    for file in files:
        file.write_bytes(b"2")
        after = [freshness.compute_inputs_digest(lock, None, scope) for scope in scopes]
        changed = [scope for scope, old, new in zip(scopes, before, after, strict=True) if old != new]
        assert changed == [None, "data" if file in DATA_FILES else "model"], file
        file.write_bytes(b"1")


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("section", "changed", "counts"),
    [
        ("gate", {"size_mb": 2.0}, True),
        ("evaluate", {"resamples": 200}, True),
        ("data", {"fingerprint": "sha256:" + "1" * 64}, True),
        ("gate", {"waivers": {"size": {"reason": "known since issue 12", "until": "2026-06-15"}}}, True),
        ("serve", {"port": 4000}, False),
        ("tracking", {"experiment": "other"}, False),
    ],
)
def test_a_setting_counts_if_a_check_depends_on_it(
    lock: Lock,
    make_lock: Callable[..., Lock],
    section: str,
    changed: dict[str, Any],
    counts: bool,
) -> None:
    other = make_lock(lambda values: values[section].update(changed))
    digests = [freshness.compute_inputs_digest(each, None) for each in (lock, other)]
    assert (digests[0] != digests[1]) is counts


def test_the_seed_and_the_code_of_the_project_count(files: list[Path], lock: Lock) -> None:
    versions = [lock, *(lock.model_copy(update=each) for each in ({"seed": 8}, {"code": {"mymodels": "sha256:1"}}))]
    assert len({freshness.compute_inputs_digest(each, None) for each in versions}) == 3


def test_the_code_of_the_gate_of_metrics_and_of_what_reads_its_data_counts(
    files: list[Path], lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freshness, "__file__", str(Path("merit/gate/freshness.py").absolute()))
    counts = {"gate/checks/model/size.py": True, "gate/report/page.html": True, "reading/cells.py": True,
              "metrics/bootstrap.py": True, "gate/__pycache__/size.pyc": False, "serving/cells.py": False}  # fmt: skip
    for name in counts:
        Path("merit", name).parent.mkdir(parents=True, exist_ok=True)
        Path("merit", name).write_text("1")
    before = freshness.compute_inputs_digest(lock, None)
    for name, is_counted in counts.items():
        Path("merit", name).write_text("2")
        assert (freshness.compute_inputs_digest(lock, None) != before) is is_counted, name
        Path("merit", name).write_text("1")


def test_the_champion_counts_with_its_commit_its_package_and_its_data(files: list[Path], lock: Lock) -> None:
    hashes = CHAMPION.output_hashes
    champions = [
        None,
        CHAMPION,
        Champion("b" * 40, hashes),
        Champion(CHAMPION.commit, hashes | {"model": "n.dir"}),
        Champion(CHAMPION.commit, hashes | {"data/raw.parquet": "e" * 32}),
    ]
    assert len({freshness.compute_inputs_digest(lock, champion) for champion in champions}) == 5


def test_a_waiver_counts_until_its_last_day(
    files: list[Path], make_lock: Callable[..., Lock], monkeypatch: pytest.MonkeyPatch
) -> None:
    waiver = {"size": {"reason": "known since issue 12", "until": "2026-06-15"}}
    lock = make_lock(lambda values: values["gate"].update(waivers=waiver))
    digests = []
    for day in (14, 15, 16):
        monkeypatch.setattr(waivers, "get_utc_date", lambda day=day: date(2026, 6, day))
        digests.append(freshness.compute_inputs_digest(lock, None))
    assert digests[0] == digests[1] != digests[2]


def test_what_the_bento_is_built_of_counts_where_the_model_is_replayed(
    files: list[Path], make_lock: Callable[..., Lock], monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = make_lock(lambda values: values["gate"].update(replay={"rows": 10}))
    digests: dict[str | None, set[str]] = {None: set(), "data": set(), "model": set()}
    for key in ("1", "2"):
        monkeypatch.setattr(freshness.bento_key, "compute_cache_key", lambda rows, key=key: f"{rows} {key}")
        for scope, found in digests.items():
            found.add(freshness.compute_inputs_digest(lock, None, scope))
    assert {scope: len(found) for scope, found in digests.items()} == {None: 2, "data": 1, "model": 2}


def _check(name: str, verdict: str, *, waived: bool = False) -> dict[str, Any]:
    return {"name": name, "verdict": verdict, "waived": waived}


@pytest.mark.parametrize(
    ("checks", "verdict", "is_final"),
    [
        ([_check("size", "pass")], "pass", True),
        ([_check("size", "fail")], "fail", True),
        ([_check("size", "fail")], "pass", False),
        ([_check("size", "pass"), _check("parity", "inconclusive")], "inconclusive", True),
        ([_check("size", "pass"), _check("parity", "inconclusive")], "pass", False),
        ([], "pass", False),
        ([_check("size", "pass"), _check("time: one row", "pass"), _check("replay", "pass")], "pass", True),
        ([_check("size", "pass"), _check("time: one row", "fail")], "fail", False),
        ([_check("size", "pass"), _check("replay", "inconclusive")], "inconclusive", False),
        ([_check("size", "pass"), _check("floor: auc", "fail", waived=True)], "pass", True),
        ([_check("size", "pass"), _check("parity", "fail", waived=True)], "pass", False),  # conf/ waives no parity
    ],
)
def test_a_verdict_is_final_if_it_follows_from_its_checks_and_no_other_run_could_change_it(
    make_lock: Callable[..., Lock],
    monkeypatch: pytest.MonkeyPatch,
    checks: list[dict[str, Any]],
    verdict: str,
    is_final: bool,
) -> None:
    waiver = {"floor: auc": {"reason": "known since issue 12", "until": "2026-06-15"}}
    lock = make_lock(lambda values: values["gate"].update(waivers=waiver))
    monkeypatch.setattr(waivers, "get_utc_date", lambda: date(2026, 6, 15))
    assert freshness._has_final_verdict({"checks": checks, "verdict": verdict}, lock) is is_final
