"""Renders the plots of a sweep's report as SVG in the page's colours; each mark names its trial on hover."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import quantiles

from markupsafe import Markup

from merit.gate.report.escape import sanitize_line
from merit.sweep.record import Sweep, Trial
from merit.sweep.report import axes, labels
from merit.sweep.report.axes import Axis

WIDTH, HEIGHT = 1000.0, 352.0
AXIS_TOP, AXIS_BOTTOM, UNSET_Y, SIDE_MARGIN = 46.0, 300.0, 336.0, 112.0
"""Parallel coordinates: top and bottom of the scales, height of unset parameters, and width of the margins."""
SMALL_SIZE = (520.0, 320.0)
"""Width and height of the smaller plots."""
FRAME_LEFT, FRAME_RIGHT, FRAME_TOP, FRAME_BOTTOM = 66.0, 505.0, 14.0, 274.0
"""The frame of the smaller plots."""
MAX_AXES = 9
"""Maximum number of scales in parallel coordinates, objectives included."""
MAX_LINES = 150
"""Maximum number of trials in parallel coordinates, best first: more are unreadable."""
MAX_LABELLED_TRIALS = 12
"""Maximum number of trials on a front that are labelled by their numbers."""
MAX_TITLE_CHARS, MAX_LABEL_CHARS = 24, 14
"""Maximum characters of a scale's title and of a tick's label."""


@dataclass(frozen=True)
class Frame:
    """The coordinates of a plot: maps values to pixels.

    Attributes:
        to_x: returns the x of a value.
        to_y: returns the y of a value.
        y_range: least and greatest value on the vertical scale.
    """

    to_x: Callable[[float], float]
    to_y: Callable[[float], float]
    y_range: tuple[float, float]


def _fill_template(template: str, *parts: object) -> Markup:
    """Return a markup template with parts filled in; parts that are not `Markup` are escaped."""
    return Markup(template).format(*parts)  # noqa: S704


def draw_text(x: float, y: float, label: str, css_class: str = "", anchor: str = "middle") -> Markup:
    """Return a text element."""
    template = '<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>'
    return _fill_template(template, css_class, x, y, anchor, sanitize_line(label))


def _draw_line(css_class: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    template = '<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>'
    return _fill_template(template, css_class, x1, y1, x2, y2)


def _draw_path(css_class: str, points: Iterable[tuple[float, float]], style: str = "") -> Markup:
    commands = "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return _fill_template('<path class="{}" d="{}" style="{}"/>', css_class, commands, style)


def _draw_trial(trial: Trial, css_class: str, title: str, inner: Markup) -> Markup:
    """Return the mark of a trial: it shows a title on hover, and links to the trial's row in the table."""
    template = '<a class="trial {}" href="#trial-{}"><title>{}</title>{}</a>'
    return _fill_template(template, css_class, trial.number, sanitize_line(title, 600), inner)


def _draw_dot(x: float, y: float) -> Markup:
    return _fill_template('<circle cx="{:.1f}" cy="{:.1f}" r="4"/>', x, y)


def _draw_svg(width: float, height: float, title: str, parts: Sequence[Markup]) -> Markup:
    template = '<svg role="img" aria-label="{}" viewBox="0 0 {:g} {:g}">{}</svg>'
    return _fill_template(template, title, width, height, Markup("").join(parts))


def format_title(sweep: Sweep, trial: Trial, keys: list[str]) -> str:
    """Return the text that a trial's mark shows on hover; `keys` are the parameters of the sweep."""
    settings = labels.format_settings(trial, keys, {key: key for key in keys})
    metrics = ", ".join(
        f"{metric} {labels.format_number(labels.find_latest_value(trial, metric))}" for metric in sweep.objectives
    )
    return f"trial {trial.number} ({trial.state}): {metrics}; {settings}"


