"""Renders the two inferred files as commented YAML that people can correct and Hydra can read."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from merit.data.infer.guess import ColumnGuess
from merit.data.infer.plan import SplitPlan
from merit.data.infer.scalars import render_key, render_value
from merit.data.infer.target import TargetGuess

GATE_BY_TASK = {"binary": "default", "multiclass": "multiclass", "regression": "regression"}


def render_comment(text: str, indent: str = "") -> str:
    """Return text as a YAML comment on one line."""
    return f"{indent}# " + "".join(character if character.isprintable() else " " for character in text) + "\n"


def _append_comment(line: str, text: str) -> str:
    return f"{line} {render_comment(text)}" if text else f"{line}\n"


def render_data(
    component: Mapping[str, Any],
    target: TargetGuess,
    guesses: Iterable[ColumnGuess],
    split: SplitPlan,
    *,
    time: str | None,
    window: Mapping[str, date] | None,
    rows: Mapping[str, int],
    row_count: int,
    notes: Sequence[str],
) -> str:
    """Return the text of conf/data/NAME.yaml."""
    guesses = list(guesses)
    text = render_comment("Guessed by 'merit infer' from what the rows show; correct what you know better.")
    text += "".join(render_comment(f"- {note}") for note in notes)
    text += "source:\n" + "".join(
        f"  {render_key(name)}: {render_value(setting)}\n" for name, setting in component.items()
    )
    if time is not None and window is not None:
        text += f"time: {render_value(time)}\n"
        text += _append_comment(
            f"window: {render_value(window)}", "both days included, all that there are; later rows come in by moving it"
        )
    if target.filter is not None:
        text += _append_comment(
            f"filter: {render_value(target.filter)}", "rows for which this doesn't hold are left out"
        )
    text += _render_target(target)
    text += _append_comment(
        f"split: {render_value(split.settings)}",
        ", ".join(f"{name} {count:,} rows" for name, count in split.rows.items()),
    )
    text += "contract:\n" + _append_comment(f"  rows: {render_value(rows)}", f"seen: {row_count:,}")
    text += "columns: # what was seen stands beside each\n"
    if target.settings:
        text += _append_comment(
            f"  {render_key(target.name)}: {render_value(target.settings)}",
            "how the target's column is read; no feature",
        )
    text += "".join(
        _append_comment(_render_column(guess), guess.description) for guess in guesses if guess.left_out is None
    )
    return text + _render_left_out([guess for guess in guesses if guess.left_out is not None])


def _render_target(target: TargetGuess) -> str:
    text = (
        "target:\n"
        + f"  name: {render_value(target.name)}\n"
        + _append_comment(f"  task: {target.task}", target.description)
    )
    text += f"  sql: {render_value(target.sql)}\n"
    if target.classes is not None:
        text += _append_comment(f"  classes: {render_value(target.classes)}", "in the order of the probabilities")
    return text + render_comment(target.change, "  ")


def _render_column(guess: ColumnGuess) -> str:
    return f"  {render_key(guess.name)}: {render_value(guess.settings)}"


def _render_left_out(guesses: list[ColumnGuess]) -> str:
    if not guesses:
        return ""
    text = render_comment("Left out; take the # away to bring one back:", "  ")
    for guess in guesses:
        line = _render_column(guess).strip() if guess.settings else render_key(guess.name)
        text += render_comment(f"{line} # {guess.left_out}", "  ")
    return text


KEY_COMMENTS = {
    "category": 'a value in fewer training rows is "unknown"',
    "max_epochs": "training ends earlier once 'patience' epochs bring nothing",
    "slice_min_rows": "a smaller slice is listed, but not judged",
    "floors": "little better than guessing: raise these once you know what a model can do",
    "baseline": "worse than gradient boosting by at most this; lower it to ask for more",
    "data": "as the rows are: see the notes in conf/data",
    "time": "what convolutions over arrays of this size may take; raise or lower it to what serving needs",
    "calibration": "loose, as few test rows are; lower it to ask for more",
}


def render_experiment(
    name: str, task: str, sections: Mapping[str, Mapping[str, Any]], network: Mapping[str, Any] | None
) -> str:
    """Return the text of conf/experiment/NAME.yaml."""
    text = "# @package _global_\n" + render_comment(f"Guessed by 'merit infer'. 'merit run experiment={name}' runs it.")
    text += f"defaults:\n  - override /data: {name}\n  - override /gate: {GATE_BY_TASK[task]}\n"
    text += _append_comment("  - override /model: cnn", "for arrays") if network is not None else ""
    text += f"\nname: {name}\n"
    for section, settings in {**({"model": network} if network else {}), **sections}.items():
        text += f"{section}:\n"
        text += "".join(
            _append_comment(f"  {key_name}: {render_value(setting)}", KEY_COMMENTS.get(key_name, ""))
            for key_name, setting in settings.items()
        )
    return text
