"""Renders the plots of a sweep's report as SVG in the page's colours; each mark names its trial on hover."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import quantiles

from markupsafe import Markup

from merit.gate.report.escape import plain
from merit.sweep import axes, labels
from merit.sweep.axes import Axis
from merit.sweep.record import Sweep, Trial

WIDE, TALL = 1000.0, 352.0
TOP, BOTTOM, UNSET, SIDE = 46.0, 300.0, 336.0, 112.0
"""Parallel coordinates: top and bottom of the scales, height of unset parameters, and width of the margins."""
SMALL = (520.0, 320.0)
"""Width and height of the smaller plots."""
LEFT, RIGHT, ABOVE, BELOW = 66.0, 505.0, 14.0, 274.0
"""The frame of the smaller plots."""
MOST_AXES = 9
"""Maximum number of scales in parallel coordinates, objectives included."""
MOST_LINES = 150
"""Maximum number of trials in parallel coordinates, best first: more are unreadable."""
MOST_NAMED = 12
"""Maximum number of trials on a front that are labelled by their numbers."""
NAME, WORD = 24, 14
"""Maximum characters of a scale's title and of a tick's label."""


@dataclass(frozen=True)
class Frame:
    """The coordinates of a plot: maps values to pixels.

    Attributes:
        across: returns the x of a value.
        down: returns the y of a value.
        reach: least and greatest value on the vertical scale.
    """

    across: Callable[[float], float]
    down: Callable[[float], float]
    reach: tuple[float, float]


def _made(form: str, *parts: object) -> Markup:
    """Return a markup template with parts filled in; parts that are not `Markup` are escaped."""
    return Markup(form).format(*parts)  # noqa: S704


def text(x: float, y: float, said: str, kind: str = "", anchor: str = "middle") -> Markup:
    """Return a text element."""
    form = '<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>'
    return _made(form, kind, x, y, anchor, plain(said))


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    form = '<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>'
    return _made(form, kind, x1, y1, x2, y2)


def _path(kind: str, points: Iterable[tuple[float, float]], style: str = "") -> Markup:
    drawn = "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return _made('<path class="{}" d="{}" style="{}"/>', kind, drawn, style)


def _trial(trial: Trial, kind: str, title: str, inner: Markup) -> Markup:
    """Return the mark of a trial: it shows a title on hover, and links to the trial's row in the table."""
    form = '<a class="trial {}" href="#trial-{}"><title>{}</title>{}</a>'
    return _made(form, kind, trial.number, plain(title, 600), inner)


def _dot(x: float, y: float) -> Markup:
    return _made('<circle cx="{:.1f}" cy="{:.1f}" r="4"/>', x, y)


def _drawing(width: float, height: float, title: str, parts: Sequence[Markup]) -> Markup:
    form = '<svg role="img" aria-label="{}" viewBox="0 0 {:g} {:g}">{}</svg>'
    return _made(form, title, width, height, Markup("").join(parts))


def title_of(sweep: Sweep, trial: Trial, keys: list[str]) -> str:
    """Return the text that a trial's mark shows on hover; `keys` are the parameters of the sweep."""
    shown = labels.key_of(trial, keys, {key: key for key in keys})
    figures = ", ".join(f"{metric} {labels.number(labels.seen(trial, metric))}" for metric in sweep.objectives)
    return f"trial {trial.number} ({trial.state}): {figures}; {shown}"


