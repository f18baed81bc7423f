import copy
import re
from pathlib import Path
from typing import Any

import pytest

from merit import artifacts
from merit.gate import plots, report, terminal
from merit.tasks import METRICS

EVIL = "<script>alert(1)</script> | a\nb"
MARKDOWN_LIMIT = 65_536  # characters in a comment on GitHub


def _metrics() -> dict[str, Any]:
    return {name: {"value": 0.7, "low": 0.65, "high": 0.75} for name in METRICS["binary"]}


def _slice(column: str, value: str | None, *, measured: bool = True) -> dict[str, Any]:
    metrics = _metrics() if measured else None
    return {"column": column, "value": value, "rows": 1234, "target_mean": 0.25, "metrics": metrics}


@pytest.fixture
def made() -> dict[str, Any]:
    """A report as the gate writes it."""
    part = {"rows": 12345, "from": "2024-01-01 00:00:00", "to": "2024-02-29 12:00:00", "target": {"share": 0.2}}
    check = {"name": "contract", "verdict": "pass", "found": "5 rows", "allowed": "no violation", "advice": ""}
    failed = {
        "name": "size",
        "verdict": "fail",
        "found": "9 MB",
        "allowed": "at most 1 MB",
        "advice": "make it smaller",
    }
    return {
        "verdict": "fail",
        "inputs": "sha256:1",
        "model": "tiny",
        "task": "binary",
        "candidate": {"digest": "sha256:" + "d" * 64, "commit": "c" * 40, "dirty": True, "network": "a.b.Linear"},
        "champion": {"commit": "a" * 40, "package": "m.dir"},
        "parts": {"train": part, "validation": part, "test": part},
        "confidence": 0.95,
        "checks": [check, failed],
        "metrics": {"candidate": _metrics(), "baseline": _metrics()},
        "slices": [_slice("shop", "north"), _slice("shop", None), _slice("kind", "3", measured=False)],
    }


@pytest.fixture
def curves(workdir: Path) -> None:
    """The curves that `evaluate` and `train` leave behind."""
    for name, x, y in (
        ("roc", "false_positive_rate", "true_positive_rate"),
        ("precision_recall", "recall", "precision"),
        ("calibration", "predicted", "observed"),
    ):
        lines = [f"{model},{point / 4},{point / 4}" for model in ("candidate", "baseline") for point in range(5)]
        artifacts.write_text(artifacts.PLOTS / f"{name}.csv", "\n".join([f"model,{x},{y}", *lines]) + "\n")
    artifacts.write_text(artifacts.HISTORY, "epoch,train_loss,validation_loss\n0,0.7,0.6\n1,0.6,0.5\n")


def test_the_markdown_says_the_verdict_each_check_and_what_to_do(made: dict[str, Any]) -> None:
    text = report.markdown(made)
    assert re.match(r"## ❌ merit: fail . `tiny` may not merge: a check failed\n", text)
    assert "| ✅ | contract | 5 rows | no violation |" in text
    assert "| ❌ | size | 9 MB | at most 1 MB |" in text
    assert "- size: make it smaller" in text
    assert "Champion: `aaaaaaa`." in text
    assert "12,345 rows (2024-01-01 to 2024-02-29)" in text
    assert "(1 slices have too few rows)" in text
    assert "with uncommitted changes" in text


def test_the_tables_of_the_markdown_have_as_many_cells_in_each_row(made: dict[str, Any]) -> None:
    made["checks"][0]["found"] = EVIL
    made["slices"][0]["value"] = EVIL
    made["slices"][1]["value"] = "a\\|b"
    text = report.markdown(made)
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}
        assert len(widths) == 1, table


def test_the_markdown_escapes_what_would_leave_its_cell(made: dict[str, Any]) -> None:
    for check in made["checks"]:
        check.update(name=EVIL, found=EVIL, allowed=EVIL, advice="")
    made["slices"][0].update(value=EVIL, column=EVIL)
    text = report.markdown(made)
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; \\| a b" in text


def test_the_markdown_fits_in_a_comment_however_many_slices_there_are(made: dict[str, Any]) -> None:
    made["slices"] = [_slice("destination", f"place {number}") for number in range(3000)]
    assert len(report.markdown(made)) < MARKDOWN_LIMIT


@pytest.mark.parametrize(("verdict", "summary"), report.SUMMARY.items())
def test_each_verdict_has_its_words(made: dict[str, Any], verdict: str, summary: str) -> None:
    made["verdict"] = verdict
    first = report.markdown(made).splitlines()[0]
    assert f"merit: {verdict} " in first
    assert first.endswith(f"`tiny` {summary}")


def test_without_a_champion_or_a_commit_the_markdown_says_so(made: dict[str, Any]) -> None:
    made["champion"], made["candidate"]["commit"] = None, None
    text = report.markdown(made)
    assert "No champion yet." in text
    assert "made before the first commit" in text


def test_when_nothing_failed_there_is_nothing_to_do(made: dict[str, Any]) -> None:
    made["checks"] = made["checks"][:1]
    assert "What to do" not in report.markdown(made)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ({"value": 0.5, "low": 0.4, "high": 0.6}, "0.5000 [0.4000, 0.6000]"),
        ({"value": 0.5, "low": None, "high": None}, "0.5000"),
        ({"value": None, "low": None, "high": None}, "none"),
    ],
)
def test_a_value_is_shown_with_its_interval_if_it_has_one(found: dict[str, Any], text: str) -> None:
    assert report.interval(found) == text


def test_the_page_needs_nothing_from_anywhere_else(curves: None, made: dict[str, Any]) -> None:
    page = report.html(made)
    assert page.startswith("<!doctype html>")
    assert "<script" not in page
    assert "<link" not in page
    assert "<img" not in page
    assert not re.search(r'(?:src|href)="(?!#)', page)
    assert not re.search(r"url\((?!#)|@import", page)


def test_the_page_holds_a_drawing_per_curve_in_the_colours_of_the_page(curves: None, made: dict[str, Any]) -> None:
    page = report.html(made)
    assert page.count("<svg") == page.count("</svg>") == 4
    for title in ("ROC", "Precision and recall", "Calibration", "Loss by epoch"):
        assert f'aria-label="{title}"' in page
    assert "var(--candidate)" in page
    assert plots.CANDIDATE not in page


def test_the_page_escapes_what_comes_from_data(curves: None, made: dict[str, Any]) -> None:
    for check in made["checks"]:
        check.update(name=EVIL, found=EVIL, allowed=EVIL, advice=EVIL)
    made["slices"][0].update(value=EVIL, column=EVIL)
    made["model"] = EVIL
    page = report.html(made)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_the_same_report_is_the_same_page(curves: None, made: dict[str, Any]) -> None:
    assert report.html(made) == report.html(copy.deepcopy(made))


def test_the_page_can_be_made_where_a_metric_has_no_meaning(curves: None, made: dict[str, Any]) -> None:
    made["metrics"]["candidate"]["roc_auc"] = {"value": None, "low": None, "high": None}
    assert ">none<" in report.html(made)
    assert "| roc_auc | none |" in report.markdown(made)


def test_the_terminal_shows_the_verdict_and_each_check(
    made: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    made["checks"][1]["found"] = "[bold]9[/] MB"
    made["slices"] = []
    terminal.show(made)
    shown = capsys.readouterr().out
    assert "verdict: fail: may not merge: a check failed" in shown
    for word in ("tiny: Linear", "contract", "make it smaller", "[bold]9[/] MB", "reports/gate.html"):
        assert word in shown
