"""Data checks against the champion's data: rows, missing values, categories, target rate, drift.

What can't be compared gives an inconclusive check, never a pass.
"""

from typing import Any

import polars as pl

from merit.config.schema import Lock
from merit.config.schema.data import Data
from merit.config.schema.gate import DataGate
from merit.errors import MeritError
from merit.gate.champion import Champion, describe_missing_champion
from merit.gate.checks.data import difference, drift
from merit.gate.checks.data.dataset import Dataset
from merit.gate.checks.data.drift import DriftScore
from merit.gate.checks.data.findings import Findings, build_check, build_not_applicable, format_worst
from merit.gate.checks.data.model_view import build_model_view, build_target_view
from merit.gate.checks.protocol import DataFamily
from merit.gate.verdict import Check

CHECK_NAMES = ("rows", "missing", "categories", "target rate", "drift", "drift, overall", "drift, target")
ALLOWED_TEXT = "comparable with the champion's"
OTHER_MODEL_ADVICE = (
    "if this is another model, give it a name of its own (name in conf/config.yaml), and waive rules: it then has no "
    "champion yet"
)
OTHER_TARGET_ADVICE = "the champion predicts something else: if this is intended, add a waiver"


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
                if difference.list_common_columns(candidate, champion_dataset)
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
        "rows": {"now": candidate.height, "before": candidate.height, "added": 0, "gone": 0, "changed": 0},
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
    limits = lock.gate.data
    rows, missing = (
        difference.count_row_changes(candidate, champion_dataset),
        difference.compare_missing(candidate, champion_dataset),
    )
    categories = difference.compare_categories(candidate, champion_dataset)
    target_summaries = {
        "before": difference.summarize_target(champion_dataset),
        "after": difference.summarize_target(candidate),
    }
    same_target = _identify_target(candidate.data) == _identify_target(champion_dataset.data)
    scores = _score_drift(candidate, champion_dataset, limits, same_target=same_target)
    features = [item for item in scores if item.column != _name_target_column(candidate)]
    target = next((each for each in scores if each.column == _name_target_column(candidate)), None)
    checks = [
        _check_rows(rows, limits),
        _check_missing(missing, limits.missing),
        _check_categories(categories, rows, limits.categories),
        _check_target_rate(champion_dataset, target_summaries, limits.target)
        if same_target
        else _build_other_target_check("target rate", champion_dataset),
        *_check_drift(features, candidate, champion_dataset, limits),
        _check_target_drift(target, champion_dataset, same_target=same_target),
    ]
    report = {
        "champion": _describe_champion(champion, champion_dataset.height),
        "rows": rows,
        "columns": difference.compare_columns(candidate, champion_dataset),
        "missing": missing,
        "categories": [{name: each[name] for name in each if name != "gone_rows"} for each in categories],
        "target": target_summaries,
        "drift": [score.as_json() for score in scores],
    }
    return Findings(checks, report)


def _identify_target(data: Data) -> tuple[str, str, object]:
    """Return what identifies a target: its name, task and classes."""
    return data.target.name, data.target.task, data.target.classes


def _build_other_target_check(name: str, champion_dataset: Dataset) -> Check:
    """Return the inconclusive check for a champion that predicts another target."""
    target = champion_dataset.data.target
    return build_check(
        name,
        None,
        f"the champion's target is another: {target.name} ({target.task})",
        ALLOWED_TEXT,
        OTHER_TARGET_ADVICE,
    )


def _check_rows(changes: dict[str, Any], limits: DataGate) -> Check:
    """Check the shares of removed and of changed rows."""
    champion_rows, gone, changed = changes["before"], changes["gone"], changes["changed"]
    common_rows = max(1, champion_rows - gone)  # a changed row exists on both sides: its share is of those rows
    passed = gone / champion_rows <= limits.gone and (changed or 0) / common_rows <= limits.changed
    text = f"{gone:,} of {champion_rows:,} gone ({gone / champion_rows:.2%}), {changes['added']:,} added"
    text += "" if changed is None else f", {changed:,} changed ({changed / common_rows:.2%})"
    allowed = f"at most {limits.gone:.2%} gone" + ("" if changed is None else f", {limits.changed:.2%} changed")
    advice = "bring the rows back as they were; if this is meant, raise gate.data.gone or gate.data.changed"
    return build_check("rows", passed, text, allowed, advice)


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


