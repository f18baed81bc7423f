import math

import pytest

from merit.gate.report import text_charts
from merit.gate.report.sections import Curves, Estimate


def _estimate(low: float | None, value: float, high: float | None) -> Estimate:
    return Estimate.model_validate({"value": value, "low": low, "high": high})


@pytest.mark.parametrize(
    ("numbers", "drawn"),
    [
        ((-0.5, 0.0, 0.5), "·····├────●────┤·····"),
        ((0.2, 0.5, 0.8), "··········│·├──●──┤··"),
        ((-9.0, -0.5, 9.0), "├────●────┼─────────┤"),
    ],
)
def test_an_interval_is_drawn_around_zero_and_cut_at_the_ends(numbers: tuple[float, float, float], drawn: str) -> None:
    assert text_charts.draw_interval(_estimate(*numbers), 1.0) == drawn


def test_what_has_no_interval_is_not_drawn() -> None:
    assert text_charts.draw_interval(None, 1.0) == ""
    assert text_charts.draw_interval(_estimate(None, 0.5, None), 1.0) == ""


@pytest.mark.parametrize(
    ("share", "drawn"),
    [
        (0.0, "░░░░░░░░░░│░░░░░░░░░░"),
        (1.0, "██████████│░░░░░░░░░░"),
        (1.5, "██████████│█████░░░░░"),
        (-1.0, "░░░░░░░░░░│░░░░░░░░░░"),
        (math.inf, "██████████│██████████"),
    ],
)
def test_the_middle_of_a_bar_is_the_limit(share: float, drawn: str) -> None:
    assert text_charts.draw_bar(share) == drawn


def test_charts_hold_plain_numbers_without_exponents() -> None:
    loss = [{"train": 0.5, "validation": 1.23456e-7}, {"train": 0.4, "validation": 0.25}]
    calibration = [{"predicted": 0.1, "observed": 0.2}]
    curves = Curves.model_validate({"calibration": calibration, "loss": loss})
    (chart,) = text_charts.render_charts(curves)
    assert chart.splitlines()[2:] == [
        '    x-axis "epoch" [1, 2]',
        '    y-axis "loss" -0.125 --> 0.5',
        "    bar [0.0000001235, 0.25]",
        "    line [0.5, 0.4]",
    ]
    assert text_charts.render_charts(None) == []
