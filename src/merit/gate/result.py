"""Provides the gate's report as an object of Python, and `merit.gate`, which judges the candidate and returns it."""

import html
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from merit import artifacts
from merit.gate.verdict import Check, Verdict
from merit.metrics import Estimate

FRAME_HEIGHT = "720px"
"""The height of the report in a notebook; the frame scrolls."""


@dataclass(frozen=True)
class Report:
    """The gate's report; a notebook shows its page.

    Attributes:
        verdict: pass, fail or inconclusive; equal to these texts too.
        checks: the result of each check, in the report's order.
        metrics: the candidate's metrics on the test rows with their intervals; empty if only the data was judged.
        path: the page reports/gate.html.
        content: everything else that reports/gate.json contains (docs/reference/report.md).

    Example:
        report = merit.gate()
        [check.name for check in report.checks if check.verdict.is_blocking]
        report.metrics["roc_auc"].low
    """

    verdict: Verdict
    checks: tuple[Check, ...]
    metrics: Mapping[str, Estimate]
    path: Path
    content: Mapping[str, Any] = field(repr=False)
    _page: str = field(repr=False, compare=False)

    def _repr_html_(self) -> str:
        """Return the page in a frame of its own, so that its styles don't reach the notebook's."""
        return (
            f'<iframe srcdoc="{html.escape(self._page)}" sandbox title="merit gate: {self.verdict}" '
            f'style="width: 100%; height: {FRAME_HEIGHT}; border: 0"></iframe>'
        )


def build_report(content: Mapping[str, Any]) -> Report:
    """Return the report of the content of reports/gate.json, with the page that was written beside it."""
    page = artifacts.require_path(artifacts.GATE_HTML, "gate")
    candidate_metrics = (content["metrics"] or {}).get("candidate") or {}
    return Report(
        verdict=Verdict(content["verdict"]),
        checks=tuple(_build_check(each) for each in content["checks"]),
        metrics={name: _build_estimate(each) for name, each in candidate_metrics.items()},
        path=page.absolute(),
        content=content,
        _page=page.read_text(encoding="utf-8"),
    )


def judge_candidate(against: str | None = None, only: Literal["data", "model"] | None = None) -> Report:
    """Judge the candidate in this folder as `merit gate` does, write the report to reports/ and return it.

    A candidate that does not pass is a result here, not an exception.

    Args:
        against: the commit whose champion is compared; None for the merge base with main.
        only: `data` judges only the data, which needs no training, `model` only the model; None judges both.

    Raises:
        MeritError: a file is missing or was changed, so there is no verdict.

    Example:
        report = merit.gate()
        if report.verdict != "pass":
            print([check.advice for check in report.checks if check.advice])
    """
    from merit.config import lock
    from merit.gate import judge

    return build_report(judge.gate(lock.read_lock(), against, only))


def _build_check(values: Mapping[str, Any]) -> Check:
    known = {each.name: values[each.name] for each in fields(Check) if each.name in values}
    return Check(**{**known, "verdict": Verdict(values["verdict"])})


def _build_estimate(values: Mapping[str, float | None]) -> Estimate:
    """Return an estimate; JSON has null where the estimate has NaN."""
    return Estimate(*(math.nan if (number := values[name]) is None else number for name in ("value", "low", "high")))
