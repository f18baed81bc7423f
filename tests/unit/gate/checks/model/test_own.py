from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from merit.errors import MeritError
from merit.gate.checks.model import own
from merit.gate.evidence import Evidence
from merit.gate.verdict import Check, Verdict


@pytest.fixture
def run_own(evidence: Evidence, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[Check]]:
    """Run a project's own check that returns something."""

    def run(result: Any) -> list[Check]:
        monkeypatch.setattr(own.targets, "build_all", lambda _: {"mine": lambda judged: result})
        return [check(evidence) for check in own.build_checks(evidence).values()]

    return run


def test_a_projects_own_check_can_neither_waive_nor_rename_itself(run_own: Callable[[Any], list[Check]]) -> None:
    result = Check("contract", Verdict.FAIL, "3", "2", "do", group="data", waived=True, rows_needed=900)
    assert run_own(result) == [Check("mine", Verdict.FAIL, "3", "2", "do", rows_needed=900)]
    assert run_own(replace(result, rows_needed="many"))[0].rows_needed is None


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (True, r"^gate\.checks\.mine: gave bool; it must give a merit\.gate\.verdict\.Check$"),
        (None, r"^gate\.checks\.mine: gave NoneType; it must give a merit\.gate\.verdict\.Check$"),
        (
            Check("mine", "passed", "", ""),  # type: ignore[arg-type]
            r"^gate\.checks\.mine: gave the verdict 'passed'; allowed: pass, fail, inconclusive, not applicable$",
        ),
    ],
)
def test_a_projects_own_check_that_gives_no_verdict_is_refused(
    run_own: Callable[[Any], list[Check]], result: Any, message: str
) -> None:
    with pytest.raises(MeritError, match=message):
        run_own(result)
