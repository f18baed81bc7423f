"""Runs the checks of the model in the order, and on the schedule, that their files declare."""

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from itertools import starmap

from merit.console.logging import show_phase
from merit.gate.checks.background import BackgroundCheck
from merit.gate.checks.protocol import Check, CheckFamily
from merit.gate.checks.registry import list_families
from merit.gate.evidence import Evidence
from merit.gate.verdict import Check as CheckResult

FinishChecks = Callable[[], list[CheckResult]]


@contextmanager
def start_checks(evidence: Evidence) -> Iterator[FinishChecks]:
    """Start the slow checks in the background; yield a function that runs the others and returns all results."""
    families = list_families(CheckFamily)
    finishers: dict[CheckFamily, FinishChecks] = {}
    for family in (each for each in families if each.schedule == "first"):
        results = _run_family(family, family.build_checks(evidence), evidence)
        finishers[family] = partial(list, results)
    with ExitStack() as stack:
        for family in (each for each in families if each.schedule == "background"):
            finishers[family] = _start_family(family, evidence, stack)
        yield lambda: [
            result for family in families for result in _finish_family(family, finishers.get(family), evidence)
        ]


def run_checks(evidence: Evidence) -> list[CheckResult]:
    """Run all checks of the model and return the results in the report's order."""
    with start_checks(evidence) as finish_checks:
        return finish_checks()


def _start_family(family: CheckFamily, evidence: Evidence, stack: ExitStack) -> FinishChecks:
    checks = family.build_checks(evidence)
    for check in checks.values():
        assert isinstance(check, BackgroundCheck)
        stack.enter_context(check)
    return partial(_run_family, family, checks, evidence)


def _finish_family(family: CheckFamily, finish: FinishChecks | None, evidence: Evidence) -> list[CheckResult]:
    return _run_family(family, family.build_checks(evidence), evidence) if finish is None else finish()


def _run_family(family: CheckFamily, checks: Mapping[str, Check], evidence: Evidence) -> list[CheckResult]:
    if family.phase:
        show_phase(f"gate: {family.phase}")
    run_check = partial(_run_check, evidence)
    if family.schedule != "side by side":
        return list(starmap(run_check, checks.items()))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(run_check, *zip(*checks.items(), strict=True))) if checks else []


def _run_check(evidence: Evidence, name: str, check: Check) -> CheckResult:
    return replace(check(evidence), name=name)
