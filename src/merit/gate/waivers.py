"""Applies waivers: reviewed entries in conf/ that excuse a check until a date. The check keeps its verdict."""

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from merit.config.problems import suggest_allowed, suggest_name
from merit.config.schema import Lock
from merit.config.schema.gate import NOT_WAIVABLE, Waiver
from merit.gate.checks.protocol import CheckFamily
from merit.gate.checks.registry import list_families
from merit.gate.verdict import Check, Verdict

CHECK_NAME = "waivers"


def get_utc_date() -> date:
    """Return the current date in UTC, so that it does not depend on the machine's time zone."""
    return datetime.now(UTC).date()


def list_active_waivers(lock: Lock, day: date) -> set[str]:
    """Return the names of the checks that are excused on a day, without checks that can't be waived."""
    return {name for name, each in lock.gate.waivers.items() if each.until >= day} - set(NOT_WAIVABLE)


def apply_waivers(
    lock: Lock, results: list[Check], day: date, *, known_names: Collection[str] | None = None
) -> list[Check]:
    """Mark the excused checks, and append a check of the waivers themselves.

    Args:
        lock: the parsed params.yaml with gate.waivers.
        results: the results of all checks.
        day: the current date.
        known_names: names of checks that a waiver may have besides those in `results`; None if not all names
            are known, because only data or model is judged.
    """
    if not lock.gate.waivers:
        return results
    marked_checks = [_mark_check(check, lock.gate.waivers.get(check.name), lock, day) for check in results]
    names = None if known_names is None else {*known_names, *(check.name for check in results)}
    return [*marked_checks, _check_waivers(lock, marked_checks, day, names)]


def list_conditional_checks(lock: Lock) -> set[str]:
    """Return the names of checks that run only if there is a champion, so that a waiver may name them anyway."""
    return {name for family in list_families(CheckFamily) for name in family.list_conditional_names(lock)}


def list_waivers(lock: Lock, results: list[Check], day: date) -> list[dict[str, Any]]:
    """Return the waivers for the report; a waiver is used if it excuses a check that did not pass."""
    used = {check.name for check in results if check.waived}
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


def _mark_check(check: Check, waiver: Waiver | None, lock: Lock, day: date) -> Check:
    if waiver is None or not check.verdict.is_blocking:
        return check
    if check.name in list_active_waivers(lock, day):
        return replace(check, waived=True)
    return replace(check, advice=f"its waiver ended on {waiver.until}; {check.advice}".removesuffix("; "))


def _check_waivers(lock: Lock, results: list[Check], day: date, known_names: Collection[str] | None) -> Check:
    """Return the check of the waivers themselves, which fails if a waiver names an unknown check."""
    entries = list_waivers(lock, results, day)
    unknown_names = [] if known_names is None else sorted({each["check"] for each in entries} - set(known_names))
    parts = {
        "used": [each["check"] for each in entries if each["used"]],
        "unused": [
            each["check"] for each in entries if not (each["used"] or each["expired"] or each["check"] in unknown_names)
        ],
        "expired": [each["check"] for each in entries if each["expired"] and each["check"] not in unknown_names],
        "naming no check": unknown_names,
    }
    summary = "; ".join(f"{len(names)} {kind} ({', '.join(names)})" for kind, names in parts.items() if names)
    allowed = "each names a check"
    if unknown_names:
        names = known_names or ()
        advice = (
            f"no check is named '{unknown_names[0]}'; "
            f"{suggest_name(unknown_names[0], names) or suggest_allowed(unknown_names[0], names)}"
        )
        return Check(CHECK_NAME, Verdict.FAIL, summary, allowed, advice, group="rules")
    return Check(CHECK_NAME, Verdict.PASS, summary, allowed, group="rules")
