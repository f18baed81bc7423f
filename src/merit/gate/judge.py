"""Runs the gate: collects the evidence, runs the checks and writes the report; errors never count as a pass."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any, Literal

import numpy as np

from merit import artifacts, git, safe_yaml
from merit.config.components import targets, trusted_packages
from merit.config.schema import Lock
from merit.console.logging import show_phase
from merit.errors import GATE_MODULES, MeritError, require_modules
from merit.gate import champion as champions
from merit.gate import config_change, freshness, test_use, waivers
from merit.gate.champion import Champion
from merit.gate.checks import suite
from merit.gate.checks.data.run import check_data
from merit.gate.checks.model.source_rows import SourceRows
from merit.gate.evidence import Evidence
from merit.gate.predictions import predict_seeds
from merit.gate.report import plots, render
from merit.gate.report.schema import REPORT_FORM
from merit.gate.slice_search import FoundSlice
from merit.gate.verdict import Check, combine_verdicts
from merit.metrics import Resampling, blocks, estimate_intervals, prepare_metrics
from merit.process import workspace_lock
from merit.scoring.package import Package, extract_columns, verify_package

Scope = Literal["data", "model"]
"""The part to judge; None (in annotations) means both."""


def gate(lock: Lock, ref: str | None = None, scope: Scope | None = None) -> dict[str, Any]:
    """Judge the candidate, write the report as JSON, Markdown and HTML, and return it.

    Args:
        lock: the parsed params.yaml.
        ref: the commit whose champion is compared; None for the merge base with main.
        scope: judge only the data, for example before training, or only the model; None judges both.

    Raises:
        MeritError: a required file is missing or was changed, so there is no verdict; or another gate or stage is
            running in this folder; or what the extra `gate` installs is not here.
    """
    require_modules("merit gate", *GATE_MODULES)
    with workspace_lock.lock_all_stages():  # parallel runs would overwrite each other's report
        return _run_gate(lock, ref, scope)


def _run_gate(lock: Lock, ref: str | None, scope: Scope | None) -> dict[str, Any]:
    # If judging fails, there must be no verdict rather than an outdated one.
    for report_file in (artifacts.GATE_REPORT, artifacts.GATE_MARKDOWN, artifacts.GATE_HTML):
        report_file.unlink(missing_ok=True)
    if scope != "data":
        verify_package(artifacts.PACKAGE)
        _check_package_is_current(lock)
    show_phase("gate: looking for the champion")
    champion = champions.find_champion(lock.name, ref)
    with trusted_packages.convert_project_errors(), ExitStack() as stack:
        changes = config_change.compare_with_champion(lock, champion, ref)
        evidence = None if scope == "data" else _collect_evidence(lock, champion, changes)
        # The data checks run while the Bento is built and started in the background. `list` returns no checks.
        finish_checks = list if evidence is None else stack.enter_context(suite.start_checks(evidence))
        data_findings = None if scope == "model" else check_data(lock, champion)
        results = finish_checks()
    show_phase("gate: writing the report")
    day = waivers.get_utc_date()
    known_checks = waivers.list_conditional_checks(lock) if scope is None else None
    results = waivers.apply_waivers(
        lock,
        [*(data_findings.checks if data_findings else []), *results],
        day,
        known_names=known_checks,
        limits=waivers.find_limits(lock, changes),
    )
    content = {
        **_build_summary(lock, champion, scope, results),
        "waivers": waivers.list_waivers(lock, results, day),
        "change": changes,
    }
    content |= {
        "data": data_findings.report if data_findings else None,
        **(_build_model_sections(evidence) if evidence else _build_empty_sections(lock)),
    }
    if evidence is not None:
        test_use.record_verdict(lock, evidence.test_use, content["verdict"])
    return render.write_report(content)


def _build_summary(lock: Lock, champion: Champion | None, scope: Scope | None, results: list[Check]) -> dict[str, Any]:
    """Return the report's sections that don't depend on the scope: verdict, scope and checks."""
    return {
        "form": REPORT_FORM,
        "verdict": str(combine_verdicts(check.verdict for check in results if not check.waived)),
        "scope": scope or "all",
        "inputs": freshness.compute_inputs_digest(lock, champion, scope),
        "model": lock.name,
        "task": lock.data.target.task,
        "champion": None if champion is None else {"commit": champion.commit, "package": champion.package_hash},
        "confidence": lock.gate.confidence,
        "checks": [{**asdict(check), "advice": check.advice if check.verdict.is_blocking else ""} for check in results],
    }


def _build_model_sections(evidence: Evidence) -> dict[str, Any]:
    """Return the report's sections on the model."""
    metrics_report = artifacts.read_json(artifacts.METRICS, "evaluate")
    return {
        "candidate": {
            "digest": artifacts.hash_package(artifacts.PACKAGE),
            "commit": git.get_head(),
            "dirty": git.is_dirty(),
            "network": evidence.lock.model.target,
        },
        "parts": artifacts.read_json(artifacts.FEATURES_REPORT, "features")["parts"],
        "test_rows": _describe_test_rows(evidence),
        "metrics": {
            "candidate": {n: e.as_json() for n, e in evidence.metrics.items()},
            "baseline": _require_section(metrics_report, "baseline"),
            **_build_champion_metrics(evidence),
        },
        "blocks": {
            "of": evidence.size.name,
            "count": evidence.size.units,
            "too_few": evidence.size.units < blocks.FEW_BLOCKS,
        },
        "better": {name: "higher" if evidence.is_higher_better(name) else "lower" for name in evidence.metrics},
        "slices": _add_slice_comparison(evidence, _require_section(metrics_report, "slices")),
        "unnamed_slices": _build_unnamed_slices(evidence),
        "curves": plots.read_curves(evidence.lock.data.target.task),
    }


