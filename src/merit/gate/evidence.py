"""Collects the input of the checks: predictions of candidate, champion and baseline on the same raw test rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from merit.config.schema import Lock
from merit.config.tasks import HIGHER_IS_BETTER, METRICS
from merit.errors import MeritError
from merit.gate.champion import Champion
from merit.gate.checks.model.source import SourceRows
from merit.metrics import Estimate, Metric, Scored, compare, estimate, scored
from merit.scoring.package import Package, columns_of

if TYPE_CHECKING:
    from merit.gate.checks.model.slices import Slice


@dataclass(frozen=True)
class Rivalry:
    """The result of comparing the candidate with the champion.

    Attributes:
        predictions: the champion's predictions; None if there is no champion or it can't be compared.
        problem: why the champion can't be compared; empty if it can, or if no comparison is needed.
        metrics: the champion's metrics by name.
        difference: candidate minus champion by metric, paired over the same resamples of the same rows.
    """

    predictions: NDArray[Any] | None = None
    problem: str = ""
    metrics: dict[str, Estimate] = field(default_factory=dict)
    difference: dict[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """The input of the checks. The candidate's predictions come from its package, computed from raw rows.

    Attributes:
        lock: the parsed params.yaml.
        contract: the report of the `validate` stage.
        rows: the raw test rows.
        target: 0 or 1, the index of the class, or the number, [rows].
        candidate: the package's predictions, in the shape that `merit.metrics.scored` takes.
        network: the PyTorch network's predictions, as `evaluate` wrote them.
        baseline: the baseline's predictions.
        deviation: the standard deviation of the target on these rows, the unit of parity for a regression.
        own: the project's own metrics by name.
        metrics: the candidate's metrics with intervals.
        package: the candidate's package.
        bytes: the size of the package.
        champion: the model of the target branch; None if there is none.
        source: the test rows as they are in the source; None to check only the rows that `ingest` has read.
    """

    lock: Lock
    contract: dict[str, Any]
    rows: pl.DataFrame
    target: NDArray[Any]
    candidate: NDArray[Any]
    network: NDArray[Any]
    baseline: NDArray[Any]
    deviation: float
    own: Mapping[str, Metric]
    metrics: dict[str, Estimate]
    package: Package
    bytes: int
    champion: Champion | None
    source: SourceRows | None = None

    @property
    def manifest(self) -> dict[str, Any]:
        """The package's manifest."""
        return self.package.manifest

    @property
    def unit(self) -> float:
        """The unit of differences between predictions: 1 for probabilities, the target's deviation for a regression."""
        return self.deviation if self.lock.data.target.task == "regression" else 1.0

    @cached_property
    def columns(self) -> dict[str, NDArray[Any]]:
        """The columns of the test rows that the package takes as input."""
        return columns_of(self.rows, self.package.graph.inputs)

    @cached_property
    def rivalry(self) -> Rivalry:
        """The comparison with the champion; the first access fetches and scores the champion's package."""
        if self.champion is None:
            return Rivalry()
        if self.champion.is_candidate():
            same = {name: Estimate(0.0, 0.0, 0.0) for name in METRICS[self.lock.data.target.task]}
            return Rivalry(metrics=self.metrics, difference=same)
        try:
            with self.champion.fetched() as package:
                predictions = self._answers_of(package)
        except MeritError as error:
            return Rivalry(problem=str(error))
        how, measured = self.lock.gate, self.scored(predictions)
        rules = [rule.metric for rule in how.champion]
        names = [name for name in measured.names if name not in self.own or name in rules]
        metrics = estimate(measured, count=self.lock.evaluate.resamples, confidence=how.confidence, seed=self.lock.seed)
        return Rivalry(predictions, "", metrics, self.difference(predictions, names))

    @cached_property
    def slices(self) -> "list[Slice]":
        """The slices of the test rows, each compared with the champion."""
        from merit.gate.checks.model import slices

        return slices.judged(self)

    def _answers_of(self, champion: Package) -> NDArray[np.float32]:
        """Return the champion's predictions.

        Raises:
            MeritError: the champion predicts another target, or needs columns that these rows don't have.
        """
        ours, theirs = self.package.output, champion.output
        if any(ours.get(name) != theirs.get(name) for name in ("task", "classes")):
            raise MeritError(
                f"it predicts something else ({theirs.get('task')}, {theirs.get('classes', 'no classes')})"
            )
        meant, told = (" ".join(str(each.get("description")).split()) for each in (ours, theirs))
        if meant != told:
            raise MeritError(f"it predicts something else ({told})")
        return champion.predict(columns_of(self.rows, champion.graph.inputs))

    def is_better_higher(self, metric: str) -> bool:
        """Return whether a higher value of the metric is better."""
        return bool(self.own[metric].higher_is_better) if metric in self.own else HIGHER_IS_BETTER[metric]

    def scored(self, predictions: NDArray[Any]) -> Scored:
        """Return predictions of the test rows together with the true target."""
        return scored(self.lock.data.target.task, self.target, predictions, self.own)

    def difference(
        self, rival: NDArray[Any], names: list[str], candidate: NDArray[Any] | None = None, count: int | None = None
    ) -> dict[str, Estimate]:
        """Return the candidate's metrics minus a rival's, paired on the same resamples.

        Args:
            rival: the rival's predictions of the test rows.
            names: the names of the metrics.
            candidate: the predictions to compare; None for the candidate's own.
            count: the number of resamples; None for gate.resamples.
        """
        how = self.lock.gate
        ours = self.scored(self.candidate if candidate is None else candidate)
        return compare(
            ours,
            self.scored(rival),
            names,
            count=count or how.resamples,
            confidence=how.confidence,
            seed=self.lock.seed,
        )
