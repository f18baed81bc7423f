"""What the report says in each of its forms alike."""

from typing import Any

SUMMARY = {
    "pass": "may merge",
    "fail": "may not merge: a check failed",
    "inconclusive": "may not merge: a check could not decide",
}


def part(found: dict[str, Any]) -> str:
    """Return how many rows a part has, and from when to when, where rows have a time."""
    rows = f"{found['rows']:,} rows"
    return f"{rows} ({found['from'][:10]} to {found['to'][:10]})" if "from" in found else rows


def interval(found: dict[str, Any]) -> str:
    """Return a value with its interval, or a dash where it has no meaning."""
    if found["value"] is None:
        return "none"
    if found["low"] is None:
        return f"{found['value']:.4f}"
    return f"{found['value']:.4f} [{found['low']:.4f}, {found['high']:.4f}]"