def parallel(sweep: Sweep, importance: dict[str, float]) -> Markup:
    """Draw parallel coordinates: a line per done trial through one scale per parameter and objective.

    Args:
        sweep: the sweep.
        importance: share of each parameter; selects the parameters to show if there are more than fit.
    """
    trials = labels.ranked(sweep)[:MOST_LINES]
    keys = every = labels.parameters(sweep)
    if len(keys) + len(sweep.objectives) > MOST_AXES:
        keys = sorted(keys, key=lambda key: -importance.get(key, 0.0))[: MOST_AXES - len(sweep.objectives)]
    scales = [axes.of(key, (t.overrides.get(key) for t in trials), sweep.space.get(key, "")) for key in keys]
    measured = [axes.of(metric, (repr(t.values[metric]) for t in trials)) for metric in sweep.objectives]
    count = len(scales) + len(measured)
    places = [SIDE + (WIDE - 2 * SIDE) * place / max(1, count - 1) for place in range(count)]
    names = labels.short(keys)
    parts = []
    best = {trial.number for trial in (sweep.front() if len(sweep.objectives) > 1 else trials[:1])}
    for rank, trial in reversed(list(enumerate(trials))):
        heights = [scale.place(trial.overrides.get(scale.key)) for scale in scales]
        heights += [scale.place(trial.values[scale.key]) for scale in measured]
        points = [(x, UNSET if h is None else _height(h)) for x, h in zip(places, heights, strict=True)]
        fade = f"opacity:{0.85 - 0.65 * rank / max(1, len(trials) - 1):.2f}"
        kind = "best" if trial.number in best else "done"
        inner = _path("hit", points) + _path("seen", points, "" if kind == "best" else fade)
        parts.append(_trial(trial, kind, title_of(sweep, trial, every), inner))
    unset = {scale.key for scale in scales if any(scale.key not in trial.overrides for trial in trials)}
    for place, (x, scale) in enumerate(zip(places, [*scales, *measured], strict=True)):
        title = names.get(scale.key, scale.key)
        parts += _scale(scale, x, plain(title, NAME), last=place == count - 1, unset=scale.key in unset)
    return _drawing(WIDE, TALL, "Parallel coordinates", parts)


def _height(share: float) -> float:
    return BOTTOM - share * (BOTTOM - TOP)


def _scale(scale: Axis, x: float, title: str, *, last: bool, unset: bool) -> list[Markup]:
    side, anchor = (8, "start") if last else (-8, "end")
    parts = [_line("axis", x, TOP, x, BOTTOM), text(x, TOP - 22, title, "name")]
    if scale.log:
        parts.append(text(x, TOP - 9, "log scale", "faint"))
    for share, said in scale.ticks():
        parts += [_line("axis", x - 3, _height(share), x + 3, _height(share))]
        parts.append(text(x + side, _height(share) + 4, plain(said, WORD), "tick", anchor))
    return [*parts, *([text(x + side, UNSET + 4, "not set", "faint", anchor)] if unset else [])]


def history(sweep: Sweep, metric: str) -> Markup:
    """Draw each trial's metric by trial number, and a line of the best so far."""
    figures = {t.number: labels.seen(t, metric) for t in sweep.trials if t.state in {"done", "pruned"}}
    known = {number: value for number, value in figures.items() if value is not None}
    numbers = [trial.number for trial in sweep.trials]
    reach, ends = _reach(list(known.values()), sweep.objectives[metric]), (min(numbers), max(numbers))
    frame = Frame(_scaled(*ends, LEFT + 14, RIGHT - 10), _scaled(*reach, BELOW, ABOVE), reach)
    parts, keys = _axes(_round(axes.nice(*ends, 8)), frame, ("trial", metric)), labels.parameters(sweep)
    parts += [_mark(trial, known.get(trial.number), frame, title_of(sweep, trial, keys)) for trial in sweep.trials]
    parts.append(_path("line", _best_so_far(sweep, metric, frame)))
    return _drawing(*SMALL, f"{plain(metric)} by trial", parts)


def _round(places: list[float]) -> list[float]:
    return list(dict.fromkeys(float(round(place)) for place in places))


def _reach(values: list[float], direction: str) -> tuple[float, float]:
    """Return the least and the greatest value of a scale; extremely bad values are cut off, to spread the others.

    The cut is at three interquartile ranges beyond the worse quartile.
    """
    low, high = min(values), max(values)
    if len(values) >= 4:
        first, _, third = quantiles(values, n=4)
        far = 3 * (third - first)
        low, high = (low, min(high, third + far)) if direction == "minimize" else (max(low, first - far), high)
    margin = 0.06 * (high - low) or abs(high) * 0.05 or 1.0
    return low - margin, high + margin


