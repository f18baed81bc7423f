"""A user's script, which mypy checks and nobody runs: the types that `import merit` gives."""

from typing import assert_type

import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import NDArray

import merit
from merit.gate.verdict import Check, Verdict  # as docs/how-to/own-python.md shows it; `merit.gate` stays a function

Predictions = NDArray[np.float32]


class AlwaysPasses:
    """A check of one's own."""

    def __call__(self, evidence: merit.Evidence) -> merit.CheckResult:
        """Pass."""
        return Check("", Verdict.PASS, f"{evidence.rows.height}", "any")


def use() -> None:
    """Use each public name."""
    model = merit.load("model")
    assert_type(model.predict(pl.DataFrame({"size": [1.0]})), Predictions)
    assert_type(model.predict({"size": 1.0}), Predictions)
    assert_type(model.predict([{"size": 1.0}]), Predictions)
    model.predict(pd.DataFrame({"size": [1.0]}))
    assert_type(merit.gate().verdict, merit.Verdict)
    assert_type(merit.gate(only="data").checks, tuple[merit.CheckResult, ...])
    assert_type(merit.run(["model=linear"]).report, merit.Report)
    assert_type(merit.compose(), merit.Lock)
    check: merit.Check = AlwaysPasses()
    assert check
