"""Applies waivers: reviewed entries in conf/ that excuse a check until a date. The check keeps its verdict."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from merit.config.problems import suggest_allowed, suggest_name
from merit.config.schema import Lock
from merit.config.schema.gate import NOT_WAIVABLE, Waiver
from merit.gate.checks.protocol import CheckFamily
from merit.gate.checks.registry import list_families
from merit.gate.verdict import Check, Verdict

CHECK_NAME = "waivers"
DAYS_KEY, COUNT_KEY = "gate.waiver_days", "gate.waivers_at_once"


def get_utc_date() -> date:
    """Return the current date in UTC, so that it does not depend on the machine's time zone."""
    return datetime.now(UTC).date()


@dataclass(frozen=True)
class WaiverLimits:
    """How long waivers may last, in days from now on, and how many may be in force."""

    days: int
    count: int


def find_limits(lock: Lock, change: Mapping[str, Any] | None) -> WaiverLimits:
    """Return the limits of waivers: those of the target branch too, so that none is raised by what needs it.

    Args:
        lock: the parsed params.yaml.
        change: the changes of params.yaml, as in the report; None if there is no commit to compare with.
    """
    former = {rule["key"]: rule["before"] for rule in (change or {}).get("rules", ()) if rule["weaker"]}
    days, count = lock.gate.waiver_days, lock.gate.waivers_at_once
    return WaiverLimits(
        min(days, int(former.get(DAYS_KEY) or days)),
        min(count, int(former.get(COUNT_KEY) or count)),
    )


def list_active_waivers(lock: Lock, day: date, limits: WaiverLimits | None = None) -> set[str]:
    """Return the names of the checks that are excused on a day, without checks that can't be waived."""
    last_day = day + timedelta(days=(limits or find_limits(lock, None)).days)
    return {name for name, each in lock.gate.waivers.items() if day <= each.until <= last_day} - set(NOT_WAIVABLE)


def apply_waivers(
    lock: Lock,
    results: list[Check],
    day: date,
    *,
    known_names: Collection[str] | None = None,
    limits: WaiverLimits | None = None,
) -> list[Check]:
    """Mark the excused checks, and append a check of the waivers themselves.

    Args:
        lock: the parsed params.yaml with gate.waivers.
        results: the results of all checks.
        day: the current date.
        known_names: names of checks that a waiver may have besides those in `results`; None if not all names
            are known, because only data or model is judged.
        limits: how long and how many waivers may be; None for those of `lock`.
    """
    if not lock.gate.waivers:
        return results
    limits = limits or find_limits(lock, None)
    active_names = list_active_waivers(lock, day, limits)
    marked_checks = [_mark_check(check, lock.gate.waivers.get(check.name), active_names, day) for check in results]
    names = None if known_names is None else {*known_names, *(check.name for check in results)}
    return [*marked_checks, _check_waivers(lock, marked_checks, day, names, limits)]


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


def _mark_check(check: Check, waiver: Waiver | None, active_names: Collection[str], day: date) -> Check:
    if waiver is None or not check.verdict.is_blocking:
        return check
    if check.name in active_names:
        return replace(check, waived=True)
    fault = f"ended on {waiver.until}" if waiver.until < day else "may not be so long"
    return replace(check, advice=f"its waiver {fault}; {check.advice}".removesuffix("; "))


def _check_waivers(
    lock: Lock, results: list[Check], day: date, known_names: Collection[str] | None, limits: WaiverLimits
) -> Check:
    """Return the check of the waivers themselves: each names a check, none lasts too long, and they are few."""
    entries, too_long = list_waivers(lock, results, day), _list_too_long(lock, day, limits)
    unknown_names = [] if known_names is None else sorted({each["check"] for each in entries} - set(known_names))
    parts = {
        "used": [each["check"] for each in entries if each["used"]],
        "unused": [
            each["check"]
            for each in entries
            if not (each["used"] or each["expired"] or each["check"] in [*unknown_names, *too_long])
        ],
        "expired": [each["check"] for each in entries if each["expired"] and each["check"] not in unknown_names],
        "naming no check": unknown_names,
        f"longer than {limits.days} days": too_long,
    }
    summary = "; ".join(f"{len(names)} {kind} ({', '.join(names)})" for kind, names in parts.items() if names)
    allowed = f"each names a check; at most {limits.days} days, and {limits.count} at once"
    if unknown_names:
        names = known_names or ()
        advice = (
            f"no check is named '{unknown_names[0]}'; "
            f"{suggest_name(unknown_names[0], names) or suggest_allowed(unknown_names[0], names)}"
        )
        return Check(CHECK_NAME, Verdict.FAIL, summary, allowed, advice, group="rules")
    if advice := _find_excess(lock, day, limits):
        return Check(CHECK_NAME, Verdict.FAIL, summary, allowed, advice, group="rules")
    return Check(CHECK_NAME, Verdict.PASS, summary, allowed, group="rules")


def _find_excess(lock: Lock, day: date, limits: WaiverLimits) -> str:
    """Return what to do about a waiver that lasts too long, or about too many; empty if there is none."""
    if too_long := _list_too_long(lock, day, limits):
        last_day = day + timedelta(days=limits.days)
        return f"let '{too_long[0]}' end by {last_day}: {DAYS_KEY} allows {limits.days} days from now on"
    in_force = sum(each.until >= day for each in lock.gate.waivers.values())
    if in_force > limits.count:
        return f"{in_force} are in force: {COUNT_KEY} allows {limits.count}; remove those that can be done without"
    return ""


def _list_too_long(lock: Lock, day: date, limits: WaiverLimits) -> list[str]:
    """Return the names of the waivers that last longer than is allowed."""
    return [name for name, each in lock.gate.waivers.items() if (each.until - day).days > limits.days]
