"""Checks of rows that are gone, were added or changed, and of labels, over all rows and in the worst cell."""

from collections.abc import Mapping
from typing import Any

from merit.config.schema.gate import DataGate
from merit.gate.checks.data.cells import CELL_FACTOR, Cell, CellCounts, find_covered, mark_rows
from merit.gate.checks.data.dataset import Dataset
from merit.gate.checks.data.findings import build_check, format_worst
from merit.gate.checks.data.matching import RowMatches
from merit.gate.checks.data.selective_rows import Selectivity, measure_selectivity
from merit.gate.verdict import Check


def check_rows(changes: Mapping[str, Any], columns: Mapping[str, int], cells: CellCounts, limits: DataGate) -> Check:
    """Check the shares of removed, added and changed rows; the text names the columns and slices that changed most."""
    champion_rows, gone, changed = changes["before"], changes["gone"], changes["changed"]
    common_rows = max(1, champion_rows - gone)  # a changed row exists on both sides: its share is of those rows
    added_within, covered = cells.count("added")
    shares = {
        "gone": (gone / champion_rows, limits.gone),
        "added": (added_within / max(1, covered), limits.added),
        "changed": ((changed or 0) / common_rows, limits.changed),
    }
    if changed is None:
        del shares["changed"]
    over_limit = [kind for kind, (share, limit) in shares.items() if share > limit]
    worst = {kind: cells.find_worst(kind, limit) for kind, (_, limit) in shares.items()}
    text = f"{gone:,} of {champion_rows:,} gone ({gone / champion_rows:.2%}), {changes['added']:,} added"
    text += f" ({added_within:,} of them in the champion's time)" if added_within else ""
    text += "" if changed is None else f", {changed:,} changed ({changed / common_rows:.2%})"
    text += _name_columns(columns) + "".join(_describe_worst(kind, cell) for kind, cell in worst.items())
    text += _name_slices(cells, shares)
    allowed = "at most " + ", ".join(f"{limit:.2%} {kind}" for kind, (_, limit) in shares.items())
    advice = "bring the rows back as they were; if this is meant, raise gate.data.gone, gate.data.added or gate.data."
    passed = not over_limit and not any(worst.values())
    return build_check("rows", passed, text, f"{allowed}; {_describe_cell_limit()}", f"{advice}changed")


def measure_selected_rows(candidate: Dataset, champion: Dataset, matches: RowMatches) -> dict[str, Selectivity]:
    """Return whether gone rows, and rows added in the champion's time, were selected by their label."""
    gone = ~mark_rows(champion.height, matches.champion_rows)
    selected = {"gone": measure_selectivity(champion, gone)}
    if candidate.data.time is not None and champion.data.time is not None:
        covered = find_covered(candidate.read_times(), champion.read_times())
        added = ~mark_rows(candidate.height, matches.candidate_rows) & covered
        selected["added"] = measure_selectivity(candidate, added)
    return selected


def check_labels(cells: CellCounts, selected: Mapping[str, Selectivity], limit: float) -> Check:
    """Check the share of rows in both versions whose label changed, and that no rows came or went by their label."""
    count, rows = cells.count("relabelled")
    allowed = f"at most {limit:.2%}; {_describe_cell_limit()}"
    advice = (
        "see who changed the labels, and compare some with their source; if the new ones are right, raise "
        "gate.data.labels in a pull request of its own"
    )
    if not rows:
        return build_check("labels", None, "no row has one that can be compared", allowed, advice)
    worst = cells.find_worst("relabelled", limit)
    text = f"{count:,} of {rows:,} changed ({count / rows:.2%}){_describe_worst('changed', worst)}"
    text += _name_slices(cells, ["relabelled"])
    over_limit = {kind: each for kind, each in selected.items() if each.is_beyond(limit)}
    for kind, each in over_limit.items():
        text += (
            f"; {each.rows:,} {kind} rows were selected by their label: {each.excess:,.0f} more of one than their days"
        )
    passed = count / rows <= limit and worst is None and not over_limit
    return build_check("labels", passed, text, allowed, advice)


def _describe_cell_limit() -> str:
    return f"of a part the same, of a slice or month {CELL_FACTOR} times as much, both beyond chance"


def _describe_worst(kind: str, cell: Cell | None) -> str:
    return "" if cell is None else f"; {kind} in {cell}"


def _name_columns(columns: Mapping[str, int]) -> str:
    return f": {format_worst([f'{name} in {count:,}' for name, count in columns.items()])}" if columns else ""


def _name_slices(cells: CellCounts, kinds: Any) -> str:
    """Return the slices with the most changes of each kind, as the end of a sentence."""
    lines = [f"{kind} most {cells_of_kind[0]}" for kind in kinds if (cells_of_kind := cells.list_slices(kind))]
    return f"; {', '.join(lines)}" if lines else ""


def list_changed_slices(cells: CellCounts) -> list[dict[str, Any]]:
    """Return the slices with more changes than their share of the rows, for the report."""
    return [
        {"slice": cell.name, "change": kind, "count": cell.count, "rows": cell.rows}
        for kind in ("relabelled", "changed", "gone", "added")
        for cell in cells.list_slices(kind)[:10]
    ]
