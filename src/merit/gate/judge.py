"""Runs the gate: collects the evidence, runs the checks and writes the report; errors never count as a pass."""

from contextlib import ExitStack
from dataclasses import asdict
from typing import Any, Literal

import numpy as np

from merit import artifacts, git, safe_yaml
from merit.config import targets, trust
from merit.config.schema import Lock
from merit.console.tables import show_phase
from merit.errors import MeritError
from merit.gate import champion as champions
from merit.gate import change, freshness, waivers
from merit.gate.champion import Champion
from merit.gate.checks import outputs, rules, suite
from merit.gate.checks.data.run import look
from merit.gate.checks.model.source import SourceRows
from merit.gate.evidence import Evidence
from merit.gate.report import plots, render
from merit.gate.verdict import Check, Verdict, overall
from merit.metrics import estimate, scored
from merit.process import workspace_lock
from merit.scoring.package import Package, columns_of, verified

Scope = Literal["data", "model"]
"""The part to judge; None (in annotations) means both."""


def gate(lock: Lock, against: str | None = None, only: Scope | None = None) -> dict[str, Any]:
    """Judge the candidate, write the report as JSON, Markdown and HTML, and return it.

    Args:
        lock: the parsed params.yaml.
        against: the commit whose champion is compared; None for the merge base with main.
        only: judge only the data, for example before training, or only the model; None judges both.

    Raises:
        MeritError: a required file is missing or was changed, so there is no verdict; or another gate or stage is
            running in this folder.
    """
    with workspace_lock.stage():  # parallel runs would overwrite each other's report
        return _gate(lock, against, only)


def _gate(lock: Lock, against: str | None, only: Scope | None) -> dict[str, Any]:
    # If judging fails, there must be no verdict rather than an outdated one.
    for former in (artifacts.GATE_REPORT, artifacts.GATE_MARKDOWN, artifacts.GATE_HTML):
        former.unlink(missing_ok=True)
    if only != "data":
        verified(artifacts.PACKAGE)
        _check_is_current(lock)
    show_phase("gate: looking for the champion")
    champion = champions.find(lock.name, against)
    with trust.theirs(), ExitStack() as stack:
        evidence = None if only == "data" else _gather(lock, champion)
        # The data checks run while the Bento is built and started in the background. `list` returns no checks.
        finish = list if evidence is None else stack.enter_context(suite.begun(evidence))
        data = None if only == "model" else look(lock, champion)
        found = finish()
    show_phase("gate: comparing with main, and writing the report")
    changed = change.since(lock, champion, against)
    if evidence is not None:
        found += [rules.check(changed, champion), outputs.check()]
    day = waivers.today()
    known = waivers.possible(lock) if only is None else None
    found = waivers.waived(lock, [*(data.checks if data else []), *found], day, known=known)
    made = {**_report(lock, champion, only, found), "waivers": waivers.listed(lock, found, day), "change": changed}
    made |= {"data": data.report if data else None, **(_judged(evidence) if evidence else _not_judged(lock))}
    return render.write(made)


def _report(lock: Lock, champion: Champion | None, only: Scope | None, found: list[Check]) -> dict[str, Any]:
    """Return the report's sections that don't depend on the scope: verdict, scope and checks."""
    return {
        "form": 1,
        "verdict": str(overall(check.verdict for check in found if not check.waived)),
        "scope": only or "all",
        "inputs": freshness.digest(lock, champion, only),
        "model": lock.name,
        "task": lock.data.target.task,
        "champion": None if champion is None else {"commit": champion.commit, "package": champion.package_hash},
        "confidence": lock.gate.confidence,
        "checks": [
            {**asdict(check), "advice": "" if check.verdict == Verdict.PASS else check.advice} for check in found
        ],
    }


