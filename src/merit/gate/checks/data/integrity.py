"""Integrity checks of the data that need no champion: duplicate rows, leakage, labels."""

from merit.config.schema import Lock
from merit.config.schema.data import GroupSplit, TimeSplit
from merit.config.schema.gate import DataGate
from merit.gate.checks.data import labels, leakage
from merit.gate.checks.data.findings import Findings, judged, named
from merit.gate.checks.data.table import Table
from merit.gate.verdict import Check

MEASURE = {"binary": "ROC AUC", "multiclass": "accuracy gained", "regression": "R2"}


def itself(lock: Lock, now: Table) -> Findings:
    """Run the integrity checks of the data."""
    target, limits = now.data.target, lock.gate.data
    hashes = now.hashed(
        {"row": list(now.schema), "features": now.features, "example": [*now.features, target.name]}, target.name
    )
    # Rows that differ only in columns that conf/data leaves out are no duplicates: ingest counts them in the source.
    repeated = hashes.height - hashes["row"].n_unique() if now.repeated is None else now.repeated
    checks = [
        _duplicates(repeated, hashes.height, limits.duplicates),
        _shared(leakage.shared(hashes["example"], now.place), limits.leakage.shared),
        *_entities(now, limits.leakage.entity),
        _alone(now, limits),
        *_overlap(now, limits.leakage.overlap),
        _conflicts(labels.conflicts(hashes.select("features", target.name), target), limits.conflicts),
        _constant(labels.faults(hashes[target.name], now.place)),
    ]
    return Findings(checks, {"duplicates": repeated})


def _duplicates(repeated: int, rows: int, limit: float) -> Check:
    share = repeated / max(1, rows)
    advice = "drop them in the source, for whole rows of it are alike; if they may be, raise gate.data.duplicates"
    return judged("duplicates", share <= limit, f"{repeated:,} rows ({share:.2%})", f"at most {limit:.2%}", advice)


def _shared(found: leakage.Shared, limit: float) -> Check:
    """Check that test rows occur in the training rows no more often than by chance."""
    advice = "the test rows must be new to the model: drop them from the training part, or split by data.time"
    if found.rows == 0:
        return judged("leakage, shared rows", None, "no test rows", f"at most {limit:.2%}", advice)
    told = f"{found.found:,} of {found.rows:,} test rows have a twin to learn from ({found.found / found.rows:.2%})"
    allowed = f"at most {found.allowed(limit):,} ({limit:.2%} and {found.expected:,.0f} by chance)"
    return judged("leakage, shared rows", found.found <= found.allowed(limit), told, allowed, advice)


def _entities(now: Table, declared: list[str] | None) -> list[Check]:
    """Check that no entity is in both training and test rows.

    The entity is the declared key; an empty one disables the check. Without a declaration, each candidate key (the
    split's group column and repeating id columns) is checked and the worst reported; under a split by time it passes.
    """
    keys = _entity_keys(now) if declared is None else [declared] if declared else []
    found = {tuple(key): leakage.entities(now, key) for key in keys}
    if declared is None:
        found = {key: counts for key, counts in found.items() if counts[1]}
    if not found:
        return []
    key = max(found, key=lambda each: found[each][0] / max(1, found[each][1]))
    both, rows = found[key]
    told = f"{both:,} of {rows:,} test rows are of a {', '.join(key)} that was learned from"
    if both and declared is None and isinstance(now.data.split, TimeSplit):
        told, allowed = f"{told}: later rows of the same", "none, or later rows where rows are split by time"
        return [judged("leakage, entity", True, told, allowed, "")]
    advice = _entity_advice(now, key[0], may_be_meant=declared is None)
    return [judged("leakage, entity", both == 0 if rows else None, told, "none", advice)]


def _entity_keys(now: Table) -> list[list[str]]:
    """Return the candidate entity keys of data that declares none, each a list of one column."""
    split = now.data.split
    named = [split.column] if isinstance(split, GroupSplit) else []
    return [[name] for name in dict.fromkeys([*named, *leakage.repeated_entities(now)])]


def _entity_advice(now: Table, column: str, *, may_be_meant: bool) -> str:
    """Return the advice to split by group, and to allow shared entities if they may be intended."""
    split = now.data.split
    validation, test = (0.2, 0.2) if isinstance(split, TimeSplit) else (split.validation, split.test)
    shares = f"validation: {validation:g}, test: {test:g}"
    advice = f"let each be on one side, in conf/data: split: {{by: group, column: {column}, {shares}}}"
    return f"{advice}; if it may be on both, gate.data.leakage.entity: []" if may_be_meant else advice


def _alone(now: Table, limits: DataGate) -> Check:
    """Check that no feature alone predicts the target suspiciously well."""
    measure, limit = MEASURE[now.data.target.task], limits.leakage.column
    found = leakage.alone(now.sample("train", limits.rows, limits.seed), now.data)
    allowed = f"{measure} at most {limit:g}"
    if not found:
        advice = "too few training rows, or too few answers among them: bring more"
        return judged("leakage, one column", None, "can't be told", allowed, advice)
    far = [name for name, score in found.items() if not score <= limit]
    told = named([f"{name} {found[name]:.3f}" for name in far or list(found)[:1]])
    advice = "is it known when the prediction is made? If not, leave it out; if it is, raise gate.data.leakage.column"
    return judged("leakage, one column", not far, told, allowed, advice)


def _overlap(now: Table, limit: float) -> list[Check]:
    """Check that validation and test rows are later than all training rows; no check without a time column."""
    if now.data.time is None:
        return []
    share = leakage.overlap(now, now.data.time)
    told = f"{share:.2%} of validation and test rows are not later than all training rows"
    advice = "split by time; if the past may be judged by the future, raise gate.data.leakage.overlap"
    return [judged("leakage, time", share <= limit, told, f"at most {limit:.2%}", advice)]


def _conflicts(share: float, limit: float) -> Check:
    """Check the share of rows with equal features but conflicting targets."""
    told = f"{share:.2%} of rows have the features of another row and another answer"
    advice = (
        "correct the labels, or add a column that tells such rows apart; if there is none, raise gate.data.conflicts"
    )
    return judged("label noise", share <= limit, told, f"at most {limit:.2%}", advice)


def _constant(faults: list[str]) -> Check:
    advice = "correct data.target.sql, or move data.split"
    told = named(faults) or "every part has several answers"
    return judged("constant target", not faults, told, "two answers or more in each part", advice)
