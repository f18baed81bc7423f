"""Collects the input of the checks: predictions of candidate, champion and baseline on the same raw test rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from merit.config.schema import Lock
from merit.config.tasks import HIGHER_IS_BETTER, METRICS
from merit.errors import MeritError
from merit.gate.champion import Champion
from merit.gate.checks.model.source_rows import SourceRows
from merit.gate.predictions import are_equal_bits, hash_graph, predict_champion, predict_seeds
from merit.gate.slice_comparison import Slice, SliceComparison, judge_slices
from merit.gate.test_use import TestUse, count_candidates
from merit.gate.unnamed_slices import ScoredRows, UnnamedSlices, search_slices
from merit.gate.unseen_rows import UnseenRows, find_unseen_rows
from merit.gate.verdict import SampleSize
from merit.metrics import (
    Estimate,
    Metric,
    Resampling,
    TaskMetrics,
    blocks,
    compare_models,
    estimate_intervals,
    prepare_metrics,
)
from merit.scoring.package import Package, extract_columns


@dataclass(frozen=True)
class ChampionComparison:
    """The result of comparing the candidate with the champion.

    Attributes:
        predictions: the champion's predictions; None if there is no champion or it can't be compared.
        seeds: the predictions of the champion's recipe with other seeds.
        problem: why the champion can't be compared; empty if it can, or if no comparison is needed.
        advice: what to change about the problem, if it is not that the champion can't be scored.
        metrics: the champion's metrics by name, on the rows that it has not seen.
        difference: candidate minus champion by metric, means over the seeds of each, paired over the same resamples of
            these rows; each bound holds with the gate's confidence.
        packaged: the packaged candidate alone minus the champion's mean over its seeds, by metric.
        has_same_graph: whether the bytes of both packages' graphs are equal.
        has_same_answers: whether both predict the same for every test row, bit for bit.
    """

    predictions: NDArray[Any] | None = None
    seeds: Sequence[NDArray[Any]] = ()
    problem: str = ""
    advice: str = ""
    metrics: dict[str, Estimate] = field(default_factory=dict)
    difference: dict[str, Estimate] = field(default_factory=dict)
    packaged: dict[str, float] = field(default_factory=dict)
    has_same_graph: bool = False
    has_same_answers: bool = False

    @property
    def is_same_model(self) -> bool:
        """Whether the candidate is the champion: the same graph with the same answers."""
        return self.has_same_graph and self.has_same_answers


@dataclass(frozen=True)
class Evidence:
    """The input of the checks. The candidate's predictions come from its package, computed from raw rows.

    Attributes:
        lock: the parsed params.yaml.
        contract: the report of the `validate` stage.
        rows: the raw test rows.
        target: 0 or 1, the index of the class, or the number, [rows].
        candidate: the package's predictions, in the shape that `merit.metrics.prepare_metrics` takes.
        network: the PyTorch network's predictions, as `evaluate` wrote them.
        baseline: the baseline's predictions.
        deviation: the standard deviation of the target on these rows, the unit of parity for a regression.
        own_metrics: the project's own metrics by name.
        metrics: the candidate's metrics with intervals.
        package: the candidate's package.
        package_bytes: the size of the package.
        champion: the model of the target branch; None if there is none.
        seeds: the predictions of the candidate's recipe with other seeds, as the stage `seeds` trained it.
        source: the test rows as they are in the source; None to check only the rows that `ingest` has read.
        changes: keys, rules and locations of params.yaml that changed since the champion; None if there is no commit to
            compare with.
    """

    lock: Lock
    contract: dict[str, Any]
    rows: pl.DataFrame
    target: NDArray[Any]
    candidate: NDArray[Any]
    network: NDArray[Any]
    baseline: NDArray[Any]
    deviation: float
    own_metrics: Mapping[str, Metric]
    metrics: dict[str, Estimate]
    package: Package
    package_bytes: int
    champion: Champion | None
    seeds: Sequence[NDArray[Any]] = ()
    source: SourceRows | None = None
    changes: Mapping[str, Any] | None = None

    @property
    def manifest(self) -> dict[str, Any]:
        """The package's manifest."""
        return self.package.manifest

    @property
    def prediction_unit(self) -> float:
        """The unit of differences between predictions: 1 for probabilities, the target's deviation for a regression."""
        return self.deviation if self.lock.data.target.task == "regression" else 1.0

    @cached_property
    def columns(self) -> dict[str, NDArray[Any]]:
        """The columns of the test rows that the package takes as input."""
        return extract_columns(self.rows, self.package.graph.inputs)

    @cached_property
    def blocks(self) -> NDArray[np.intp] | None:
        """The block of each test row, [rows]; None if rows are independent."""
        return blocks.number_blocks(self.lock, self.rows)

    @cached_property
    def size(self) -> SampleSize:
        """The number of test rows, and of the blocks that they form."""
        units = self.build_resampling(1).count_units(self.rows.height)
        return SampleSize(self.rows.height, units, blocks.describe_blocks(self.lock))

    @cached_property
    def champion_comparison(self) -> ChampionComparison:
        """The comparison with the champion; the first access fetches and scores the champion's package."""
        if self.champion is None:
            return ChampionComparison()
        try:
            with self.champion.fetch_package() as package:
                predictions = predict_champion(package, self.package, self.rows)
                has_same_graph = hash_graph(package) == hash_graph(self.package)
        except MeritError as error:
            return ChampionComparison(problem=str(error))
        has_same_answers = are_equal_bits(predictions, self.candidate)
        if has_same_graph and has_same_answers:
            no_difference = {name: Estimate(0.0, 0.0, 0.0) for name in METRICS[self.lock.data.target.task]}
            return ChampionComparison(
                metrics=self.metrics, difference=no_difference, has_same_graph=True, has_same_answers=True
            )
        if self.unseen_rows.problem:
            return ChampionComparison(
                problem=self.unseen_rows.problem,
                advice=self.unseen_rows.advice,
                has_same_graph=has_same_graph,
                has_same_answers=has_same_answers,
            )
        try:
            with self.champion.fetch_seeds() as graphs:
                seeds = predict_seeds(graphs, self.rows)
        except MeritError as error:
            return ChampionComparison(problem=str(error))
        unseen = self.unseen_rows.mask
        champion_scored = self.pair_with_target(predictions, unseen)
        rules = [rule.metric for rule in self.lock.gate.champion]
        names = [name for name in champion_scored.metric_names if name not in self.own_metrics or name in rules]
        metrics = estimate_intervals(champion_scored, self.build_resampling(self.lock.evaluate.resamples, rows=unseen))
        rivals = [predictions, *seeds]
        difference = self.compare_seeds(rivals, names, unseen)
        packaged = self._compare_packaged(rivals, names)
        return ChampionComparison(
            predictions,
            seeds,
            metrics=metrics,
            difference=difference,
            packaged=packaged,
            has_same_graph=has_same_graph,
            has_same_answers=has_same_answers,
        )

    def _compare_packaged(self, rivals: Sequence[NDArray[Any]], names: Sequence[str]) -> dict[str, float]:
        unseen = self.unseen_rows.mask
        candidate = self.pair_with_target(self.candidate, unseen).compute_point()
        points = [self.pair_with_target(each, unseen).compute_point() for each in rivals]
        return {name: candidate[name] - float(np.mean([point[name] for point in points])) for name in names}

    @cached_property
    def unseen_rows(self) -> UnseenRows:
        """The test rows that the champion has seen neither in training nor in validation; all without a champion."""
        if self.champion is None:
            return UnseenRows(np.ones(self.rows.height, dtype=np.bool_))
        return find_unseen_rows(self.lock, self.champion, self.rows)

    @cached_property
    def unseen_size(self) -> SampleSize:
        """The number of test rows that the champion has not seen, and of the blocks that they form."""
        units = self.build_resampling(1, rows=self.unseen_rows.mask).count_units(self.unseen_rows.count)
        return SampleSize(self.unseen_rows.count, units, self.size.name)

    @cached_property
    def test_use(self) -> TestUse:
        """How many candidates were judged on these test rows; the first access asks MLflow and Git."""
        return count_candidates(self.lock, self.rows)

    @cached_property
    def slices(self) -> list[Slice]:
        """The slices of the test rows, each compared with the champion on the rows that it has not seen.

        Without a champion to compare with, or without `gate.slices`, the list is empty.
        """
        rule, champion = self.lock.gate.slices, self.champion_comparison.predictions
        if rule is None or champion is None:
            return []
        unseen = self.unseen_rows.mask
        return judge_slices(
            SliceComparison(
                self.lock,
                rule,
                self.is_higher_better(rule.metric),
                self.rows.filter(unseen),
                self.target[unseen],
                self.candidate[unseen],
                champion[unseen],
                self.own_metrics,
                self.build_resampling(1, rows=unseen).blocks,
            )
        )

    @cached_property
    def unnamed_slices(self) -> UnnamedSlices | None:
        """The worst slices that `evaluate.slices` doesn't name; None if `gate.unnamed_slices` is null.

        They are looked for among the rows that the champion has not seen, if it is compared.
        """
        champion = self.champion_comparison.predictions
        unseen = np.ones(self.rows.height, dtype=np.bool_) if champion is None else self.unseen_rows.mask
        scored = ScoredRows(
            self.rows.filter(unseen),
            self.target[unseen],
            self.candidate[unseen],
            None if champion is None else champion[unseen],
            self.deviation,
            self.build_resampling(1, rows=unseen).blocks,
        )
        return search_slices(self.lock, [each["name"] for each in self.package.inputs], scored)

    def is_higher_better(self, metric: str) -> bool:
        """Return whether a higher value of the metric is better."""
        return (
            bool(self.own_metrics[metric].higher_is_better) if metric in self.own_metrics else HIGHER_IS_BETTER[metric]
        )

    def pair_with_target(self, predictions: NDArray[Any], rows: NDArray[np.bool_] | None = None) -> TaskMetrics:
        """Return predictions of the test rows, or of the marked ones only, together with the true target."""
        selected = slice(None) if rows is None else rows
        return prepare_metrics(
            self.lock.data.target.task, self.target[selected], predictions[selected], self.own_metrics
        )

    def compare_seeds(
        self, rivals: Sequence[NDArray[Any]], names: Sequence[str], rows: NDArray[np.bool_] | None = None
    ) -> dict[str, Estimate]:
        """Return the mean of the candidate's metrics over its seeds minus a rival's, paired on the same resamples.

        Args:
            rivals: the predictions of the rival with each of its seeds.
            names: the names of the metrics.
            rows: which test rows to compare on, [rows]; None for all.
        """
        candidates, others = (
            [self.pair_with_target(each, rows) for each in side] for side in ([self.candidate, *self.seeds], rivals)
        )
        resampling = self.build_resampling(self.lock.gate.resamples, 2 * self.bound_confidence - 1, rows)
        return compare_models(candidates, others, names, resampling)

    def compare_perturbed(self, predictions: NDArray[Any], name: str) -> Estimate:
        """Return a metric of the candidate on perturbed rows minus the one on the rows as they are.

        Args:
            predictions: the candidate's predictions of the perturbed rows.
            name: the name of the metric.
        """
        perturbed, unperturbed = (self.pair_with_target(each) for each in (predictions, self.candidate))
        resampling = self.build_resampling(self.lock.evaluate.slice_resamples, 2 * self.bound_confidence - 1)
        return compare_models([perturbed], [unperturbed], [name], resampling)[name]

    @property
    def bound_confidence(self) -> float:
        """The confidence with which a bound of a difference holds: `gate.confidence`, but at least 0.75."""
        return max(self.lock.gate.confidence, 0.75)

    def build_resampling(
        self, count: int, confidence: float | None = None, rows: NDArray[np.bool_] | None = None
    ) -> Resampling:
        """Return how intervals on the test rows are estimated.

        Args:
            count: the number of resamples.
            confidence: the confidence of the interval; None for `gate.confidence`.
            rows: which test rows the intervals are of, [rows]; None for all.
        """
        resampling = Resampling(count, confidence or self.lock.gate.confidence, self.lock.seed, self.blocks)
        return resampling if rows is None else resampling.select_rows(rows)
