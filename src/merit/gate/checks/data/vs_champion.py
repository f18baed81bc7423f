"""Data checks against the champion's data: rows, missing values, categories, target rate, drift.

What can't be compared gives an inconclusive check, never a pass.
"""

from typing import Any

import polars as pl

from merit.config.schema import Lock
from merit.config.schema.data import Data
from merit.config.schema.gate import DataGate
from merit.errors import MeritError
from merit.gate.champion import Champion, none_yet
from merit.gate.checks.data import difference, drift
from merit.gate.checks.data.drift import Score
from merit.gate.checks.data.findings import Findings, judged, named
from merit.gate.checks.data.model_view import answer, seen
from merit.gate.checks.data.table import Table
from merit.gate.verdict import Check

NAMES = ("rows", "missing", "categories", "target rate", "drift", "drift, overall", "drift, target")
ALLOWED = "comparable with the champion's"
OWN_NAME = "if this is another model, give it a name of its own (name in conf/config.yaml): it then has no champion yet"
NO_TARGET = "the champion predicts something else: if this is intended, add a waiver"


def against(lock: Lock, champion: Champion | None, now: Table) -> Findings:
    """Compare the data with the champion's; data that is bit-identical passes without any computation."""
    if champion is None:
        return Findings(_all_alike(True, none_yet(), "nothing to compare with"))
    try:
        data = champion.data()
        if champion.has_this_data() and _made_of(data) == _made_of(lock.data):
            return _same(champion, now)
        with champion.fetched_data() as path:
            before = Table.scan(path, data, "its data")
            return _compared(lock, champion, now, before) if difference.common(now, before) else _strange(champion, now)
    except MeritError as error:
        found = f"the data of {champion.commit[:7]} can't be compared: {error}"
        advice = "'dvc push' it where it was made, or compare with the champion of another commit by --against REF"
        return Findings(_all_alike(None, found, ALLOWED, advice), {"champion": _told(champion, None)})


def _all_alike(good: bool | None, found: str, allowed: str, advice: str = "") -> list[Check]:
    """Return all checks of this module with one and the same result."""
    return [judged(name, good, found, allowed, advice) for name in NAMES]


def _told(champion: Champion, rows: int | None) -> dict[str, Any]:
    return {"commit": champion.commit, "rows": rows}


def _made_of(data: Data) -> dict[str, Any]:
    """Return the settings that decide which rows and features training gets from the same file."""
    made = data.model_dump(include={"split", "time", "target"})
    return made | {"features": {name: column.feature for name, column in data.columns.items()}}


def _same(champion: Champion, now: Table) -> Findings:
    """Return the findings on data that is bit-identical to the champion's."""
    share = difference.target(now)
    report = {
        "champion": _told(champion, now.height),
        "rows": {"now": now.height, "before": now.height, "added": 0, "gone": 0, "changed": 0},
        "columns": {"added": [], "gone": [], "retyped": []},
        "missing": [],
        "categories": [],
        "target": {"before": share, "after": share},
        "drift": [],
        "identical": True,
    }
    return Findings(_all_alike(True, f"the data of {champion.commit[:7]}, bit for bit", ALLOWED), report)


def _strange(champion: Champion, now: Table) -> Findings:
    """Return inconclusive findings for data that shares no column with the champion's."""
    found = f"no column of {now.name} is one of the data of {champion.commit[:7]}"
    return Findings(_all_alike(None, found, ALLOWED, OWN_NAME), {"champion": _told(champion, None)})


def _compared(lock: Lock, champion: Champion, now: Table, before: Table) -> Findings:
    """Return the findings on data that differs from the champion's and shares columns with it."""
    limits = lock.gate.data
    rows, missing = difference.rows(now, before), difference.missing(now, before)
    categories = difference.categories(now, before)
    shares = {"before": difference.target(before), "after": difference.target(now)}
    same_target = _answer(now.data) == _answer(before.data)
    scores = _drift(now, before, limits, same_target=same_target)
    features = [each for each in scores if each.column != _target_of(now)]
    target = next((each for each in scores if each.column == _target_of(now)), None)
    checks = [
        _rows(rows, limits),
        _missing(missing, limits.missing),
        _categories(categories, rows, limits.categories),
        _target_rate(before, shares, limits.target) if same_target else _other_target("target rate", before),
        *_drifted(features, now, before, limits),
        _target_drift(target, before, same_target=same_target),
    ]
    report = {
        "champion": _told(champion, before.height),
        "rows": rows,
        "columns": difference.columns(now, before),
        "missing": missing,
        "categories": [{name: each[name] for name in each if name != "gone_rows"} for each in categories],
        "target": shares,
        "drift": [score.as_json() for score in scores],
    }
    return Findings(checks, report)


def _answer(data: Data) -> tuple[str, str, object]:
    """Return what identifies a target: its name, task and classes."""
    return data.target.name, data.target.task, data.target.classes


def _other_target(name: str, before: Table) -> Check:
    """Return the inconclusive check for a champion that predicts another target."""
    how = before.data.target
    return judged(name, None, f"the champion's target is another: {how.name} ({how.task})", ALLOWED, NO_TARGET)


def _rows(found: dict[str, Any], limits: DataGate) -> Check:
    """Check the shares of removed and of changed rows."""
    before, gone, changed = found["before"], found["gone"], found["changed"]
    both = max(1, before - gone)  # a changed row exists on both sides: its share is of those rows
    good = gone / before <= limits.gone and (changed or 0) / both <= limits.changed
    told = f"{gone:,} of {before:,} gone ({gone / before:.2%}), {found['added']:,} added"
    told += "" if changed is None else f", {changed:,} changed ({changed / both:.2%})"
    allowed = f"at most {limits.gone:.2%} gone" + ("" if changed is None else f", {limits.changed:.2%} changed")
    advice = "bring the rows back as they were; if this is meant, raise gate.data.gone or gate.data.changed"
    return judged("rows", good, told, allowed, advice)