def _name_target_column(dataset: Dataset) -> str:
    """Return the target's column name in the drift tables; the suffix keeps it apart from features."""
    return f"{dataset.data.target.name} (target)"


def _score_drift(
    candidate: Dataset, champion_dataset: Dataset, limits: DataGate, *, same_target: bool
) -> list[DriftScore]:
    """Return the drift scores of features and target between the training rows of both; none if one has no rows."""
    candidate_view, champion_view = (
        _sample_view(table, limits, _name_target_column(table) if same_target else None)
        for table in (candidate, champion_dataset)
    )
    return (
        []
        if candidate_view.is_empty() or champion_view.is_empty()
        else drift.score_columns(candidate_view, champion_view, limits.drift)
    )


def _sample_view(dataset: Dataset, limits: DataGate, target: str | None) -> pl.DataFrame:
    """Return a random sample of training rows as the model sees them; `target` names the target's column, if any."""
    rows = dataset.sample_rows("train", limits.rows, limits.seed)
    view = build_model_view(rows, dataset.data)
    target_column = [] if target is None else [build_target_view(rows, dataset.data).alias(target)]
    return pl.DataFrame([*view.get_columns(), *target_column])


def _check_drift(
    scores: list[DriftScore], candidate: Dataset, champion_dataset: Dataset, limits: DataGate
) -> list[Check]:
    """Return two checks: each feature against its own limit, and the mean share of the limits over all features."""
    if not scores:
        text = "no training rows, or no feature that is one of the champion's"
        advice = "make sure that both have training rows; if other columns are intended, add a waiver"
        return [build_check(name, None, text, ALLOWED_TEXT, advice) for name in ("drift", "drift, overall")]
    drifted = [each for each in scores if each.is_drifted]
    advice = "see whether a unit, a column or the source changed; if the world did, raise gate.data.drift"
    text = (
        f"{len(drifted)} of {len(scores)} features: "
        f"{format_worst([_format_score(each) for each in drifted or scores[:1]])}"
    )
    champion_types = {name: champion_dataset.schema[name] for name in champion_dataset.feature_columns}
    if new_features := [
        name for name in candidate.feature_columns if champion_types.get(name) != candidate.schema[name]
    ]:
        text += f"; not compared, for the champion has no such feature: {format_worst(new_features)}"
    allowed = f"Jensen-Shannon {limits.drift.category:g}, Wasserstein {limits.drift.number:g} deviations"
    mean = sum(each.share_of_limit for each in scores) / len(scores)
    overall = f"at most {limits.drift.overall:.0%} of the limits on average"
    return [
        build_check("drift", not drifted, text, allowed, advice),
        build_check("drift, overall", mean <= limits.drift.overall, f"{mean:.0%}", overall, advice),
    ]


def _check_target_drift(score: DriftScore | None, champion_dataset: Dataset, *, same_target: bool) -> Check:
    """Check the drift of the target; without training rows, or with another target, the check is inconclusive."""
    if not same_target:
        return _build_other_target_check("drift, target", champion_dataset)
    if score is None:
        return build_check("drift, target", None, "no training rows", ALLOWED_TEXT, "see that both have training rows")
    advice = "see whether labels are made otherwise now; if the world changed, raise gate.data.drift"
    return build_check(
        "drift, target", not score.is_drifted, _format_score(score), f"{score.method} {score.limit:g}", advice
    )


def _format_score(score: DriftScore) -> str:
    return f"{score.column} {'has nothing to compare' if score.score is None else f'{score.score:.2f}'}"


NAME = "data comparison"
FAMILY = DataFamily(20, lambda evidence: compare_with_champion(evidence.lock, evidence.champion, evidence.dataset))
