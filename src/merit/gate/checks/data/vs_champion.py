"""Data checks against the champion's data: rows, missing values, categories, target rate, drift.

What can't be compared gives an inconclusive check, never a pass.
"""

from typing import Any

from merit.config.schema import Lock
from merit.config.schema.data import Data
from merit.errors import MeritError
from merit.gate.champion import Champion, describe_missing_champion
from merit.gate.checks.data import difference, matching
from merit.gate.checks.data.cells import count_cells
from merit.gate.checks.data.dataset import Dataset
from merit.gate.checks.data.drift_comparison import ALLOWED_TEXT, DriftComparison, build_other_target_check
from merit.gate.checks.data.findings import Findings, build_check, build_not_applicable, format_worst
from merit.gate.checks.data.leakage_checks import check_new_features
from merit.gate.checks.data.row_checks import (
    check_labels,
    check_rows,
    list_changed_slices,
    measure_selected_rows,
)
from merit.gate.checks.protocol import DataFamily
from merit.gate.verdict import Check

CHECK_NAMES = (
    "rows",
    "missing",
    "categories",
    "labels",
    "target rate",
    "drift",
    "drift, overall",
    "drift, target",
    "drift, validation",
    "drift, test",
    "leakage, new features",
)
OTHER_MODEL_ADVICE = (
    "if this is another model, give it a name of its own (name in conf/config.yaml), and waive rules: it then has no "
    "champion yet"
)


def compare_with_champion(lock: Lock, champion: Champion | None, candidate: Dataset) -> Findings:
    """Compare the data with the champion's; data that is bit-identical passes without any computation."""
    if champion is None:
        reason = describe_missing_champion()
        return Findings([build_not_applicable(name, reason, "nothing to compare with") for name in CHECK_NAMES])
    try:
        data = champion.read_data_section()
        if champion.has_same_data() and _select_row_settings(data) == _select_row_settings(lock.data):
            return _report_identical(champion, candidate)
        with champion.fetch_data() as path:
            champion_dataset = Dataset.scan(path, data, "its data")
            return (
                _compare_datasets(lock, champion, candidate, champion_dataset)
                if matching.list_common_columns(candidate, champion_dataset)
                else _report_incomparable(champion, candidate)
            )
    except MeritError as error:
        message = f"the data of {champion.commit[:7]} can't be compared: {error}"
        advice = "'dvc push' it where it was made, or compare with the champion of another commit by --against REF"
        return Findings(
            _build_equal_checks(None, message, ALLOWED_TEXT, advice), {"champion": _describe_champion(champion, None)}
        )


def _build_equal_checks(passed: bool | None, found: str, allowed: str, advice: str = "") -> list[Check]:
    """Return all checks of this module with one and the same result."""
    return [build_check(name, passed, found, allowed, advice) for name in CHECK_NAMES]


def _describe_champion(champion: Champion, rows: int | None) -> dict[str, Any]:
    return {"commit": champion.commit, "rows": rows}


def _select_row_settings(data: Data) -> dict[str, Any]:
    """Return the settings that decide which rows and features training gets from the same file."""
    settings = data.model_dump(include={"split", "time", "target"})
    return settings | {"features": {name: column.feature for name, column in data.columns.items()}}


def _report_identical(champion: Champion, candidate: Dataset) -> Findings:
    """Return the findings on data that is bit-identical to the champion's."""
    target_summary = difference.summarize_target(candidate)
    report = {
        "champion": _describe_champion(champion, candidate.height),
        "rows": {"now": candidate.height, "before": candidate.height, "added": 0, "gone": 0, "changed": 0}
        | {"relabelled": 0},
        "changed_columns": [],
        "changed_slices": [],
        "columns": {"added": [], "gone": [], "retyped": []},
        "missing": [],
        "categories": [],
        "target": {"before": target_summary, "after": target_summary},
        "drift": [],
        "identical": True,
    }
    return Findings(_build_equal_checks(True, f"the data of {champion.commit[:7]}, bit for bit", ALLOWED_TEXT), report)


def _report_incomparable(champion: Champion, candidate: Dataset) -> Findings:
    """Return inconclusive findings for data that shares no column with the champion's."""
    message = f"no column of {candidate.name} is one of the data of {champion.commit[:7]}"
    return Findings(
        _build_equal_checks(None, message, ALLOWED_TEXT, OTHER_MODEL_ADVICE),
        {"champion": _describe_champion(champion, None)},
    )


