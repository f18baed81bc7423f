from collections.abc import Callable
from pathlib import Path

import pytest

from merit.config.compose import compose
from merit.errors import MeritError
from merit.tracking import sweep_logger


def test_runs_that_can_not_be_kept_are_told_before_the_first_trial(git_repo: Callable[..., str], conf: Path) -> None:
    Path("data").mkdir(exist_ok=True)
    Path("data/raw.parquet").write_bytes(b"rows")
    Path("runs").write_text("no folder")
    teller = sweep_logger.SweepLogger(compose(["tracking=csv"]), "one")
    with pytest.raises(MeritError, match=r"^runs/.*: can.t be written"):
        teller.start_sweep()
    teller.close()