def _scaled(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    wide = (high - low) or 1.0
    return lambda value: start + (end - start) * max(0.0, min(1.0, (value - low) / wide if high > low else 0.5))


def _axes(xs: Sequence[float], frame: Frame, names: tuple[str, str]) -> list[Markup]:
    across, down = frame.across, frame.down
    parts = [_line("axis", LEFT, BELOW, RIGHT, BELOW)]
    for y in axes.nice(*frame.reach):
        parts += [_line("grid", LEFT, down(y), RIGHT, down(y)), text(LEFT - 7, down(y) + 4, f"{y:.4g}", "tick", "end")]
    parts += [text(across(x), BELOW + 18, f"{x:.4g}", "tick") for x in xs]
    parts.append(text((LEFT + RIGHT) / 2, BELOW + 38, names[0], "name"))
    turned = '<g transform="translate(14 {:.1f}) rotate(-90)">{}</g>'
    return [*parts, _made(turned, (ABOVE + BELOW) / 2, text(0, 0, plain(names[1], NAME), "name"))]


def _best_so_far(sweep: Sweep, metric: str, frame: Frame) -> list[tuple[float, float]]:
    across, down = frame.across, frame.down
    points: list[tuple[float, float]] = []
    best = None
    for trial in labels.done(sweep):
        if best is None or labels.cost(sweep, trial, metric) < labels.cost(sweep, best, metric):
            if best is not None:
                points.append((across(trial.number), down(best.values[metric])))
            best = trial
            points.append((across(trial.number), down(trial.values[metric])))
    if best is not None:
        points.append((across(sweep.trials[-1].number), down(best.values[metric])))
    return points


def _mark(trial: Trial, value: float | None, frame: Frame, title: str) -> Markup:
    x, reach = frame.across(trial.number), frame.reach
    if value is None:
        y = BELOW - 7
        cross = _line("cross", x - 4, y - 4, x + 4, y + 4) + _line("cross", x - 4, y + 4, x + 4, y - 4)
        return _trial(trial, trial.state, title, cross)
    y = frame.down(value)
    if reach[0] <= value <= reach[1]:
        return _trial(trial, trial.state, title, _dot(x, y))
    tip, foot = (y, y + 9) if value > reach[1] else (y, y - 9)
    arrow = _made('<path class="arrow" d="M{:.1f},{:.1f}l-5,{:.1f}h10z"/>', x, tip, foot - tip)
    return _trial(trial, trial.state, f"{title}; beyond the scale", arrow)


def front(sweep: Sweep) -> Markup:
    """Draw the done trials by both objectives, and the Pareto front as a line."""
    first, second = sweep.objectives
    trials = labels.done(sweep)
    reaches = [_reach([t.values[metric] for t in trials], sweep.objectives[metric]) for metric in (first, second)]
    across, down = _scaled(*reaches[0], LEFT, RIGHT), _scaled(*reaches[1], BELOW, ABOVE)
    parts = _axes(axes.nice(*reaches[0], 6), Frame(across, down, reaches[1]), (first, second))
    best = sorted(sweep.front(), key=lambda t: t.values[first])
    places = [(across(t.values[first]), down(t.values[second])) for t in best]
    # Steps, not slopes: no trial lies between two on the front. A step's corner is the worse of both in each objective.
    lower = sweep.objectives[first] == "minimize"
    corners = [(right[0], left[1]) if lower else (left[0], right[1]) for left, right in pairwise(places)]
    steps = [
        point for place, corner in zip(places, [*corners, None], strict=True) for point in (place, corner) if point
    ]
    chosen, keys = {trial.number for trial in best}, labels.parameters(sweep)
    for trial in sorted(trials, key=lambda trial: trial.number in chosen):
        x, y = across(trial.values[first]), down(trial.values[second])
        kind = "best" if trial.number in chosen else "done"
        parts.append(_trial(trial, kind, title_of(sweep, trial, keys), _dot(x, y)))
    parts.append(_path("line", steps))
    named = zip(best, places, strict=True) if len(best) <= MOST_NAMED else ()
    parts += [text(x + 8, y - 7, str(t.number), "tick", "start") for t, (x, y) in named]
    return _drawing(*SMALL, f"{plain(second)} by {plain(first)}", parts)