def draw_parallel(sweep: Sweep, importance: dict[str, float]) -> Markup:
    """Draw parallel coordinates: a line per done trial through one scale per parameter and objective.

    Args:
        sweep: the sweep.
        importance: share of each parameter; selects the parameters to show if there are more than fit.
    """
    trials = labels.rank_trials(sweep)[:MAX_LINES]
    keys = all_keys = labels.list_parameters(sweep)
    if len(keys) + len(sweep.objectives) > MAX_AXES:
        keys = sorted(keys, key=lambda key: -importance.get(key, 0.0))[: MAX_AXES - len(sweep.objectives)]
    scales = [axes.from_values(key, (t.overrides.get(key) for t in trials), sweep.space.get(key, "")) for key in keys]
    metric_scales = [axes.from_values(metric, (repr(t.values[metric]) for t in trials)) for metric in sweep.objectives]
    count = len(scales) + len(metric_scales)
    xs = [SIDE_MARGIN + (WIDTH - 2 * SIDE_MARGIN) * index / max(1, count - 1) for index in range(count)]
    names = labels.shorten_keys(keys)
    parts = []
    best = {trial.number for trial in (sweep.find_front() if len(sweep.objectives) > 1 else trials[:1])}
    for rank, trial in reversed(list(enumerate(trials))):
        heights = [scale.locate_value(trial.overrides.get(scale.key)) for scale in scales]
        heights += [scale.locate_value(trial.values[scale.key]) for scale in metric_scales]
        points = [(x, UNSET_Y if h is None else _locate_y(h)) for x, h in zip(xs, heights, strict=True)]
        style = f"opacity:{0.85 - 0.65 * rank / max(1, len(trials) - 1):.2f}"
        css_class = "best" if trial.number in best else "done"
        inner = _draw_path("hit", points) + _draw_path("seen", points, "" if css_class == "best" else style)
        parts.append(_draw_trial(trial, css_class, format_title(sweep, trial, all_keys), inner))
    unset = {scale.key for scale in scales if any(scale.key not in trial.overrides for trial in trials)}
    for place, (x, scale) in enumerate(zip(xs, [*scales, *metric_scales], strict=True)):
        title = names.get(scale.key, scale.key)
        parts += _draw_scale(
            scale, x, sanitize_line(title, MAX_TITLE_CHARS), last=place == count - 1, unset=scale.key in unset
        )
    return _draw_svg(WIDTH, HEIGHT, "Parallel coordinates", parts)


def _locate_y(fraction: float) -> float:
    return AXIS_BOTTOM - fraction * (AXIS_BOTTOM - AXIS_TOP)


def _draw_scale(scale: Axis, x: float, title: str, *, last: bool, unset: bool) -> list[Markup]:
    side, anchor = (8, "start") if last else (-8, "end")
    parts = [_draw_line("axis", x, AXIS_TOP, x, AXIS_BOTTOM), draw_text(x, AXIS_TOP - 22, title, "name")]
    if scale.log:
        parts.append(draw_text(x, AXIS_TOP - 9, "log scale", "faint"))
    for fraction, label in scale.list_ticks():
        parts += [_draw_line("axis", x - 3, _locate_y(fraction), x + 3, _locate_y(fraction))]
        parts.append(
            draw_text(x + side, _locate_y(fraction) + 4, sanitize_line(label, MAX_LABEL_CHARS), "tick", anchor)
        )
    return [*parts, *([draw_text(x + side, UNSET_Y + 4, "not set", "faint", anchor)] if unset else [])]


def draw_history(sweep: Sweep, metric: str) -> Markup:
    """Draw each trial's metric by trial number, and a line of the best so far."""
    latest_values = {
        t.number: labels.find_latest_value(t, metric) for t in sweep.trials if t.state in {"done", "pruned"}
    }
    known_values = {number: value for number, value in latest_values.items() if value is not None}
    numbers = [trial.number for trial in sweep.trials]
    y_range, x_range = _find_range(list(known_values.values()), sweep.objectives[metric]), (min(numbers), max(numbers))
    frame = Frame(
        _make_scale(*x_range, FRAME_LEFT + 14, FRAME_RIGHT - 10),
        _make_scale(*y_range, FRAME_BOTTOM, FRAME_TOP),
        y_range,
    )
    parts, keys = (
        _draw_axes(_round_unique(axes.list_round_numbers(*x_range, 8)), frame, ("trial", metric)),
        labels.list_parameters(sweep),
    )
    parts += [
        _draw_mark(trial, known_values.get(trial.number), frame, format_title(sweep, trial, keys))
        for trial in sweep.trials
    ]
    parts.append(_draw_path("line", _trace_best(sweep, metric, frame)))
    return _draw_svg(*SMALL_SIZE, f"{sanitize_line(metric)} by trial", parts)


def _round_unique(values: list[float]) -> list[float]:
    return list(dict.fromkeys(float(round(value)) for value in values))


def _find_range(values: list[float], direction: str) -> tuple[float, float]:
    """Return the least and the greatest value of a scale; extremely bad values are cut off, to spread the others.

    The cut is at three interquartile ranges beyond the worse quartile.
    """
    low, high = min(values), max(values)
    if len(values) >= 4:
        first, _, third = quantiles(values, n=4)
        max_distance = 3 * (third - first)
        low, high = (
            (low, min(high, third + max_distance))
            if direction == "minimize"
            else (max(low, first - max_distance), high)
        )
    margin = 0.06 * (high - low) or abs(high) * 0.05 or 1.0
    return low - margin, high + margin


def _make_scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = (high - low) or 1.0
    return lambda value: start + (end - start) * max(0.0, min(1.0, (value - low) / span if high > low else 0.5))


