"""Draws intervals and bars as text for table cells, and charts in Mermaid syntax for GitHub."""

import math
from decimal import Decimal

from merit.gate.report.sections import Curves, Estimate

CELLS = 10
"""Characters on either side of the centre of a drawing."""


def strip(found: Estimate | None, scale: float) -> str:
    """Draw an interval around zero as characters: `·····├──●─┤│··········`.

    Args:
        found: the value and its interval.
        scale: the distance from zero to either end of the line.
    """
    if found is None or not found.is_known:
        return ""
    low, value, high = (_place(number, scale) for number in (found.low, found.value, found.high))
    line = ["·"] * (2 * CELLS + 1)
    line[low : high + 1] = "─" * (high - low + 1)
    line[CELLS] = "┼" if low <= CELLS <= high else "│"
    line[low], line[high] = "├", "┤"
    line[value] = "●"
    return "".join(line)


def _place(number: float | None, scale: float) -> int:
    assert number is not None
    return CELLS + max(-CELLS, min(CELLS, round(CELLS * number / scale)))


def bar(share: float) -> str:
    """Draw a share of a limit as a bar; the middle marks the limit."""
    filled = 2 * CELLS if math.isinf(share) else max(0, min(2 * CELLS, round(CELLS * share)))
    line = ["█"] * filled + ["░"] * (2 * CELLS - filled)
    return "".join([*line[:CELLS], "│", *line[CELLS:]])


def charts(curves: Curves | None) -> list[str]:
    """Return Mermaid charts for a GitHub comment; they contain only numbers and fixed texts, so nothing is escaped."""
    if curves is None:
        return []
    made = []
    if len(curves.calibration) > 1:
        predicted, observed = zip(*((each.predicted, each.observed) for each in curves.calibration), strict=True)
        title, x = "Calibration (bars: observed, line: predicted)", "rows, from the least prediction to the greatest"
        made.append(_chart(title, x, "target", observed, predicted, least=min(0.0, *predicted, *observed)))
    if len(curves.loss) > 1:
        train, validation = zip(*((each.train, each.validation) for each in curves.loss), strict=True)
        ends = min(*train, *validation), max(*train, *validation)
        title = "Loss (bars: validation, line: training)"
        made.append(_chart(title, "epoch", "loss", validation, train, least=ends[0] - (ends[1] - ends[0]) / 4))
    return made


def _chart(title: str, x: str, y: str, bars: tuple[float, ...], line: tuple[float, ...], *, least: float) -> str:
    greatest = max(*bars, *line)
    return "\n".join(
        [
            "xychart-beta",
            f'    title "{title}"',
            f'    x-axis "{x}" [{", ".join(str(place + 1) for place in range(len(bars)))}]',
            f'    y-axis "{y}" {_number(least)} --> {_number(greatest if greatest > least else least + 1)}',
            f"    bar [{', '.join(map(_number, bars))}]",
            f"    line [{', '.join(map(_number, line))}]",
        ]
    )


def _number(value: float) -> str:
    """Format a number with four significant digits, without an exponent, which Mermaid can't parse."""
    return format(Decimal(f"{value:.4g}"), "f")
