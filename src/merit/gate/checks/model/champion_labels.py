"""Champion labels check: the candidate's gain is not one that only changed labels give.

Changed test labels judge both models, so a model that learned from equally changed training labels looks better than
it is. Both are scored on the champion's labels too, where rows match.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from merit.errors import MeritError
from merit.gate.checks.data.dataset import Dataset
from merit.gate.checks.data.matching import identify_target, match_rows
from merit.gate.checks.protocol import Check, CheckFamily
from merit.gate.evidence import Evidence
from merit.gate.verdict import Check as CheckResult
from merit.gate.verdict import Verdict
from merit.metrics import prepare_metrics

NAME = "champion's labels"
ADVICE = (
    "the candidate is better by its new labels alone: see whether they are right, and change labels and model in two "
    "pull requests, or waive this check"
)


@dataclass(frozen=True)
class LabelPair:
    """The labels of the test rows that the champion's data has too.

    Attributes:
        rows: the numbers of these test rows.
        candidate: their labels in the candidate's data.
        champion: their labels in the champion's data.
    """

    rows: NDArray[np.int64]
    candidate: NDArray[Any]
    champion: NDArray[Any]


def build_checks(evidence: Evidence) -> dict[str, Check]:
    """Return the check; none if the champion isn't scored, or has the same data."""
    champion = evidence.champion
    if champion is None or champion.data_hash is None or evidence.champion_comparison.predictions is None:
        return {}
    return {} if champion.has_same_data() or not evidence.lock.gate.champion else {NAME: check_champion_labels}


def check_champion_labels(evidence: Evidence) -> CheckResult:
    """Check that the candidate is no worse on the champion's labels, and no better on the changed ones alone."""
    allowed = "no worse by the champion's labels, and no better by changed labels alone"
    try:
        labels = _match_labels(evidence)
    except MeritError as error:
        advice = "'dvc push' it where it was made, or compare with the champion of another commit by --against REF"
        return CheckResult("", Verdict.INCONCLUSIVE, str(error), allowed, advice)
    changed = int((labels.candidate != labels.champion).sum())
    text = f"{changed:,} of {len(labels.rows):,} test rows that the champion's data has changed their label"
    if not changed:
        return CheckResult("", Verdict.PASS, text, allowed)
    gains = {
        "here": _measure_gains(evidence, labels.rows, labels.candidate),
        "by the champion's labels": _measure_gains(evidence, labels.rows, labels.champion),
    }
    verdict = _judge_gains(evidence, *gains.values())
    lines = [f"{name} {', '.join(f'{m} {gain:+.4f}' for m, gain in each.items())}" for name, each in gains.items()]
    return CheckResult("", verdict, f"{text}; better than the champion {'; '.join(lines)}", allowed, ADVICE)


def _match_labels(evidence: Evidence) -> LabelPair:
    """Match the test rows with the champion's data.

    Raises:
        MeritError: the champion's data can't be fetched or read, or has another target.
    """
    assert evidence.champion is not None
    data, target = evidence.champion.read_data_section(), evidence.lock.data.target.name
    with evidence.champion.fetch_data() as path:
        champion = Dataset.scan(path, data, "its data")
        if identify_target(data) != identify_target(evidence.lock.data):
            raise MeritError("the champion's target is another")
        rows = evidence.rows
        matches = match_rows(Dataset(rows.lazy(), rows.schema, rows.height, evidence.lock.data, "test rows"), champion)
        champion_labels = champion.collect(target).to_series().to_numpy()[matches.champion_rows].copy()
    candidate_labels = evidence.target[matches.candidate_rows]
    # Equal labels may have lost precision: take the candidate's, so that nothing but a change counts.
    return LabelPair(
        matches.candidate_rows, candidate_labels, np.where(matches.relabelled, champion_labels, candidate_labels)
    )


def _measure_gains(evidence: Evidence, rows: NDArray[np.int64], target: NDArray[Any]) -> dict[str, float]:
    """Return by how much the candidate is better than the champion in each metric of gate.champion, by some labels."""
    champion = evidence.champion_comparison.predictions
    assert champion is not None
    task, own = evidence.lock.data.target.task, evidence.own_metrics
    names = dict.fromkeys(rule.metric for rule in evidence.lock.gate.champion)
    scores = [
        prepare_metrics(task, target, predictions[rows], own).compute_point()
        for predictions in (evidence.candidate, champion)
    ]
    return {
        name: (scores[0][name] - scores[1][name]) * (1 if evidence.is_higher_better(name) else -1) for name in names
    }


def _judge_gains(evidence: Evidence, by_candidate: Mapping[str, float], by_champion: Mapping[str, float]) -> Verdict:
    """Return the worst verdict of the rules; a gain that is not a number is undecided."""
    rules = evidence.lock.gate.champion
    if any(by_champion[rule.metric] < -rule.margin for rule in rules):
        return Verdict.FAIL
    same = all(by_candidate[rule.metric] - max(by_champion[rule.metric], 0) <= rule.margin for rule in rules)
    return Verdict.PASS if same else Verdict.INCONCLUSIVE


FAMILY = CheckFamily(135, build_checks, list_conditional_names=lambda _: [NAME])
