"""The gates against changes that must not merge: each is refused by the check that is meant for it."""

from pathlib import Path

import pytest

from tests.support.champion_project import judged
from tests.support.planted_failures import PLANTED, Planted

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.mark.parametrize("case", PLANTED, ids=lambda case: case.name)
def test_a_planted_failure_is_refused(home: Path, tmp_path: Path, case: Planted) -> None:
    outcome = judged(home, tmp_path / "copy", case.plant, case.first, case.part)
    assert outcome.verdict != "pass"
    assert case.refused_by in outcome.refused, outcome.refused


def test_there_are_enough_of_them() -> None:
    assert len(PLANTED) >= 30
