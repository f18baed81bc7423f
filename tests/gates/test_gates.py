"""The gates against changes that must not merge, and against harmless ones."""

from pathlib import Path

import pytest

from tests.gates.planted import PLANTED, Planted
from tests.gates.world import judged


@pytest.mark.parametrize("case", PLANTED, ids=lambda case: case.name)
def test_a_planted_failure_is_refused(home: Path, tmp_path: Path, case: Planted) -> None:
    outcome = judged(home, tmp_path / "copy", case.plant, case.first, case.part)
    assert outcome.verdict != "pass"
    assert case.refused_by in outcome.refused, outcome.refused
