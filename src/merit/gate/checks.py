"""The checks: each looks at one thing the candidate must satisfy and says pass, fail or inconclusive."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from merit.config import targets
from merit.config.schema import Lock, Margin, Target
from merit.errors import MeritError
from merit.gate.champion import Champion
from merit.gate.verdict import Check, Verdict, at_least, at_most
from merit.metrics import Estimate, Metric, compare, scored
from merit.scoring import Package, columns_of
from merit.tasks import HIGHER_IS_BETTER


@dataclass(frozen=True)
class Evidence:
    """What the checks look at. The candidate's scores are the package's own, made from raw rows.

    Attributes:
        rows: the raw test rows.
        target: 0 or 1, the place of the class, or the number, [rows].
        candidate: the package's predictions, as `merit.metrics.scored` takes them.
        network: those of the network in PyTorch, as `evaluate` wrote them.
        baseline: the baseline's.
        deviation: of the target on these rows, the unit of a regression's parity.
        own: metrics of the project's own.
        metrics: the candidate's metrics with intervals.
    """

    lock: Lock
    contract: dict[str, Any]
    rows: pl.DataFrame
    target: NDArray[Any]
    candidate: NDArray[Any]
    network: NDArray[Any]
    baseline: NDArray[Any]
    deviation: float
    own: Mapping[str, Metric]
    metrics: dict[str, Estimate]
    manifest: dict[str, Any]
    bytes: int
    champion: Champion | None

    def is_better_higher(self, metric: str) -> bool:
        """Say whether more of a metric is better."""
        return bool(self.own[metric].higher_is_better) if metric in self.own else HIGHER_IS_BETTER[metric]


def run(evidence: Evidence) -> list[Check]:
    """Return every check's finding, in the order of the report."""
    found = [
        _contract(evidence),
        *_floors(evidence),
        _baseline(evidence),
        *_champion(evidence),
        *_calibration(evidence),
        _parity(evidence),
        _size(evidence),
        *_own(evidence),
    ]
    return [_advised(check) for check in found]


def _advised(check: Check) -> Check:
    """Say of an interval across its limit that more rows are wanted, not that the model is bad."""
    if check.verdict != Verdict.INCONCLUSIVE or "[" not in check.found:
        return check
    if "nan" in check.found:
        return replace(check, advice="the metric gives no number on these rows: judge on others, or by another metric")
    return replace(check, advice="the interval lies on both sides of the limit: judge on more test rows")


def _contract(evidence: Evidence) -> Check:
    broken = len(evidence.contract["violations"])
    passed = evidence.contract["passed"] is True and broken == 0
    found = f"{evidence.contract['rows']:,} rows, {broken} violations"
    return Check(
        "contract",
        Verdict.PASS if passed else Verdict.FAIL,
        found,
        "no violation",
        "mend the data; see reports/data.json",
    )


def _floors(evidence: Evidence) -> list[Check]:
    return [_floor(evidence, name, limit) for name, limit in evidence.lock.gate.floors.items()]


def _floor(evidence: Evidence, name: str, limit: float) -> Check:
    found, higher = evidence.metrics[name], evidence.is_better_higher(name)
    verdict = (at_least if higher else at_most)(found, limit)
    allowed = f"{'at least' if higher else 'at most'} {limit:g}"
    return Check(f"floor: {name}", verdict, show(found), allowed, "improve the model, or judge it on more test rows")


def _baseline(evidence: Evidence) -> Check:
    rule = evidence.lock.gate.baseline
    found = _difference(evidence, evidence.baseline, [rule.metric])
    return _margin(
        evidence,
        "baseline",
        rule,
        found,
        "gradient boosting does better on the same columns: use it, or improve the network",
    )


def _champion(evidence: Evidence) -> list[Check]:
    """Compare with the champion on the same rows; a champion that can't be scored is no pass."""
    champion = evidence.champion
    if champion is None:
        return [Check("champion", Verdict.PASS, "no champion yet", "nothing to compare with")]
    if champion.is_candidate():
        found = f"the model of {champion.commit[:7]}, bit for bit"
        return [Check("champion", Verdict.PASS, found, "no worse than the champion")]
    try:
        with champion.fetched() as package:
            scores = _scores(package, evidence.rows, evidence.lock.data.target)
    except MeritError as error:
        advice = "bring it with 'dvc pull', or compare with the champion of another commit by --against REF"
        found = f"{champion.commit[:7]} can't be scored: {error}"
        return [Check("champion", Verdict.INCONCLUSIVE, found, "no worse than the champion", advice)]
    found_all = _difference(evidence, scores, [rule.metric for rule in evidence.lock.gate.champion])
    advice = "the champion is better on the same rows: keep it, or improve the candidate"
    return [_margin(evidence, "champion", rule, found_all, advice) for rule in evidence.lock.gate.champion]


