"""Collects the input of the checks: predictions of candidate, champion and baseline on the same raw test rows."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from merit.config.schema import Lock
from merit.config.tasks import HIGHER_IS_BETTER, METRICS
from merit.errors import MeritError
from merit.gate.champion import Champion
from merit.gate.checks.model.source_rows import SourceRows
from merit.gate.slice_comparison import Slice, SliceComparison, judge_slices
from merit.gate.unnamed_slices import ScoredRows, UnnamedSlices, search_slices
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
from merit.scoring.package import OnnxGraph, Package, extract_columns


@dataclass(frozen=True)
class ChampionComparison:
    """The result of comparing the candidate with the champion.

    Attributes:
        predictions: the champion's predictions; None if there is no champion or it can't be compared.
        seeds: the predictions of the champion's recipe with other seeds.
        problem: why the champion can't be compared; empty if it can, or if no comparison is needed.
        metrics: the champion's metrics by name.
        difference: candidate minus champion by metric, means over the seeds of each, paired over the same resamples of
            the same rows; each bound holds with the gate's confidence.
        packaged: the packaged candidate alone minus the champion's mean over its seeds, by metric.
    """

    predictions: NDArray[Any] | None = None
    seeds: Sequence[NDArray[Any]] = ()
    problem: str = ""
    metrics: dict[str, Estimate] = field(default_factory=dict)
    difference: dict[str, Estimate] = field(default_factory=dict)
    packaged: dict[str, float] = field(default_factory=dict)


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
        if self.champion.is_candidate():
            no_difference = {name: Estimate(0.0, 0.0, 0.0) for name in METRICS[self.lock.data.target.task]}
            return ChampionComparison(metrics=self.metrics, difference=no_difference)
        try:
            with self.champion.fetch_package() as package:
                predictions = self._predict_champion(package)
            with self.champion.fetch_seeds() as graphs:
                seeds = predict_seeds(graphs, self.rows)
        except MeritError as error:
            return ChampionComparison(problem=str(error))
        gate, champion_scored = self.lock.gate, self.pair_with_target(predictions)
        rules = [rule.metric for rule in gate.champion]
        names = [name for name in champion_scored.metric_names if name not in self.own_metrics or name in rules]
        metrics = estimate_intervals(champion_scored, self.build_resampling(self.lock.evaluate.resamples))
        rivals = [predictions, *seeds]
        difference = self.compare_seeds(rivals, names)
        packaged = self._compare_packaged(rivals, names)
        return ChampionComparison(predictions, seeds, "", metrics, difference, packaged)

    def _compare_packaged(self, rivals: Sequence[NDArray[Any]], names: Sequence[str]) -> dict[str, float]:
        candidate = self.pair_with_target(self.candidate).compute_point()
        points = [self.pair_with_target(each).compute_point() for each in rivals]
        return {name: candidate[name] - float(np.mean([point[name] for point in points])) for name in names}

    @cached_property
    def slices(self) -> list[Slice]:
        """The slices of the test rows, each compared with the champion.

        Without a champion to compare with, or without `gate.slices`, the list is empty.
        """
        rule, champion = self.lock.gate.slices, self.champion_comparison.predictions
        if rule is None or champion is None:
            return []
        return judge_slices(
            SliceComparison(
                self.lock,
                rule,
                self.is_higher_better(rule.metric),
                self.rows,
                self.target,
                self.candidate,
                champion,
                self.own_metrics,
                self.blocks,
            )
        )

    @cached_property
    def unnamed_slices(self) -> UnnamedSlices | None:
        """The worst slices that `evaluate.slices` doesn't name; None if `gate.unnamed_slices` is null."""
        champion = self.champion_comparison.predictions
        scored = ScoredRows(self.rows, self.target, self.candidate, champion, self.deviation, self.blocks)
        return search_slices(self.lock, [each["name"] for each in self.package.inputs], scored)

    def _predict_champion(self, champion: Package) -> NDArray[np.float32]:
        """Return the champion's predictions.

        Raises:
            MeritError: the champion predicts another target, or needs columns that these rows don't have.
        """
        candidate_output, champion_output = self.package.output, champion.output
        if any(candidate_output.get(name) != champion_output.get(name) for name in ("task", "classes")):
            raise MeritError(
                f"it predicts something else ({champion_output.get('task')}, "
                f"{champion_output.get('classes', 'no classes')})"
            )
        candidate_description, champion_description = (
            " ".join(str(output.get("description")).split()) for output in (candidate_output, champion_output)
        )
        if candidate_description != champion_description:
            raise MeritError(f"it predicts something else ({champion_description})")
        return champion.predict(extract_columns(self.rows, champion.graph.inputs))

    def is_higher_better(self, metric: str) -> bool:
        """Return whether a higher value of the metric is better."""
        return (
            bool(self.own_metrics[metric].higher_is_better) if metric in self.own_metrics else HIGHER_IS_BETTER[metric]
        )

    def pair_with_target(self, predictions: NDArray[Any]) -> TaskMetrics:
        """Return predictions of the test rows together with the true target."""
        return prepare_metrics(self.lock.data.target.task, self.target, predictions, self.own_metrics)

    def compare_seeds(self, rivals: Sequence[NDArray[Any]], names: Sequence[str]) -> dict[str, Estimate]:
        """Return the mean of the candidate's metrics over its seeds minus a rival's, paired on the same resamples.

        Args:
            rivals: the predictions of the rival with each of its seeds.
            names: the names of the metrics.
        """
        candidates, others = (
            [self.pair_with_target(each) for each in side] for side in ([self.candidate, *self.seeds], rivals)
        )
        resampling = self.build_resampling(self.lock.gate.resamples, self._bound_confidence)
        return compare_models(candidates, others, names, resampling)

    def compare_perturbed(self, predictions: NDArray[Any], name: str) -> Estimate:
        """Return a metric of the candidate on perturbed rows minus the one on the rows as they are.

        Args:
            predictions: the candidate's predictions of the perturbed rows.
            name: the name of the metric.
        """
        perturbed, unperturbed = (self.pair_with_target(each) for each in (predictions, self.candidate))
        resampling = self.build_resampling(self.lock.evaluate.slice_resamples, self._bound_confidence)
        return compare_models([perturbed], [unperturbed], [name], resampling)[name]

    @property
    def _bound_confidence(self) -> float:
        """The confidence of an interval each of whose bounds holds with `gate.confidence`."""
        return max(2 * self.lock.gate.confidence - 1, 0.5)

    def build_resampling(self, count: int, confidence: float | None = None) -> Resampling:
        """Return how intervals on the test rows are estimated, with `gate.confidence` if no other is given."""
        return Resampling(count, confidence or self.lock.gate.confidence, self.lock.seed, self.blocks)


def predict_seeds(graphs: Sequence[Path], rows: pl.DataFrame) -> list[NDArray[np.float32]]:
    """Return the predictions of the rows by each of the graphs of a stage `seeds`.

    Raises:
        MeritError: a graph can't be loaded, or the rows lack a column that it takes.
    """

    def predict(path: Path) -> NDArray[np.float32]:
        graph = OnnxGraph(path)
        return np.asarray(graph.run(extract_columns(rows, graph.inputs))[0], dtype=np.float32)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # ONNX Runtime releases the interpreter's lock
        return list(pool.map(predict, graphs))
