"""Runs the checks of the model; each returns pass, fail or inconclusive."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from merit.config.components import targets
from merit.console.logging import show_phase
from merit.errors import MeritError
from merit.gate.checks.model import behaviour, comparisons, cost, parity, replay, robustness, slices
from merit.gate.checks.model.limits import Limit, check_limit
from merit.gate.evidence import Evidence
from merit.gate.verdict import Check, Verdict

__all__ = ["Evidence", "run_checks", "start_checks"]


@contextmanager
def start_checks(evidence: Evidence) -> Iterator[Callable[[], list[Check]]]:
    """Start the slow checks in the background; yield a function that runs the others and returns all results."""
    show_phase("gate: measuring prediction times")
    time_checks = cost.check_times(evidence)  # first, while no background check of ours loads the machine
    with parity.start_check(evidence) as finish_parity, replay.start_check(evidence) as finish_replay:
        yield lambda: [
            *_compare_with_rivals(evidence),
            *_check_behaviour(evidence),
            finish_parity(),
            cost.check_size(evidence),
            *time_checks,
            *_run_own_checks(evidence),
            *_finish_replay(finish_replay),
        ]


def run_checks(evidence: Evidence) -> list[Check]:
    """Run all checks of the model and return the results in the report's order."""
    with start_checks(evidence) as finish_checks:
        return finish_checks()


def _compare_with_rivals(evidence: Evidence) -> list[Check]:
    show_phase("gate: comparing with baseline and champion")
    return [
        *_check_floors(evidence),
        comparisons.check_baseline(evidence),
        *comparisons.check_champion(evidence),
        *slices.check_slices(evidence),
        *_check_calibration(evidence),
    ]


def _check_behaviour(evidence: Evidence) -> list[Check]:
    show_phase("gate: checking robustness and behaviour")
    return [
        *robustness.check_robustness(evidence),
        *behaviour.check_behaviour(evidence),
    ]


def _finish_replay(finish: Callable[[], list[Check]]) -> list[Check]:
    show_phase("gate: waiting for predictions of the built Bento")
    return finish()


def _check_floors(evidence: Evidence) -> list[Check]:
    return [_check_floor(evidence, name, limit) for name, limit in evidence.lock.gate.floors.items()]


def _check_floor(evidence: Evidence, name: str, limit: float) -> Check:
    advice = "improve the model, or judge it on more test rows"
    floor_limit = Limit(limit, is_lower_bound=evidence.is_higher_better(name))
    return check_limit(f"floor: {name}", evidence.metrics[name], floor_limit, rows=evidence.rows.height, advice=advice)


def _check_calibration(evidence: Evidence) -> list[Check]:
    """Check the calibration error of the probabilities; a regression has no such limit."""
    if evidence.lock.gate.calibration is None:
        return []
    calibration_error, limit = (
        evidence.metrics["calibration_error"],
        Limit(evidence.lock.gate.calibration, is_lower_bound=False),
    )
    advice = "the probabilities are off: train longer, or regularise less"
    return [check_limit("calibration", calibration_error, limit, rows=evidence.rows.height, advice=advice)]


def _run_own_checks(evidence: Evidence) -> list[Check]:
    """Run the project's own checks, each a callable that takes the evidence and returns a Check."""
    results = []
    for name, check in targets.build_all(evidence.lock.gate.checks).items():
        result = check(evidence)
        if not isinstance(result, Check):
            raise MeritError(
                f"gate.checks.{name}: gave {type(result).__name__}; it must give a merit.gate.verdict.Check"
            )
        if result.verdict not in list(Verdict):
            raise MeritError(
                f"gate.checks.{name}: gave the verdict {result.verdict!r:.80}; allowed: {', '.join(Verdict)}"
            )
        found_text, allowed, advice = str(result.found), str(result.allowed), str(result.advice)
        rows_needed = result.rows_needed if isinstance(result.rows_needed, int) else None
        # Copied without `waived`, `name` and `group`, so that an own check can neither waive nor rename itself.
        results.append(Check(name, Verdict(result.verdict), found_text, allowed, advice, rows_needed=rows_needed))
    return results