def _draw_axes(xs: Sequence[float], frame: Frame, names: tuple[str, str]) -> list[Markup]:
    to_x, to_y = frame.to_x, frame.to_y
    parts = [_draw_line("axis", FRAME_LEFT, FRAME_BOTTOM, FRAME_RIGHT, FRAME_BOTTOM)]
    for y in axes.list_round_numbers(*frame.y_range):
        parts += [
            _draw_line("grid", FRAME_LEFT, to_y(y), FRAME_RIGHT, to_y(y)),
            draw_text(FRAME_LEFT - 7, to_y(y) + 4, f"{y:.4g}", "tick", "end"),
        ]
    parts += [draw_text(to_x(x), FRAME_BOTTOM + 18, f"{x:.4g}", "tick") for x in xs]
    parts.append(draw_text((FRAME_LEFT + FRAME_RIGHT) / 2, FRAME_BOTTOM + 38, names[0], "name"))
    template = '<g transform="translate(14 {:.1f}) rotate(-90)">{}</g>'
    return [
        *parts,
        _fill_template(
            template, (FRAME_TOP + FRAME_BOTTOM) / 2, draw_text(0, 0, sanitize_line(names[1], MAX_TITLE_CHARS), "name")
        ),
    ]


def _trace_best(sweep: Sweep, metric: str, frame: Frame) -> list[tuple[float, float]]:
    to_x, to_y = frame.to_x, frame.to_y
    points: list[tuple[float, float]] = []
    best = None
    for trial in labels.list_done(sweep):
        if best is None or labels.compute_cost(sweep, trial, metric) < labels.compute_cost(sweep, best, metric):
            if best is not None:
                points.append((to_x(trial.number), to_y(best.values[metric])))
            best = trial
            points.append((to_x(trial.number), to_y(trial.values[metric])))
    if best is not None:
        points.append((to_x(sweep.trials[-1].number), to_y(best.values[metric])))
    return points


def _draw_mark(trial: Trial, value: float | None, frame: Frame, title: str) -> Markup:
    x, y_range = frame.to_x(trial.number), frame.y_range
    if value is None:
        y = FRAME_BOTTOM - 7
        cross = _draw_line("cross", x - 4, y - 4, x + 4, y + 4) + _draw_line("cross", x - 4, y + 4, x + 4, y - 4)
        return _draw_trial(trial, trial.state, title, cross)
    y = frame.to_y(value)
    if y_range[0] <= value <= y_range[1]:
        return _draw_trial(trial, trial.state, title, _draw_dot(x, y))
    tip, foot = (y, y + 9) if value > y_range[1] else (y, y - 9)
    arrow = _fill_template('<path class="arrow" d="M{:.1f},{:.1f}l-5,{:.1f}h10z"/>', x, tip, foot - tip)
    return _draw_trial(trial, trial.state, f"{title}; beyond the scale", arrow)


def draw_front(sweep: Sweep) -> Markup:
    """Draw the done trials by both objectives, and the Pareto front as a line."""
    first, second = sweep.objectives
    trials = labels.list_done(sweep)
    ranges = [_find_range([t.values[metric] for t in trials], sweep.objectives[metric]) for metric in (first, second)]
    to_x, to_y = _make_scale(*ranges[0], FRAME_LEFT, FRAME_RIGHT), _make_scale(*ranges[1], FRAME_BOTTOM, FRAME_TOP)
    parts = _draw_axes(axes.list_round_numbers(*ranges[0], 6), Frame(to_x, to_y, ranges[1]), (first, second))
    best = sorted(sweep.find_front(), key=lambda t: t.values[first])
    front_points = [(to_x(t.values[first]), to_y(t.values[second])) for t in best]
    # Steps, not slopes: no trial lies between two on the front. A step's corner is the worse of both in each objective.
    lower = sweep.objectives[first] == "minimize"
    corners = [(right[0], left[1]) if lower else (left[0], right[1]) for left, right in pairwise(front_points)]
    steps = [
        point
        for front_point, corner in zip(front_points, [*corners, None], strict=True)
        for point in (front_point, corner)
        if point
    ]
    front_numbers, keys = {trial.number for trial in best}, labels.list_parameters(sweep)
    for trial in sorted(trials, key=lambda trial: trial.number in front_numbers):
        x, y = to_x(trial.values[first]), to_y(trial.values[second])
        css_class = "best" if trial.number in front_numbers else "done"
        parts.append(_draw_trial(trial, css_class, format_title(sweep, trial, keys), _draw_dot(x, y)))
    parts.append(_draw_path("line", steps))
    labelled = zip(best, front_points, strict=True) if len(best) <= MAX_LABELLED_TRIALS else ()
    parts += [draw_text(x + 8, y - 7, str(t.number), "tick", "start") for t, (x, y) in labelled]
    return _draw_svg(*SMALL_SIZE, f"{sanitize_line(second)} by {sanitize_line(first)}", parts)
