"""What the checks look at: the candidate's answers and its rivals', on the same raw test rows."""

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
    """What comparing with the champion came to.

    Attributes:
        predictions: the champion's; None if there is nothing to compare with, or no way to.
        problem: why it can't be compared with; empty if it can, or needn't be.
        metrics: the champion's.
        difference: candidate less champion, over the same resamples of the same rows.
    """

    predictions: NDArray[Any] | None = None
    problem: str = ""
    metrics: dict[str, Estimate] = field(default_factory=dict)
    difference: dict[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """What the checks look at. The candidate's scores are the package's own, made from raw rows.

    Attributes:
        rows: the raw test rows.
        target: 0 or 1, the place of the class, or the number, [rows].
        candidate: the package's predictions, as `merit.metrics.scored` takes them.
        network: those of the network in PyTorch, as `evaluate` wrote them.
        baseline: the baseline's.
        deviation: of the target on these rows, the unit of a regression's parity.
        own: metrics of the project's own.
        metrics: the candidate's metrics with intervals.
        package: the candidate.
        bytes: the size of the package.
        source: the test rows as the source has them; None where only what ingest has read is looked at.
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
        """What differences of predictions are told in: probabilities as they are, numbers in deviations."""
        return self.deviation if self.lock.data.target.task == "regression" else 1.0

    @cached_property
    def columns(self) -> dict[str, NDArray[Any]]:
        """The columns of the test rows that the package takes."""
        return columns_of(self.rows, self.package.graph.inputs)

    @cached_property
    def rivalry(self) -> Rivalry:
        """The comparison with the champion; it is brought and scored when it is first asked for."""
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
            MeritError: it predicts something else, or takes columns that these rows don't have.
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
        """Say whether more of a metric is better."""
        return bool(self.own[metric].higher_is_better) if metric in self.own else HIGHER_IS_BETTER[metric]

    def scored(self, predictions: NDArray[Any]) -> Scored:
        """Return predictions of the test rows beside the truth."""
        return scored(self.lock.data.target.task, self.target, predictions, self.own)

    def difference(
        self, rival: NDArray[Any], names: list[str], candidate: NDArray[Any] | None = None, count: int | None = None
    ) -> dict[str, Estimate]:
        """Return the candidate's metrics less a rival's, paired.

        Args:
            rival: its predictions of the test rows.
            names: of the metrics.
            candidate: other predictions than the candidate's own.
            count: other resamples than gate.resamples.
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
