"""gate: gather the evidence, run the checks, write the report; fails closed."""

from dataclasses import asdict
from typing import Any

import numpy as np
import yaml

from merit import artifacts
from merit.config import targets, trust
from merit.config.schema import Lock
from merit.errors import MeritError
from merit.gate import champion as champions
from merit.gate import change, checks, freshness, plots, report, rules
from merit.gate.champion import Champion
from merit.gate.checks import Evidence
from merit.gate.verdict import Check, Verdict, overall
from merit.metrics import estimate, scored
from merit.scoring import Package, columns_of, verified


def gate(lock: Lock, against: str | None = None) -> dict[str, Any]:
    """Judge the candidate, write the report in its three forms, and return it.

    Args:
        lock: the configuration.
        against: the commit whose champion is the rival; None for the merge base with main.

    Raises:
        MeritError: something needed to judge is missing or was changed; without it there is no verdict.
    """
    # Who can't be judged has no verdict, not the last one.
    for former in (artifacts.GATE_REPORT, artifacts.GATE_MARKDOWN, artifacts.GATE_HTML):
        former.unlink(missing_ok=True)
    verified(artifacts.PACKAGE)
    _check_is_current(lock)
    champion = champions.find(lock.name, against)
    with trust.theirs():
        evidence = _gather(lock, champion)
        found = checks.run(evidence)
    changed = change.since(lock, champion, against)
    found.append(rules.check(changed, champion))
    made = _findings(evidence, found) | {"change": changed}
    return report.write(made)


def _findings(evidence: Evidence, found: list[Check]) -> dict[str, Any]:
    """Return the report: the verdict, what was judged, and what was found."""
    lock, champion, measured = evidence.lock, evidence.champion, _measured()
    return {
        "form": 1,
        "verdict": str(overall(check.verdict for check in found)),
        "inputs": freshness.digest(lock, champion),
        "model": lock.name,
        "task": lock.data.target.task,
        "candidate": {
            "digest": artifacts.package_digest(artifacts.PACKAGE),
            "commit": evidence.manifest["commit"],
            "dirty": evidence.manifest["dirty"],
            "network": lock.model.target,
        },
        "champion": None if champion is None else {"commit": champion.commit, "package": champion.package_hash},
        "parts": artifacts.read_json(artifacts.FEATURES_REPORT, "features")["parts"],
        "confidence": lock.gate.confidence,
        "checks": [
            {**asdict(check), "advice": "" if check.verdict == Verdict.PASS else check.advice} for check in found
        ],
        "metrics": {
            "candidate": {n: e.as_json() for n, e in evidence.metrics.items()},
            "baseline": measured["baseline"],
        },
        "better": {name: "higher" if evidence.is_better_higher(name) else "lower" for name in evidence.metrics},
        "slices": measured["slices"],
        "curves": plots.curves(lock.data.target.task),
    }


def _check_is_current(lock: Lock) -> None:
    """Refuse to judge a package that another lock made."""
    packaged = yaml.safe_load(
        artifacts.require(artifacts.PACKAGE / artifacts.PACKAGED_LOCK, "package").read_text(encoding="utf-8")
    )
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
        manifest=package.manifest,
        bytes=sum(path.stat().st_size for path in artifacts.PACKAGE.iterdir()),
        champion=champion,
    )


def _measured() -> dict[str, Any]:
    found: dict[str, Any] = artifacts.read_json(artifacts.METRICS, "evaluate")
    return found
