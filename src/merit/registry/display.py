"""Prints registry data as tables on a terminal."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from merit.console.tables import create_console, fit_table

MAX_METRIC_COLUMNS = 4
"""The most metrics shown per version in the list."""


def print_versions(versions: Sequence[Mapping[str, Any]]) -> None:
    """Print the versions."""
    names = list(dict.fromkeys(name for each in versions for name in each["metrics"]))[:MAX_METRIC_COLUMNS]
    rows = [
        [
            each["version"],
            _format_time(each["tagged_at"]),
            *(_format_number(each["metrics"].get(name)) for name in names),
            f"{each['verdict']} ({each['checks']}" + (f", {len(each['waived'])} waived)" if each["waived"] else ")"),
            _shorten_image(each["image"]),
            "yes" if each["signed"] else "no",
            ", ".join(each["environments"]),
        ]
        for each in versions
    ]
    _print_table(
        ["version", "made", *names, "gate", "image", "signed", "environments"], rows, unwrapped={"version", *names}
    )


def print_version(version: Mapping[str, Any]) -> None:
    """Print one version."""
    lineage = {name: value for name, value in version["lineage"].items() if name not in {"metrics", "signature"}}
    rows = [["version", version["version"]], ["made", f"{_format_time(version['tagged_at'])} by {version['by']}"]]
    rows += [[name, _format_value(value)] for name, value in lineage.items()]
    rows += [[f"metric {name}", _format_number(value)] for name, value in version["metrics"].items()]
    rows += [["image", version["image"] or "none yet"], ["signature", version["signature"]]]
    rows += [["environments", ", ".join(version["environments"]) or "none"]]
    _print_table(["", ""], rows)


def print_history(periods: Sequence[Mapping[str, Any]]) -> None:
    """Print which version environments declared, and when."""
    rows = []
    for period in periods:
        reason = (
            period["why"]
            if period["reverts"] is None
            else f"revert{_format_reverted(period['reverts'])}: {period['why']}"
        )
        until = _format_time(period["until"]) if period["until"] else "now"
        version = period["version"] or "nothing"
        rows.append(
            [
                period["environment"],
                version,
                _format_time(period["since"]),
                until,
                period["by"],
                period["commit"][:7],
                reason,
            ]
        )
    _print_table(["environment", "version", "since", "until", "merged by", "commit", "why"], rows)


def print_comparison(comparison: Mapping[str, Any]) -> None:
    """Print the differences between two versions."""
    before, after = comparison["before"], comparison["after"]
    rows = [
        [name, _shorten_value(each["before"]), _shorten_value(each["after"]), _format_equality(each)]
        for name, each in comparison["hashes"].items()
    ]
    _print_table(["", before, after, ""], rows)
    rows = [[each["metric"], *(_format_number(each[side]) for side in ("before", "after")), _format_change(each)]
            for each in comparison["metrics"]]  # fmt: skip
    _print_table(["metric", before, after, "moved"], rows)
    config = comparison["config"]
    if config is None:
        create_console().print("params.yaml: missing in one of the two, or of another structure")
    elif config:
        rows = [[each["key"], *(_format_value(each[side]) for side in ("before", "after"))] for each in config]
        _print_table(["params.yaml", before, after], rows)


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], unwrapped: Collection[str] = ()) -> None:
    """Print a table; columns named in `unwrapped` are never wrapped, neither their values nor their headers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, show_header=any(columns))
    for name in columns:
        table.add_column(name, no_wrap=name in unwrapped)
    for row in rows:
        table.add_row(*map(Text, row))
    screen = create_console()
    screen.print(fit_table(table, screen.width))


def _format_time(text: str) -> str:
    return text[:16].replace("T", " ")


def _format_number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _format_change(metric: Mapping[str, Any]) -> str:
    before, after = metric["before"], metric["after"]
    return "" if before is None or after is None else f"{after - before:+.4f}"


def _format_equality(pair: Mapping[str, Any]) -> str:
    return "the same" if pair["same"] else "differs"


def _shorten_value(value: Any) -> str:
    return _format_value(value)[:19]


def _shorten_image(image: str | None) -> str:
    """Return an image's name with its digest shortened."""
    name, _, digest = (image or "").partition("@sha256:")
    return f"{name}@{digest[:7]}" if digest else name


def _format_reverted(commit: str) -> str:
    return f" of {commit[:7]}" if commit else ""


def _format_value(value: Any) -> str:
    """Return a value as one line of printable characters: tags and locks may hold control characters."""
    if isinstance(value, list):
        return ", ".join(map(_format_value, value)) or "none"
    return "none" if value is None else "".join(c if c.isprintable() else " " for c in str(value))
