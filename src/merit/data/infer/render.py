"""Renders the two inferred files as commented YAML that people can correct and Hydra can read."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from merit.data.infer.guess import Guess
from merit.data.infer.plan import Split
from merit.data.infer.scalars import key, value
from merit.data.infer.target import Target

GATES = {"binary": "default", "multiclass": "multiclass", "regression": "regression"}


def comment(text: str, indent: str = "") -> str:
    """Return text as a YAML comment on one line."""
    return f"{indent}# " + "".join(each if each.isprintable() else " " for each in text) + "\n"


def _said(line: str, text: str) -> str:
    return f"{line} {comment(text)}" if text else f"{line}\n"


def data(
    component: Mapping[str, Any],
    asked: Target,
    found: Iterable[Guess],
    parts: Split,
    *,
    time: str | None,
    window: Mapping[str, date] | None,
    rows: Mapping[str, int],
    seen: int,
    notes: Sequence[str],
) -> str:
    """Return the text of conf/data/NAME.yaml."""
    found = list(found)
    text = comment("Guessed by 'merit infer' from what the rows show; correct what you know better.")
    text += "".join(comment(f"- {note}") for note in notes)
    text += "source:\n" + "".join(f"  {key(name)}: {value(one)}\n" for name, one in component.items())
    if time is not None and window is not None:
        text += f"time: {value(time)}\n"
        text += _said(
            f"window: {value(window)}", "both days included, all that there are; later rows come in by moving it"
        )
    if asked.filter is not None:
        text += _said(f"filter: {value(asked.filter)}", "rows for which this doesn't hold are left out")
    text += _target(asked)
    text += _said(f"split: {value(parts.settings)}", ", ".join(f"{name} {n:,} rows" for name, n in parts.rows.items()))
    text += "contract:\n" + _said(f"  rows: {value(rows)}", f"seen: {seen:,}")
    text += "columns: # what was seen stands beside each\n"
    if asked.settings:
        text += _said(f"  {key(asked.name)}: {value(asked.settings)}", "how the target's column is read; no feature")
    text += "".join(_said(_column(guess), guess.seen) for guess in found if guess.left_out is None)
    return text + _left_out([guess for guess in found if guess.left_out is not None])


def _target(asked: Target) -> str:
    text = "target:\n" + f"  name: {value(asked.name)}\n" + _said(f"  task: {asked.task}", asked.seen)
    text += f"  sql: {value(asked.sql)}\n"
    if asked.classes is not None:
        text += _said(f"  classes: {value(asked.classes)}", "in the order of the probabilities")
    return text + comment(asked.change, "  ")


def _column(guess: Guess) -> str:
    return f"  {key(guess.name)}: {value(guess.settings)}"


def _left_out(found: list[Guess]) -> str:
    if not found:
        return ""
    text = comment("Left out; take the # away to bring one back:", "  ")
    for guess in found:
        line = _column(guess).strip() if guess.settings else key(guess.name)
        text += comment(f"{line} # {guess.left_out}", "  ")
    return text


SAID = {
    "category": 'a value in fewer training rows is "unknown"',
    "max_epochs": "training ends earlier once 'patience' epochs bring nothing",
    "slice_min_rows": "a smaller slice is listed, but not judged",
    "floors": "little better than guessing: raise these once you know what a model can do",
    "baseline": "worse than gradient boosting by at most this; lower it to ask for more",
    "data": "as the rows are: see the notes in conf/data",
    "time": "what convolutions over arrays of this size may take; raise or lower it to what serving needs",
    "calibration": "loose, as few test rows are; lower it to ask for more",
}


def experiment(
    name: str, task: str, sections: Mapping[str, Mapping[str, Any]], network: Mapping[str, Any] | None
) -> str:
    """Return the text of conf/experiment/NAME.yaml."""
    text = "# @package _global_\n" + comment(f"Guessed by 'merit infer'. 'merit run experiment={name}' runs it.")
    text += f"defaults:\n  - override /data: {name}\n  - override /gate: {GATES[task]}\n"
    text += _said("  - override /model: cnn", "for arrays") if network is not None else ""
    text += f"\nname: {name}\n"
    for section, settings in {**({"model": network} if network else {}), **sections}.items():
        text += f"{section}:\n"
        text += "".join(_said(f"  {each}: {value(one)}", SAID.get(each, "")) for each, one in settings.items())
    return text