def _scores(champion: Package, rows: pl.DataFrame, target: Target) -> NDArray[np.float32]:
    """Return the champion's predictions.

    Raises:
        MeritError: it predicts something else.
    """
    task, classes = champion.output.get("task"), champion.output.get("classes")
    if task != target.task or classes != target.classes:
        raise MeritError(f"it predicts something else ({task}, {classes or 'no classes'})")
    return champion.predict(columns_of(rows, champion.graph.inputs))


def _difference(evidence: Evidence, rival: NDArray[Any], names: list[str]) -> dict[str, Estimate]:
    task = evidence.lock.data.target.task
    ours, theirs = (scored(task, evidence.target, each, evidence.own) for each in (evidence.candidate, rival))
    how = evidence.lock.gate
    return compare(ours, theirs, names, count=how.resamples, confidence=how.confidence, seed=evidence.lock.seed)


def _margin(evidence: Evidence, rival: str, rule: Margin, found: dict[str, Estimate], advice: str) -> Check:
    """Judge a difference for non-inferiority: its whole interval must be on the good side of the margin."""
    difference = found[rule.metric]
    higher = evidence.is_better_higher(rule.metric)
    verdict = at_least(difference, -rule.margin) if higher else at_most(difference, rule.margin)
    allowed = f"at least {-rule.margin:+g}" if higher else f"at most {rule.margin:+g}"
    return Check(f"{rival}: {rule.metric}", verdict, show(difference, signed=True), allowed, advice)


def _calibration(evidence: Evidence) -> list[Check]:
    """Judge how honest the probabilities are; a regression has none."""
    limit = evidence.lock.gate.calibration
    if limit is None:
        return []
    found = evidence.metrics["calibration_error"]
    advice = "the probabilities are off: train longer, or regularise less"
    return [Check("calibration", at_most(found, limit), show(found), f"at most {limit:g}", advice)]


def _parity(evidence: Evidence) -> Check:
    """Compare the package on raw rows with the network that was evaluated; what the manifest says is not enough."""
    limit = evidence.lock.gate.parity
    unit = evidence.deviation if evidence.lock.data.target.task == "regression" else 1.0
    greatest = float(np.abs(evidence.candidate - evidence.network).max()) / unit
    verdict = Verdict.PASS if greatest <= limit else Verdict.FAIL
    found = f"{greatest:.1e} on {len(evidence.candidate):,} rows"
    advice = "the package is not the network that was evaluated: make both again with 'merit run'"
    return Check("parity", verdict, found, f"at most {limit:.0e}", advice)


def _size(evidence: Evidence) -> Check:
    size, limit = evidence.bytes / 1e6, evidence.lock.gate.size_mb
    verdict = Verdict.PASS if size <= limit else Verdict.FAIL
    return Check("size", verdict, f"{size:.2f} MB", f"at most {limit:g} MB", "make the network smaller")


def _own(evidence: Evidence) -> list[Check]:
    """Run the project's own checks; each is called with the evidence, and gives a Check."""
    found = []
    for name, check in targets.build_all(evidence.lock.gate.checks).items():
        made = check(evidence)
        if not isinstance(made, Check):
            raise MeritError(f"gate.checks.{name}: gave {type(made).__name__}; it must give a merit.gate.verdict.Check")
        if made.verdict not in list(Verdict):
            raise MeritError(
                f"gate.checks.{name}: gave the verdict {made.verdict!r:.80}; allowed: {', '.join(Verdict)}"
            )
        texts: dict[str, Any] = {part: str(getattr(made, part)) for part in ("found", "allowed", "advice")}
        found.append(replace(made, name=name, verdict=Verdict(made.verdict), **texts))
    return found


def show(found: Estimate, *, signed: bool = False) -> str:
    """Return a value with its interval."""
    form = "+.4f" if signed else ".4f"
    return f"{found.value:{form}} [{found.low:{form}}, {found.high:{form}}]"