def _missing(found: list[dict[str, Any]], limit: float) -> Check:
    far = [each for each in found if abs(each["after"] - each["before"]) > limit]
    told = named([f"{each['column']} {each['before']:.2%} to {each['after']:.2%}" for each in far or found])
    advice = "see where values were lost or made up; if this is meant, raise gate.data.missing"
    return judged("missing", not far, told or "no column moved", f"moved by at most {limit:.2%}", advice)


def _categories(found: list[dict[str, Any]], rows: dict[str, Any], limit: float) -> Check:
    """Check the share of rows with new categories, and with categories that are gone."""
    shares = [(each["new_rows"] / rows["now"], each["gone_rows"] / rows["before"], each) for each in found]
    worst = sorted(shares, key=lambda each: -max(each[:2]))
    told = [
        f"{each['column']}: {each['new_count']} new in {new:.2%} of rows, "
        f"{each['gone_count']} gone that were in {gone:.2%}"
        for new, gone, each in worst
    ]
    good = all(max(new, gone) <= limit for new, gone, _ in worst)
    advice = "check whether their spelling changed; if they are really new, raise gate.data.categories"
    return judged("categories", good, named(told) or "the same", f"in at most {limit:.2%} of rows", advice)


def _target_rate(before: Table, shares: dict[str, Any], limit: float) -> Check:
    """Check the change of the target: share of positives, most changed class share, or mean in standard deviations."""
    advice = "see whether labels are made otherwise now; if the world changed, raise gate.data.target"
    was, now = shares["before"], shares["after"]
    if isinstance(was, dict):
        label, moved = max(((name, now[name] - was[name]) for name in was), key=lambda item: abs(item[1]))
        told = f"class {label}: {was[label]:.2%} to {now[label]:.2%}"
    elif before.data.target.task == "regression":
        moved = (now - was) / difference.deviation(before)
        told = f"mean {was:.4g} to {now:.4g}: {moved:+.2f} standard deviations"
    else:
        moved = now - was
        told = f"{was:.2%} to {now:.2%} positive"
    allowed = f"{limit:g} standard deviations" if before.data.target.task == "regression" else f"{limit:.2%}"
    return judged("target rate", abs(moved) <= limit, told, f"moved by at most {allowed}", advice)


def _target_of(table: Table) -> str:
    """Return the target's column name in the drift tables; the suffix keeps it apart from features."""
    return f"{table.data.target.name} (target)"


def _drift(now: Table, before: Table, limits: DataGate, *, same_target: bool) -> list[Score]:
    """Return the drift scores of features and target between the training rows of both; none if one has no rows."""
    ours, theirs = (_drawn(table, limits, _target_of(table) if same_target else None) for table in (now, before))
    return [] if ours.is_empty() or theirs.is_empty() else drift.scores(ours, theirs, limits.drift)


def _drawn(table: Table, limits: DataGate, target: str | None) -> pl.DataFrame:
    """Return a random sample of training rows as the model sees them; `target` names the target's column, if any."""
    rows = table.sample("train", limits.rows, limits.seed)
    made = seen(rows, table.data)
    answers = [] if target is None else [answer(rows, table.data).alias(target)]
    return pl.DataFrame([*made.get_columns(), *answers])


def _drifted(found: list[Score], now: Table, before: Table, limits: DataGate) -> list[Check]:
    """Return two checks: each feature against its own limit, and the mean share of the limits over all features."""
    if not found:
        told = "no training rows, or no feature that is one of the champion's"
        advice = "make sure that both have training rows; if other columns are intended, add a waiver"
        return [judged(name, None, told, ALLOWED, advice) for name in ("drift", "drift, overall")]
    far = [each for each in found if each.drifted]
    advice = "see whether a unit, a column or the source changed; if the world did, raise gate.data.drift"
    told = f"{len(far)} of {len(found)} features: {named([_shown(each) for each in far or found[:1]])}"
    known = {name: before.schema[name] for name in before.features}
    if new := [name for name in now.features if known.get(name) != now.schema[name]]:
        told += f"; not compared, for the champion has no such feature: {named(new)}"
    allowed = f"Jensen-Shannon {limits.drift.category:g}, Wasserstein {limits.drift.number:g} deviations"
    mean = sum(each.share for each in found) / len(found)
    overall = f"at most {limits.drift.overall:.0%} of the limits on average"
    return [
        judged("drift", not far, told, allowed, advice),
        judged("drift, overall", mean <= limits.drift.overall, f"{mean:.0%}", overall, advice),
    ]


def _target_drift(found: Score | None, before: Table, *, same_target: bool) -> Check:
    """Check the drift of the target; without training rows, or with another target, the check is inconclusive."""
    if not same_target:
        return _other_target("drift, target", before)
    if found is None:
        return judged("drift, target", None, "no training rows", ALLOWED, "see that both have training rows")
    advice = "see whether labels are made otherwise now; if the world changed, raise gate.data.drift"
    return judged("drift, target", not found.drifted, _shown(found), f"{found.method} {found.limit:g}", advice)


def _shown(found: Score) -> str:
    return f"{found.column} {'has nothing to compare' if found.score is None else f'{found.score:.2f}'}"
