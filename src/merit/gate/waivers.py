"""Applies waivers: reviewed entries in conf/ that excuse a check until a date. The check keeps its verdict."""

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from merit.config.problems import did_you_mean, meant
from merit.config.schema import Lock
from merit.config.schema.gate import NOT_WAIVABLE, Waiver
from merit.gate.verdict import Check, Verdict

NAME = "waivers"


def today() -> date:
    """Return the current date in UTC, so that it does not depend on the machine's time zone."""
    return datetime.now(UTC).date()


def active(lock: Lock, day: date) -> set[str]:
    """Return the names of the checks that are excused on a day, without checks that can't be waived."""
    return {name for name, each in lock.gate.waivers.items() if each.until >= day} - set(NOT_WAIVABLE)


def waived(lock: Lock, found: list[Check], day: date, *, known: Collection[str] | None = None) -> list[Check]:
    """Mark the excused checks, and append a check of the waivers themselves.

    Args:
        lock: the parsed params.yaml with gate.waivers.
        found: the results of all checks.
        day: the current date.
        known: names of checks that a waiver may have besides those in `found`; None if the names are not all known,
            because only data or model is judged.
    """
    if not lock.gate.waivers:
        return found
    marked = [_marked(check, lock.gate.waivers.get(check.name), lock, day) for check in found]
    names = None if known is None else {*known, *(check.name for check in found)}
    return [*marked, _summary(lock, marked, day, names)]


def possible(lock: Lock) -> set[str]:
    """Return the names of checks that run only if there is a champion, so that a waiver may name them anyway."""
    return {"champion", "slices", *(f"champion: {rule.metric}" for rule in lock.gate.champion)}


def listed(lock: Lock, found: list[Check], day: date) -> list[dict[str, Any]]:
    """Return the waivers for the report; a waiver is used if it excuses a check that did not pass."""
    used = {check.name for check in found if check.waived}
    return [
        {
            "check": name,
            "reason": each.reason,
            "until": each.until.isoformat(),
            "expired": each.until < day,
            "used": name in used,
        }
        for name, each in lock.gate.waivers.items()
    ]


def _marked(check: Check, waiver: Waiver | None, lock: Lock, day: date) -> Check:
    if waiver is None or check.verdict == Verdict.PASS:
        return check
    if check.name in active(lock, day):
        return replace(check, waived=True)
    return replace(check, advice=f"its waiver ended on {waiver.until}; {check.advice}".removesuffix("; "))


def _summary(lock: Lock, found: list[Check], day: date, known: Collection[str] | None) -> Check:
    """Return the check of the waivers themselves, which fails if a waiver names an unknown check."""
    told = listed(lock, found, day)
    unknown = [] if known is None else sorted({each["check"] for each in told} - set(known))
    parts = {
        "used": [each["check"] for each in told if each["used"]],
        "unused": [each["check"] for each in told if not (each["used"] or each["expired"] or each["check"] in unknown)],
        "expired": [each["check"] for each in told if each["expired"] and each["check"] not in unknown],
        "naming no check": unknown,
    }
    shown = "; ".join(f"{len(names)} {kind} ({', '.join(names)})" for kind, names in parts.items() if names)
    allowed = "each names a check"
    if unknown:
        names = known or ()
        advice = f"no check is named '{unknown[0]}'; {meant(unknown[0], names) or did_you_mean(unknown[0], names)}"
        return Check(NAME, Verdict.FAIL, shown, allowed, advice, group="rules")
    return Check(NAME, Verdict.PASS, shown, allowed, group="rules")