def _require_section(metrics_report: dict[str, Any], name: str) -> Any:
    if name not in metrics_report:
        raise MeritError(f"{artifacts.METRICS}: has no {name}; make it again with 'merit evaluate'")
    return metrics_report[name]


def _build_empty_sections(lock: Lock) -> dict[str, Any]:
    """Return empty model sections, for a report on the data only."""
    candidate = {"digest": None, "commit": git.get_head(), "dirty": git.is_dirty(), "network": lock.model.target}
    empty = dict.fromkeys(("parts", "test_rows", "metrics", "blocks", "unnamed_slices", "curves"))
    return {"candidate": candidate, "better": {}, "slices": [], **empty}


def _describe_test_rows(evidence: Evidence) -> dict[str, Any]:
    is_compared = evidence.champion_comparison.predictions is not None
    use = evidence.test_use.as_json()
    return {"rows": evidence.rows.height, **use, "unseen": evidence.unseen_rows.as_json() if is_compared else None}


def _build_champion_metrics(evidence: Evidence) -> dict[str, Any]:
    """Return the champion's metrics and the candidate's differences from them; None without a comparison."""
    comparison = evidence.champion_comparison
    estimates = {"champion": comparison.metrics, "difference": comparison.difference}
    return {section: {n: e.as_json() for n, e in metrics.items()} or None for section, metrics in estimates.items()}


def _add_slice_comparison(evidence: Evidence, slices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the slices measured by `evaluate`, with their difference from the champion and verdict."""
    rule = evidence.lock.gate.slices
    comparisons: dict[tuple[str, str | None], dict[str, Any]] = {
        (each.column, each.value): {
            "difference": {rule.metric: each.difference.as_json()},
            "verdict": None if each.verdict is None else str(each.verdict),
        }
        for each in evidence.slices
        if rule is not None and each.difference is not None
    }
    no_comparison = {"difference": None, "verdict": None}
    return [{**each, **comparisons.get((each["column"], each["value"]), no_comparison)} for each in slices]


def _build_unnamed_slices(evidence: Evidence) -> dict[str, Any] | None:
    """Return the worst slices that nobody declared; None if they are not searched."""
    search = evidence.unnamed_slices
    if search is None:
        return None
    candidate, champion = search.losses
    means = {"observed": search.observed, "predicted": search.predicted}
    return {
        "searched": search.searched,
        "min_rows": search.min_rows,
        "worse": _build_found_slice(search.worse, {"candidate": candidate, "champion": champion}),
        "miscalibrated": _build_found_slice(search.miscalibrated, means),
    }


def _build_found_slice(found: FoundSlice | None, means: Mapping[str, float]) -> dict[str, Any] | None:
    if found is None:
        return None
    rows = int(found.mask.sum())
    return {"rule": found.rule, "rows": rows, "blocks": found.blocks, "difference": found.error.as_json(), **means}


def _check_package_is_current(lock: Lock) -> None:
    """Raise if the package was built from another params.yaml than the present one."""
    text = artifacts.require_path(artifacts.PACKAGE / artifacts.PACKAGED_LOCK, "package").read_text(encoding="utf-8")
    packaged_values = safe_yaml.load(text)
    current_values = lock.model_dump(mode="json", by_alias=True, include=set(packaged_values))
    changed_sections = [name for name in packaged_values if packaged_values[name] != current_values.get(name)]
    if changed_sections:
        raise MeritError(
            f"gate: {artifacts.LOCK} now holds another {', '.join(changed_sections)} than the package was made with; "
            "run 'merit run'"
        )


def _collect_evidence(lock: Lock, champion: Champion | None, changes: Mapping[str, Any] | None = None) -> Evidence:
    package = Package.load(artifacts.PACKAGE)
    rows = artifacts.read_table(artifacts.TEST_ROWS, "features")
    predictions = artifacts.read_table(artifacts.PREDICTIONS, "evaluate")
    target = rows[lock.data.target.name].to_numpy()
    if predictions.height != rows.height or not np.array_equal(
        predictions["target"].to_numpy(), target.astype(np.float32)
    ):
        raise MeritError(
            f"{artifacts.PREDICTIONS}: not of the rows of {artifacts.TEST_ROWS}; run 'merit evaluate' again"
        )
    show_phase(f"gate: scoring {rows.height:,} test rows")
    candidate = package.predict(extract_columns(rows, package.graph.inputs))
    resampling = Resampling(lock.evaluate.resamples, lock.gate.confidence, lock.seed, blocks.number_blocks(lock, rows))
    own_metrics = targets.build_metrics(lock.evaluate.metrics)
    return Evidence(
        lock=lock,
        contract=artifacts.read_json(artifacts.DATA_REPORT, "validate"),
        rows=rows,
        target=target,
        candidate=candidate,
        network=predictions["prediction"].to_numpy(),
        baseline=predictions["baseline"].to_numpy(),
        deviation=float(target.std()) or 1.0,
        own_metrics=own_metrics,
        metrics=estimate_intervals(prepare_metrics(lock.data.target.task, target, candidate, own_metrics), resampling),
        package=package,
        package_bytes=sum(path.stat().st_size for path in artifacts.PACKAGE.iterdir()),
        champion=champion,
        seeds=predict_seeds(sorted(artifacts.SEEDS.glob("*.onnx")), rows),
        source=SourceRows(lock.data, rows),
        changes=changes,
    )
