"""Defines the interface of the gate's checks: merit's own, and those that a project brings, named in gate.checks.

A check of merit is a file of `gate/checks/model` or `gate/checks/data` that sets NAME and FAMILY. The gate finds it by
these two lines; adding a check needs no change elsewhere.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from merit.config.schema import Lock
from merit.gate import verdict
from merit.gate.checks.data.evidence import DataEvidence
from merit.gate.checks.data.findings import Findings
from merit.gate.evidence import Evidence

Schedule = Literal["first", "background", "in turn", "side by side"]
"""When the checks of a family run: before all others, while nothing else loads the machine; in the background from then
on, each a `BackgroundCheck`, until their turn in the report; in their turn, one after another or side by side."""


class Check(Protocol):
    """A gate check: called with the evidence, returns its result.

    The class of a project's check takes its arguments from YAML; the report names the check by its key in gate.checks.
    docs/how-to/own-python.md shows it whole.

    Example:
        class MeanIsNear:
            def __init__(self, *, most):
                self.most = most

            def __call__(self, evidence: merit.Evidence) -> merit.CheckResult:
                gap = abs(evidence.candidate.mean() - evidence.target.mean())
                verdict = merit.Verdict.PASS if gap <= self.most else merit.Verdict.FAIL
                return merit.CheckResult("", verdict, f"{gap:.3f}", f"at most {self.most}")
    """

    def __call__(self, evidence: Evidence) -> verdict.Check:
        """Return the result: the verdict, what was found, what is allowed, and what to do if it did not pass."""


@dataclass(frozen=True)
class CheckFamily:
    """The checks of one file of merit.

    Attributes:
        position: where they stand in the report, between the families of a lower and of a higher position.
        build_checks: returns the checks that params.yaml asks for, by the names that the report gives them.
        phase: what a person who waits is shown when their turn comes; empty to show nothing new.
        schedule: when they run.
        list_conditional_names: returns the names of those that need a champion, so that a waiver may name them even
            where there is none.

    Example:
        NAME = "size"
        FAMILY = CheckFamily(190, lambda evidence: {"size": check_size})
    """

    position: int
    build_checks: Callable[[Evidence], Mapping[str, Check]]
    phase: str = ""
    schedule: Schedule = "in turn"
    list_conditional_names: Callable[[Lock], Collection[str]] = lambda _: ()


@dataclass(frozen=True)
class DataFamily:
    """The checks of one file of merit that judge the data, without a model, and share one measurement of it.

    Attributes:
        position: where they stand in the report.
        judge: returns their results, and what they add to the report's section on the data.
    """

    position: int
    judge: Callable[[DataEvidence], Findings]