def _compare_datasets(lock: Lock, champion: Champion, candidate: Dataset, champion_dataset: Dataset) -> Findings:
    """Return the findings on data that differs from the champion's and shares columns with it."""
    limits, matches = lock.gate.data, matching.match_rows(candidate, champion_dataset)
    cells = count_cells(candidate, champion_dataset, matches, lock.evaluate.slices, lock.evaluate.slice_min_rows)
    changed_columns = matching.count_changed_columns(candidate, champion_dataset, matches)
    rows = difference.count_row_changes(candidate, champion_dataset, matches)
    missing = difference.compare_missing(candidate, champion_dataset)
    categories = difference.compare_categories(candidate, champion_dataset)
    target_summaries = {
        "before": difference.summarize_target(champion_dataset),
        "after": difference.summarize_target(candidate),
    }
    has_same_target = matching.identify_target(candidate.data) == matching.identify_target(champion_dataset.data)
    target_checks = [
        check_labels(cells, measure_selected_rows(candidate, champion_dataset, matches), limits.labels),
        _check_target_rate(champion_dataset, target_summaries, limits.target),
    ]
    if not has_same_target:
        target_checks = [build_other_target_check(name, champion_dataset) for name in ("labels", "target rate")]
    drift = DriftComparison(candidate, champion_dataset, limits)
    checks = [
        check_rows(rows, changed_columns, cells, limits),
        _check_missing(missing, limits.missing),
        _check_categories(categories, rows, limits.categories),
        *target_checks,
        *drift.build_checks(),
        check_new_features(candidate, champion_dataset, changed_columns, limits),
    ]
    report = {
        "champion": _describe_champion(champion, champion_dataset.height),
        "rows": rows,
        "changed_columns": [{"column": name, "rows": count} for name, count in changed_columns.items()],
        "changed_slices": list_changed_slices(cells),
        "columns": difference.compare_columns(candidate, champion_dataset),
        "missing": missing,
        "categories": [{name: each[name] for name in each if name != "gone_rows"} for each in categories],
        "target": target_summaries,
        "drift": [score.as_json() for score in drift.report],
    }
    return Findings(checks, report)


def _check_missing(changes: list[dict[str, Any]], limit: float) -> Check:
    over_limit = [each for each in changes if abs(each["after"] - each["before"]) > limit]
    text = format_worst(
        [f"{each['column']} {each['before']:.2%} to {each['after']:.2%}" for each in over_limit or changes]
    )
    advice = "see where values were lost or made up; if this is meant, raise gate.data.missing"
    return build_check("missing", not over_limit, text or "no column moved", f"moved by at most {limit:.2%}", advice)


def _check_categories(changes: list[dict[str, Any]], row_changes: dict[str, Any], limit: float) -> Check:
    """Check the share of rows with new categories, and with categories that are gone."""
    shares = [
        (each["new_rows"] / row_changes["now"], each["gone_rows"] / row_changes["before"], each) for each in changes
    ]
    worst = sorted(shares, key=lambda each: -max(each[:2]))
    lines = [
        f"{each['column']}: {each['new_count']} new in {new:.2%} of rows, "
        f"{each['gone_count']} gone that were in {gone:.2%}"
        for new, gone, each in worst
    ]
    passed = all(max(new, gone) <= limit for new, gone, _ in worst)
    advice = "check whether their spelling changed; if they are really new, raise gate.data.categories"
    return build_check(
        "categories", passed, format_worst(lines) or "the same", f"in at most {limit:.2%} of rows", advice
    )


def _check_target_rate(champion_dataset: Dataset, target_summaries: dict[str, Any], limit: float) -> Check:
    """Check the change of the target: share of positives, most changed class share, or mean in standard deviations."""
    advice = "see whether labels are made otherwise now; if the world changed, raise gate.data.target"
    champion_rate, candidate_rate = target_summaries["before"], target_summaries["after"]
    if isinstance(champion_rate, dict):
        label, change = max(
            ((name, candidate_rate[name] - champion_rate[name]) for name in champion_rate),
            key=lambda item: abs(item[1]),
        )
        text = f"class {label}: {champion_rate[label]:.2%} to {candidate_rate[label]:.2%}"
    elif champion_dataset.data.target.task == "regression":
        change = (candidate_rate - champion_rate) / difference.compute_target_deviation(champion_dataset)
        text = f"mean {champion_rate:.4g} to {candidate_rate:.4g}: {change:+.2f} standard deviations"
    else:
        change = candidate_rate - champion_rate
        text = f"{champion_rate:.2%} to {candidate_rate:.2%} positive"
    allowed = f"{limit:g} standard deviations" if champion_dataset.data.target.task == "regression" else f"{limit:.2%}"
    return build_check("target rate", abs(change) <= limit, text, f"moved by at most {allowed}", advice)


NAME = "data comparison"
FAMILY = DataFamily(20, lambda evidence: compare_with_champion(evidence.lock, evidence.champion, evidence.dataset))
