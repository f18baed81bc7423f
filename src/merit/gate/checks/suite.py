"""Runs the checks of the model; each returns pass, fail or inconclusive."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from merit.config import targets
from merit.console.tables import show_phase
from merit.errors import MeritError
from merit.gate.checks.model import behaviour, comparison, cost, parity, replay, robustness, slices
from merit.gate.checks.model.limits import Limit, judged
from merit.gate.evidence import Evidence
from merit.gate.verdict import Check, Verdict

__all__ = ["Evidence", "begun", "run"]


@contextmanager
def begun(evidence: Evidence) -> Iterator[Callable[[], list[Check]]]:
    """Start the slow checks in the background; yield a function that runs the others and returns all results."""
    show_phase("gate: measuring prediction times")
    times = cost.times(evidence)  # first, while no background check of ours loads the machine
    with parity.begun(evidence) as compared, replay.begun(evidence) as replayed:
        yield lambda: [
            *_compared(evidence),
            *_asked(evidence),
            compared(),
            cost.size(evidence),
            *times,
            *_own(evidence),
            *_replayed(replayed),
        ]


def run(evidence: Evidence) -> list[Check]:
    """Run all checks of the model and return the results in the report's order."""
    with begun(evidence) as finish:
        return finish()


def _compared(evidence: Evidence) -> list[Check]:
    show_phase("gate: comparing with baseline and champion")
    return [
        *_floors(evidence),
        comparison.baseline(evidence),
        *comparison.champion(evidence),
        *slices.check(evidence),
        *_calibration(evidence),
    ]


def _asked(evidence: Evidence) -> list[Check]:
    show_phase("gate: checking robustness and behaviour")
    return [
        *robustness.check(evidence),
        *behaviour.check(evidence),
    ]


def _replayed(replayed: Callable[[], list[Check]]) -> list[Check]:
    show_phase("gate: waiting for predictions of the built Bento")
    return replayed()


def _floors(evidence: Evidence) -> list[Check]:
    return [_floor(evidence, name, limit) for name, limit in evidence.lock.gate.floors.items()]


def _floor(evidence: Evidence, name: str, limit: float) -> Check:
    advice = "improve the model, or judge it on more test rows"
    least = Limit(limit, is_least=evidence.is_better_higher(name))
    return judged(f"floor: {name}", evidence.metrics[name], least, rows=evidence.rows.height, advice=advice)


def _calibration(evidence: Evidence) -> list[Check]:
    """Check the calibration error of the probabilities; a regression has no such limit."""
    if evidence.lock.gate.calibration is None:
        return []
    found, limit = evidence.metrics["calibration_error"], Limit(evidence.lock.gate.calibration, is_least=False)
    advice = "the probabilities are off: train longer, or regularise less"
    return [judged("calibration", found, limit, rows=evidence.rows.height, advice=advice)]


def _own(evidence: Evidence) -> list[Check]:
    """Run the project's own checks, each a callable that takes the evidence and returns a Check."""
    found = []
    for name, check in targets.build_all(evidence.lock.gate.checks).items():
        made = check(evidence)
        if not isinstance(made, Check):
            raise MeritError(f"gate.checks.{name}: gave {type(made).__name__}; it must give a merit.gate.verdict.Check")
        if made.verdict not in list(Verdict):
            raise MeritError(
                f"gate.checks.{name}: gave the verdict {made.verdict!r:.80}; allowed: {', '.join(Verdict)}"
            )
        found_text, allowed, advice = str(made.found), str(made.allowed), str(made.advice)
        needed = made.rows_needed if isinstance(made.rows_needed, int) else None
        # Copied without `waived`, `name` and `group`, so that an own check can neither waive nor rename itself.
        found.append(Check(name, Verdict(made.verdict), found_text, allowed, advice, rows_needed=needed))
    return found
