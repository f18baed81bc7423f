"""Prints registry data as tables on a terminal."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from merit.console.tables import console, fit

SHOWN = 4
"""The most metrics shown per version in the list."""


def listed(found: Sequence[Mapping[str, Any]]) -> None:
    """Print the versions."""
    names = list(dict.fromkeys(name for each in found for name in each["metrics"]))[:SHOWN]
    rows = [
        [
            each["version"],
            _moment(each["tagged_at"]),
            *(_number(each["metrics"].get(name)) for name in names),
            f"{each['verdict']} ({each['checks']}" + (f", {len(each['waived'])} waived)" if each["waived"] else ")"),
            _short(each["image"]),
            "yes" if each["signed"] else "no",
            ", ".join(each["environments"]),
        ]
        for each in found
    ]
    _print(["version", "made", *names, "gate", "image", "signed", "environments"], rows, whole={"version", *names})


def shown(found: Mapping[str, Any]) -> None:
    """Print one version."""
    lineage = {name: value for name, value in found["lineage"].items() if name not in {"metrics", "signature"}}
    rows = [["version", found["version"]], ["made", f"{_moment(found['tagged_at'])} by {found['by']}"]]
    rows += [[name, _plain(value)] for name, value in lineage.items()]
    rows += [[f"metric {name}", _number(value)] for name, value in found["metrics"].items()]
    rows += [["image", found["image"] or "none yet"], ["signature", found["signature"]]]
    rows += [["environments", ", ".join(found["environments"]) or "none"]]
    _print(["", ""], rows)


def history(found: Sequence[Mapping[str, Any]]) -> None:
    """Print which version environments declared, and when."""
    rows = []
    for each in found:
        why = each["why"] if each["reverts"] is None else f"revert{_of(each['reverts'])}: {each['why']}"
        until = _moment(each["until"]) if each["until"] else "now"
        version = each["version"] or "nothing"
        rows.append([each["environment"], version, _moment(each["since"]), until, each["by"], each["commit"][:7], why])
    _print(["environment", "version", "since", "until", "merged by", "commit", "why"], rows)


def compared(found: Mapping[str, Any]) -> None:
    """Print the differences between two versions."""
    before, after = found["before"], found["after"]
    rows = [[name, _side(each["before"]), _side(each["after"]), _same(each)] for name, each in found["hashes"].items()]
    _print(["", before, after, ""], rows)
    rows = [[each["metric"], *(_number(each[side]) for side in ("before", "after")), _moved(each)]
            for each in found["metrics"]]  # fmt: skip
    _print(["metric", before, after, "moved"], rows)
    config = found["config"]
    if config is None:
        console().print("params.yaml: missing in one of the two, or of another structure")
    elif config:
        rows = [[each["key"], *(_plain(each[side]) for side in ("before", "after"))] for each in config]
        _print(["params.yaml", before, after], rows)


def _print(columns: Sequence[str], rows: Sequence[Sequence[str]], whole: Collection[str] = ()) -> None:
    """Print a table; columns named in `whole` are never wrapped, neither their values nor their headers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, show_header=any(columns))
    for name in columns:
        table.add_column(name, no_wrap=name in whole)
    for row in rows:
        table.add_row(*map(Text, row))
    screen = console()
    screen.print(fit(table, screen.width))


def _moment(text: str) -> str:
    return text[:16].replace("T", " ")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _moved(each: Mapping[str, Any]) -> str:
    before, after = each["before"], each["after"]
    return "" if before is None or after is None else f"{after - before:+.4f}"


def _same(each: Mapping[str, Any]) -> str:
    return "the same" if each["same"] else "differs"


def _side(value: Any) -> str:
    return _plain(value)[:19]


def _short(image: str | None) -> str:
    """Return an image's name with its digest shortened."""
    name, _, digest = (image or "").partition("@sha256:")
    return f"{name}@{digest[:7]}" if digest else name


def _of(commit: str) -> str:
    return f" of {commit[:7]}" if commit else ""


def _plain(value: Any) -> str:
    """Return a value as one line of printable characters: tags and locks may hold control characters."""
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    return "none" if value is None else "".join(c if c.isprintable() else " " for c in str(value))