def _judged(evidence: Evidence) -> dict[str, Any]:
    """Return the report's sections on the model."""
    measured = artifacts.read_json(artifacts.METRICS, "evaluate")
    return {
        "candidate": {
            "digest": artifacts.package_digest(artifacts.PACKAGE),
            "commit": git.head(),
            "dirty": git.is_dirty(),
            "network": evidence.lock.model.target,
        },
        "parts": artifacts.read_json(artifacts.FEATURES_REPORT, "features")["parts"],
        "metrics": {
            "candidate": {n: e.as_json() for n, e in evidence.metrics.items()},
            "baseline": _known(measured, "baseline"),
            **_against_champion(evidence),
        },
        "better": {name: "higher" if evidence.is_better_higher(name) else "lower" for name in evidence.metrics},
        "slices": _compared(evidence, _known(measured, "slices")),
        "curves": plots.curves(evidence.lock.data.target.task),
    }


def _known(measured: dict[str, Any], name: str) -> Any:
    if name not in measured:
        raise MeritError(f"{artifacts.METRICS}: has no {name}; make it again with 'merit evaluate'")
    return measured[name]


def _not_judged(lock: Lock) -> dict[str, Any]:
    """Return empty model sections, for a report on the data only."""
    candidate = {"digest": None, "commit": git.head(), "dirty": git.is_dirty(), "network": lock.model.target}
    return {"candidate": candidate, "parts": None, "metrics": None, "better": {}, "slices": [], "curves": None}


def _against_champion(evidence: Evidence) -> dict[str, Any]:
    """Return the champion's metrics and the candidate's differences from them; None without a comparison."""
    rivalry = evidence.rivalry
    told = {"champion": rivalry.metrics, "difference": rivalry.difference}
    return {part: {n: e.as_json() for n, e in found.items()} or None for part, found in told.items()}


def _compared(evidence: Evidence, slices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the slices measured by `evaluate`, with their difference from the champion and verdict."""
    rule = evidence.lock.gate.slices
    told: dict[tuple[str, str | None], dict[str, Any]] = {
        (each.column, each.value): {
            "difference": {rule.metric: each.difference.as_json()},
            "verdict": None if each.verdict is None else str(each.verdict),
        }
        for each in evidence.slices
        if rule is not None and each.difference is not None
    }
    nothing = {"difference": None, "verdict": None}
    return [{**each, **told.get((each["column"], each["value"]), nothing)} for each in slices]


def _check_is_current(lock: Lock) -> None:
    """Raise if the package was built from another params.yaml than the present one."""
    text = artifacts.require(artifacts.PACKAGE / artifacts.PACKAGED_LOCK, "package").read_text(encoding="utf-8")
    packaged = safe_yaml.load(text)
    now = lock.model_dump(mode="json", by_alias=True, include=set(packaged))
    differing = [name for name in packaged if packaged[name] != now.get(name)]
    if differing:
        raise MeritError(
            f"gate: {artifacts.LOCK} now holds another {', '.join(differing)} than the package was made with; "
            "run 'merit run'"
        )


def _gather(lock: Lock, champion: Champion | None) -> Evidence:
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
    ours = package.predict(columns_of(rows, package.graph.inputs))
    count, confidence = lock.evaluate.resamples, lock.gate.confidence
    own = targets.build_metrics(lock.evaluate.metrics)
    return Evidence(
        lock=lock,
        contract=artifacts.read_json(artifacts.DATA_REPORT, "validate"),
        rows=rows,
        target=target,
        candidate=ours,
        network=predictions["prediction"].to_numpy(),
        baseline=predictions["baseline"].to_numpy(),
        deviation=float(target.std()) or 1.0,
        own=own,
        metrics=estimate(
            scored(lock.data.target.task, target, ours, own), count=count, confidence=confidence, seed=lock.seed
        ),
        package=package,
        bytes=sum(path.stat().st_size for path in artifacts.PACKAGE.iterdir()),
        champion=champion,
        source=SourceRows(lock.data, rows),
    )
