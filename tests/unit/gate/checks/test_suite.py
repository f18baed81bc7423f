import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import nan
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from merit.config import extensions
from merit.config.schema import Lock
from merit.config.tasks import METRICS
from merit.features.transform import NumberScale, Preprocessing, Vocabulary
from merit.gate.checks import model as model_checks
from merit.gate.checks import registry, suite
from merit.gate.checks.protocol import CheckFamily, DataFamily
from merit.gate.evidence import ChampionComparison, Evidence
from merit.gate.predictions import are_equal_bits
from merit.gate.verdict import Check, Verdict
from merit.metrics import Estimate
from merit.scoring.package import Package
from tests.unit.gate.conftest import ROWS, rival, transform_of, with_other_graph


def _check(evidence: Evidence, name: str) -> Check:
    (found,) = [check for check in suite.run_checks(evidence) if check.name == name]
    return found


def _with_lock(evidence: Evidence, make_lock: Callable[..., Lock], **gate: Any) -> Evidence:
    return replace(evidence, lock=make_lock(lambda values: values["gate"].update(gate)))


def test_a_good_candidate_passes_every_check_and_each_phase_is_shown(
    evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(suite, "show_phase", shown.append)
    found = suite.run_checks(evidence)
    assert [" ".join(phase.split()[1:3]) for phase in shown] == [
        "measuring prediction", "comparing with", "searching slices", "checking robustness", "waiting for",
    ]  # fmt: skip
    assert [check.name for check in found] == [
        "floor: roc_auc",
        "floor: log_loss",
        "baseline: roc_auc",
        "champion",
        "calibration",
        "parity",
        "size",
        "test rows",
        "rules",
        "outputs",
    ]
    nothing_to_compare = {"champion", "rules", "outputs"}
    assert {check.name for check in found if check.verdict is Verdict.NOT_APPLICABLE} == nothing_to_compare
    assert {check.verdict for check in found if check.name not in nothing_to_compare} == {Verdict.PASS}


@pytest.mark.parametrize(
    ("estimated", "verdict"),
    [
        (Estimate(0.7, 0.6, 0.8), Verdict.PASS),
        (Estimate(0.65, 0.59, 0.7), Verdict.INCONCLUSIVE),
        (Estimate(0.5, 0.4, 0.59), Verdict.FAIL),
        (Estimate(nan, nan, nan), Verdict.INCONCLUSIVE),
    ],
)
def test_a_floor_of_a_score_is_a_least_value(evidence: Evidence, estimated: Estimate, verdict: Verdict) -> None:
    found = _check(replace(evidence, metrics={**evidence.metrics, "roc_auc": estimated}), "floor: roc_auc")
    assert found.verdict is verdict
    assert found.allowed == "at least 0.6"


@pytest.mark.parametrize(
    ("estimated", "verdict"),
    [
        (Estimate(0.6, 0.5, 0.7), Verdict.PASS),
        (Estimate(0.65, 0.6, 0.71), Verdict.INCONCLUSIVE),
        (Estimate(0.8, 0.71, 0.9), Verdict.FAIL),
        (Estimate(nan, nan, nan), Verdict.INCONCLUSIVE),
    ],
)
def test_a_floor_of_a_loss_is_a_greatest_value(evidence: Evidence, estimated: Estimate, verdict: Verdict) -> None:
    found = _check(replace(evidence, metrics={**evidence.metrics, "log_loss": estimated}), "floor: log_loss")
    assert found.verdict is verdict
    assert found.allowed == "at most 0.7"


def test_a_baseline_that_is_better_by_more_than_the_margin_fails(evidence: Evidence) -> None:
    found = _check(replace(evidence, baseline=evidence.target * 0.8 + 0.1), "baseline: roc_auc")
    assert found.verdict is Verdict.FAIL
    assert found.allowed == "at least -0.01"
    assert found.found.startswith("-0.")
    assert "gradient boosting does better" in found.advice


def test_a_baseline_as_good_as_the_candidate_passes(evidence: Evidence) -> None:
    assert _check(replace(evidence, baseline=evidence.candidate), "baseline: roc_auc").verdict is Verdict.PASS


def test_a_baseline_that_can_not_be_told_from_the_candidate_is_inconclusive(
    evidence: Evidence, make_lock: Callable[..., Lock]
) -> None:
    noise = np.random.default_rng(3).normal(0, 0.05, ROWS)
    close = replace(evidence, baseline=np.clip(evidence.candidate + noise, 0, 1))
    strict = _with_lock(close, make_lock, baseline={"metric": "calibration_error", "margin": 0.001})
    found = _check(strict, "baseline: calibration_error")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "can't be told from noise: allow a wider margin" in found.advice


@pytest.mark.parametrize(("confidence", "bound"), [(0.2, 0.75), (0.5, 0.75), (0.95, 0.95)])
def test_a_comparison_says_how_surely_twice_the_margin_would_be_refused_at_any_confidence(
    evidence: Evidence, make_lock: Callable[..., Lock], confidence: float, bound: float
) -> None:
    judged = _with_lock(evidence, make_lock, confidence=confidence, baseline={"metric": "log_loss", "margin": 0.02})
    difference = judged.compare_seeds([judged.baseline], ["log_loss"])["log_loss"]
    deviation = (difference.high - difference.value) / NormalDist().inv_cdf(bound)
    expected = f"a model worse by 0.04 would be refused with {NormalDist().cdf(0.02 / deviation):.0%}"
    assert expected in _check(judged, "baseline: log_loss").found


def test_with_one_class_nothing_can_be_compared_and_nothing_passes(evidence: Evidence) -> None:
    found = _check(replace(evidence, target=np.zeros(ROWS)), "baseline: roc_auc")
    assert found.verdict is Verdict.INCONCLUSIVE


def test_without_a_champion_there_is_nothing_to_compare_with(evidence: Evidence, git_repo: Callable[..., str]) -> None:
    git_repo("commit", "--quiet", "--allow-empty", "--message", "x")
    found = _check(evidence, "champion")
    assert (found.verdict, found.found) == (Verdict.NOT_APPLICABLE, "no champion yet")


def test_without_a_main_to_ask_the_report_says_so(evidence: Evidence, workdir: Path, git_repo: None) -> None:
    asked = "no champion yet: this repository has neither a main branch nor a remote, so this commit stands in for main"
    assert _check(evidence, "champion").found == asked
    shutil.rmtree(".git")
    assert _check(evidence, "champion").found == "no champion yet: this is no Git repository"


def test_a_champion_that_is_this_commits_own_for_want_of_a_main_is_told_as_such(
    evidence: Evidence, workdir: Path, git_repo: None
) -> None:
    found = _check(replace(evidence, champion=rival(evidence.package)), "champion")
    asked = "this repository has neither a main branch nor a remote, so this commit stands in for main"
    assert found.found.endswith(f"bit for bit; {asked}")


def test_the_champion_itself_passes_by_its_graph_and_its_answers(evidence: Evidence) -> None:
    found = _check(replace(evidence, champion=rival(evidence.package)), "champion")
    text = "the model of aaaaaaa: its graph and its answers, bit for bit"
    assert (found.verdict, found.found) == (Verdict.PASS, text)


def test_other_answers_by_one_bit_are_another_model_even_with_the_champions_graph(evidence: Evidence) -> None:
    answers = evidence.candidate.copy()
    answers[0] = np.nextafter(answers[0], np.float32(1))
    compared = replace(evidence, candidate=answers, champion=rival(evidence.package)).champion_comparison
    assert (compared.has_same_graph, compared.has_same_answers, compared.is_same_model) == (True, False, False)
    assert compared.predictions is not None


def test_the_same_answers_by_another_graph_are_another_model_that_is_no_worse(evidence: Evidence) -> None:
    judged = replace(evidence, champion=rival(with_other_graph(evidence.package)))
    compared = judged.champion_comparison
    assert (compared.has_same_graph, compared.has_same_answers, compared.is_same_model) == (False, True, False)
    assert _check(judged, "champion: roc_auc").found.startswith("+0.0000 [+0.0000, +0.0000]")


def test_answers_that_are_no_numbers_are_compared_by_their_bits(evidence: Evidence) -> None:
    nothing = np.full_like(evidence.candidate, np.nan)
    assert are_equal_bits(nothing, nothing.copy())
    assert not are_equal_bits(nothing, nothing.astype(np.float64))
    assert not are_equal_bits(nothing[:4], nothing[:4].reshape(2, 2))


def test_a_champion_that_can_not_be_fetched_is_inconclusive(evidence: Evidence) -> None:
    found = _check(replace(evidence, champion=rival()), "champion")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.found == "aaaaaaa can't be scored: its package is neither in DVC's cache nor in a remote (gone)"
    assert "dvc push" in found.advice
    assert "--against REF" in found.advice


def test_a_champion_of_other_columns_is_inconclusive(
    evidence: Evidence, load: Callable[[Preprocessing], Package]
) -> None:
    other = load(Preprocessing([], [NumberScale("speed", 0.0, 1.0, 1.0, has_missing_flag=False)]))
    found = _check(replace(evidence, champion=rival(other)), "champion")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "the rows lack the columns speed, which the model takes" in found.found


@pytest.mark.parametrize(
    "transform",
    [
        Preprocessing([], [NumberScale("shop", 0.0, 1.0, 1.0, has_missing_flag=False)]),
        Preprocessing([Vocabulary("size", "string", ["a"])], []),
    ],
    ids=["a string where it takes numbers", "numbers where it takes strings"],
)
def test_a_champion_of_columns_of_other_types_is_inconclusive(
    evidence: Evidence, load: Callable[[Preprocessing], Package], transform: Preprocessing
) -> None:
    found = _check(replace(evidence, champion=rival(load(transform))), "champion")
    assert found.verdict is Verdict.INCONCLUSIVE


def test_a_champion_of_another_task_or_of_other_classes_is_inconclusive(
    evidence: Evidence, load: Callable[[Preprocessing], Package]
) -> None:
    for output in ({"task": "regression"}, {"task": "binary", "classes": ["a", "b"]}):
        other = load(transform_of())
        other.signature["outputs"] = [{"name": "prediction", **output}]
        found = _check(replace(evidence, champion=rival(other)), "champion")
        assert found.verdict is Verdict.INCONCLUSIVE
        assert "it predicts something else" in found.found
        assert "waive this check in gate.waivers" in found.advice


def test_a_champion_of_another_target_is_inconclusive(
    evidence: Evidence, load: Callable[[Preprocessing], Package]
) -> None:
    ours, other = load(transform_of()), load(transform_of())
    ours.signature["outputs"][0]["description"] = "probability that delay >=  15"
    other.signature["outputs"][0]["description"] = "probability that delay >= 30"
    judged = replace(evidence, package=ours, champion=rival(other))
    assert "something else (probability that delay >= 30)" in _check(judged, "champion").found
    other.signature["outputs"][0]["description"] = "probability that delay >= 15"
    assert _check(replace(judged), "champion: roc_auc").verdict


def test_a_rule_may_name_a_metric_that_the_champion_never_knew(
    evidence: Evidence, load: Callable[[Preprocessing], Package], make_lock: Callable[..., Lock]
) -> None:
    class Recall:
        higher_is_better = True

        def __call__(self, target: Any, prediction: Any, weights: Any) -> float:
            return float((weights * target)[prediction > 0.5].sum() / (weights * target).sum())

    def edit(values: dict[str, Any]) -> None:
        values["evaluate"]["metrics"] = {"recall": {"_target_": "mymodels.metrics.Recall"}}
        values["gate"]["champion"] = [{"metric": "recall", "margin": 0.0}]

    own = replace(evidence, own_metrics={"recall": Recall()}, lock=make_lock(edit))
    found = _check(replace(own, champion=rival(with_other_graph(own.package))), "champion: recall")
    assert found.verdict is Verdict.PASS
    assert found.found.startswith("+0.0000 [+0.0000, +0.0000]")
    assert "how much a seed alone moves it is not known (evaluate.seeds)" in found.found


def test_the_recipes_are_compared_by_the_means_of_their_seeds_and_the_packaged_seed_as_well(
    evidence: Evidence, load: Callable[[Preprocessing], Package], make_lock: Callable[..., Lock]
) -> None:
    wrong = 1 - evidence.candidate
    judged = _with_lock(evidence, make_lock, champion=[{"metric": "roc_auc", "margin": 0.02}])
    champion = rival(with_other_graph(evidence.package))
    even = replace(judged, champion=champion, seeds=[evidence.candidate, evidence.candidate])
    assert _check(even, "champion: roc_auc").found.endswith("means of 3 and 1 seeds, the packaged one +0.0000")
    lucky = _check(replace(even, seeds=[wrong, wrong]), "champion: roc_auc")
    assert lucky.verdict is not Verdict.PASS
    assert lucky.found.startswith("-0.")


@pytest.mark.parametrize(
    ("packaged", "expected"), [(-0.02, Verdict.PASS), (-0.0201, Verdict.FAIL), (0.3, Verdict.PASS)]
)
def test_a_packaged_seed_that_is_worse_than_the_champions_mean_by_more_than_the_margin_fails(
    evidence: Evidence, make_lock: Callable[..., Lock], packaged: float, expected: Verdict
) -> None:
    judged = _with_lock(evidence, make_lock, champion=[{"metric": "roc_auc", "margin": 0.02}])
    judged = replace(judged, champion=rival(), seeds=[evidence.candidate])
    difference = {"roc_auc": Estimate(0.0, -0.01, 0.01)}
    judged.__dict__["champion_comparison"] = ChampionComparison(
        evidence.candidate, difference=difference, packaged={"roc_auc": packaged}
    )
    found = _check(judged, "champion: roc_auc")
    assert found.verdict is expected
    assert ("the packaged seed is: train with another seed" in found.advice) is (expected is Verdict.FAIL)
    assert found.found.endswith(f"means of 2 and 1 seeds, the packaged one {packaged:+.4f}")


def test_without_floors_there_are_no_floors_to_judge(evidence: Evidence, make_lock: Callable[..., Lock]) -> None:
    found = suite.run_checks(_with_lock(evidence, make_lock, floors={}))
    assert not [check for check in found if check.name.startswith("floor")]


def test_the_comparison_with_the_champion_has_every_metric(
    evidence: Evidence, load: Callable[[Preprocessing], Package]
) -> None:
    rivalry = replace(evidence, champion=rival(load(transform_of(0.5, 0.5)))).champion_comparison
    assert list(rivalry.metrics) == list(rivalry.difference) == list(METRICS["binary"])
    same = replace(evidence, champion=rival(evidence.package)).champion_comparison
    assert same.is_same_model
    assert same.metrics == evidence.metrics
    assert set(same.difference.values()) == {Estimate(0.0, 0.0, 0.0)}
    assert (evidence.champion_comparison.metrics, evidence.champion_comparison.difference) == ({}, {})


def test_an_interval_across_its_limit_tells_the_rows_that_would_settle_it(evidence: Evidence) -> None:
    estimated = Estimate(0.65, 0.55, 0.75)
    found = _check(replace(evidence, metrics={**evidence.metrics, "roc_auc": estimated}), "floor: roc_auc")
    assert found.rows_needed == 4 * ROWS
    assert found.advice.endswith("about 2,400 test rows would settle it")


def test_a_value_at_its_limit_is_told_as_the_same_and_not_as_a_call_for_rows(evidence: Evidence) -> None:
    estimated = Estimate(0.6001, 0.55, 0.65)
    found = _check(replace(evidence, metrics={**evidence.metrics, "roc_auc": estimated}), "floor: roc_auc")
    assert found.rows_needed is None
    assert found.advice == (
        "the value and its limit are the same for practical purposes (10 times the test rows would not settle it): "
        "improve the model"
    )


def test_a_champion_that_is_worse_lets_the_candidate_pass(
    evidence: Evidence, load: Callable[[Preprocessing], Package]
) -> None:
    found = _check(replace(evidence, champion=rival(load(transform_of(0.01, -2.0)))), "champion: roc_auc")
    assert found.verdict is Verdict.PASS
    assert found.found.startswith("+0.")


def test_a_champion_that_is_better_makes_the_candidate_fail(
    evidence: Evidence, load: Callable[[Preprocessing], Package]
) -> None:
    champion = rival(load(transform_of(2.0, 2.0)))
    worse = replace(evidence, champion=champion, candidate=1 - evidence.candidate)
    found = _check(worse, "champion: roc_auc")
    assert found.verdict is Verdict.FAIL
    assert found.found.startswith("-0.")
    assert "the champion is better on the same rows" in found.advice


@pytest.mark.parametrize("margins", [(0.0, 0.99), (0.99, 0.0)])
def test_of_several_margins_of_a_metric_the_smallest_decides(
    margins: tuple[float, float],
    evidence: Evidence,
    load: Callable[[Preprocessing], Package],
    make_lock: Callable[..., Lock],
) -> None:
    rules = [{"metric": "roc_auc", "margin": margin} for margin in margins]
    judged = replace(_with_lock(evidence, make_lock, champion=rules), candidate=1 - evidence.candidate)
    found = _check(replace(judged, champion=rival(load(transform_of(2.0, 2.0)))), "champion: roc_auc")
    assert found.verdict is Verdict.FAIL


def test_a_champion_with_the_same_answers_passes_without_any_margin(
    evidence: Evidence, make_lock: Callable[..., Lock]
) -> None:
    rules = [{"metric": name, "margin": 0.0} for name in ("roc_auc", "log_loss", "brier")]
    other = with_other_graph(evidence.package)
    same = replace(_with_lock(evidence, make_lock, champion=rules), champion=rival(other))
    found = [check for check in suite.run_checks(same) if check.name.startswith("champion")]
    assert [check.name for check in found] == ["champion: roc_auc", "champion: log_loss", "champion: brier"]
    assert {check.verdict for check in found} == {Verdict.PASS}


@pytest.mark.parametrize(
    ("estimated", "verdict"),
    [
        (Estimate(0.3, 0.2, 0.5), Verdict.PASS),
        (Estimate(0.45, 0.4, 0.51), Verdict.INCONCLUSIVE),
        (Estimate(0.6, 0.51, 0.7), Verdict.FAIL),
        (Estimate(nan, nan, nan), Verdict.INCONCLUSIVE),
    ],
)
def test_the_calibration_error_has_a_greatest_value(evidence: Evidence, estimated: Estimate, verdict: Verdict) -> None:
    found = _check(replace(evidence, metrics={**evidence.metrics, "calibration_error": estimated}), "calibration")
    assert (found.verdict, found.allowed) == (verdict, "at most 0.5")


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [(0.0, Verdict.PASS), (1e-5, Verdict.PASS), (1.1e-5, Verdict.FAIL), (nan, Verdict.FAIL)],
)
def test_parity_has_a_greatest_difference(evidence: Evidence, difference: float, verdict: Verdict) -> None:
    candidate = np.zeros(ROWS)
    network = np.zeros(ROWS)
    network[7] = difference
    assert _check(replace(evidence, candidate=candidate, network=network), "parity").verdict is verdict


