"""Draws intervals and bars as text for table cells, and charts in Mermaid syntax for GitHub."""

import math
from decimal import Decimal

from merit.gate.report.sections import Curves, Estimate

HALF_WIDTH_CHARS = 10
"""Characters on either side of the centre of a drawing."""


def draw_interval(estimate: Estimate | None, scale: float) -> str:
    """Draw an interval around zero as characters: `·····├──●─┤│··········`.

    Args:
        estimate: the value and its interval.
        scale: the distance from zero to either end of the line.
    """
    if estimate is None or not estimate.has_interval:
        return ""
    low, value, high = (_scale_position(number, scale) for number in (estimate.low, estimate.value, estimate.high))
    line = ["·"] * (2 * HALF_WIDTH_CHARS + 1)
    line[low : high + 1] = "─" * (high - low + 1)
    line[HALF_WIDTH_CHARS] = "┼" if low <= HALF_WIDTH_CHARS <= high else "│"
    line[low], line[high] = "├", "┤"
    line[value] = "●"
    return "".join(line)


def _scale_position(number: float | None, scale: float) -> int:
    assert number is not None
    return HALF_WIDTH_CHARS + max(-HALF_WIDTH_CHARS, min(HALF_WIDTH_CHARS, round(HALF_WIDTH_CHARS * number / scale)))


def draw_bar(share: float) -> str:
    """Draw a share of a limit as a bar; the middle marks the limit."""
    filled = (
        2 * HALF_WIDTH_CHARS
        if math.isinf(share)
        else max(0, min(2 * HALF_WIDTH_CHARS, round(HALF_WIDTH_CHARS * share)))
    )
    line = ["█"] * filled + ["░"] * (2 * HALF_WIDTH_CHARS - filled)
    return "".join([*line[:HALF_WIDTH_CHARS], "│", *line[HALF_WIDTH_CHARS:]])


def render_charts(curves: Curves | None) -> list[str]:
    """Return Mermaid charts for a GitHub comment; they contain only numbers and fixed texts, so nothing is escaped."""
    if curves is None:
        return []
    rendered = []
    if len(curves.calibration) > 1:
        predicted, observed = zip(*((each.predicted, each.observed) for each in curves.calibration), strict=True)
        title, x = "Calibration (bars: observed, line: predicted)", "rows, from the least prediction to the greatest"
        rendered.append(_render_chart(title, x, "target", observed, predicted, y_min=min(0.0, *predicted, *observed)))
    if len(curves.loss) > 1:
        train, validation = zip(*((each.train, each.validation) for each in curves.loss), strict=True)
        loss_range = min(*train, *validation), max(*train, *validation)
        title = "Loss (bars: validation, line: training)"
        rendered.append(
            _render_chart(
                title, "epoch", "loss", validation, train, y_min=loss_range[0] - (loss_range[1] - loss_range[0]) / 4
            )
        )
    return rendered


def _render_chart(title: str, x: str, y: str, bars: tuple[float, ...], line: tuple[float, ...], *, y_min: float) -> str:
    y_max = max(*bars, *line)
    return "\n".join(
        [
            "xychart-beta",
            f'    title "{title}"',
            f'    x-axis "{x}" [{", ".join(str(index + 1) for index in range(len(bars)))}]',
            f'    y-axis "{y}" {_format_number(y_min)} --> {_format_number(y_max if y_max > y_min else y_min + 1)}',
            f"    bar [{', '.join(map(_format_number, bars))}]",
            f"    line [{', '.join(map(_format_number, line))}]",
        ]
    )


def _format_number(value: float) -> str:
    """Format a number with four significant digits, without an exponent, which Mermaid can't parse."""
    return format(Decimal(f"{value:.4g}"), "f")
