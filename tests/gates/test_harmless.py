"""The gates against changes that may merge: at most one of them is refused."""

from pathlib import Path

import pytest

from tests.support.champion_project import judged
from tests.support.harmless_changes import HARMLESS

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.mark.timeout(2400)  # some twenty gates, one after another
def test_harmless_changes_pass(home: Path, tmp_path: Path) -> None:
    assert len(HARMLESS) >= 20
    outcomes = {case.name: judged(home, tmp_path / "copy", case.make, case.first, None) for case in HARMLESS}
    refused = {name: each.refused for name, each in outcomes.items() if each.verdict != "pass"}
    assert len(refused) <= 1, refused