def test_parity_is_measured_and_not_taken_from_the_manifest(evidence: Evidence) -> None:
    assert evidence.manifest["parity"]["greatest_difference"] == 0.0
    assert _check(replace(evidence, network=1 - evidence.candidate), "parity").verdict is Verdict.FAIL


def test_every_check_that_can_fail_says_what_to_do(evidence: Evidence) -> None:
    for check in suite.run_checks(replace(evidence, champion=rival())):
        assert check.advice


LATE = """
from merit.gate.checks.protocol import CheckFamily
from merit.gate.verdict import Check, Verdict

NAME = "late"


def count_rows(evidence):
    return Check("", Verdict.PASS, str(evidence.rows.height), "any")


FAMILY = CheckFamily({position}, lambda _: {{"rows": count_rows}})
"""


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Put one file more beside those of the package, for this test."""
    shutil.copytree(extensions.LIBRARY / "gate" / "checks", tmp_path / "gate" / "checks")
    caches = (extensions.read_constants, registry.list_families)
    monkeypatch.setattr(extensions, "LIBRARY", tmp_path)
    monkeypatch.setattr(model_checks, "__path__", [*model_checks.__path__, str(tmp_path / "gate/checks/model")])

    def add(name: str, position: int) -> None:
        file = tmp_path / "gate/checks/model" / f"{name}.py"
        file.write_text(LATE.format(position=position), encoding="utf-8")
        for each in caches:
            each.cache_clear()

    yield add
    for each in caches:
        each.cache_clear()


def test_a_check_is_one_file_that_stands_where_its_position_says(
    evidence: Evidence, added: Callable[..., None]
) -> None:
    added("late_check", 195)
    results = suite.run_checks(evidence)
    assert [each.name for each in results][-5:] == ["size", "rows", "test rows", "rules", "outputs"]
    assert results[-4].found == str(ROWS)


@pytest.mark.parametrize("kind", [CheckFamily, DataFamily])
def test_no_two_families_of_checks_share_a_position(kind: Any) -> None:
    positions = [family.position for family in registry.list_families(kind)]
    assert len(positions) > 2
    assert positions == sorted(set(positions))
