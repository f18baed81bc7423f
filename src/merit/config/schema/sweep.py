"""The form of conf/sweep/NAME.yaml: what is searched, how, and when to give up. It is no part of the lock."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from merit.config.addresses import store_refusal
from merit.config.schema.base import Positive, Section
from merit.config.tasks import HIGHER_IS_BETTER

Direction = Literal["minimize", "maximize"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$")]
"""A folder in sweeps/."""
COSTS = ("train_seconds", "parameters")
"""What a trial costs, beside the metrics of its validation rows."""


class Pruner(Section):
    """When a trial that falls behind is ended early."""

    kind: Literal["none", "median", "hyperband"] = "none"
    """Never, when its metric is worse than the median of the others at that epoch, or by Hyperband's brackets."""
    warmup_epochs: Annotated[int, Field(ge=0)] = 1
    """Epochs that every trial may do."""


class Sweep(Section):
    """conf/sweep: a search for a better model, by `merit train -m sweep=NAME`. It looks at validation rows alone."""

    name: Name | None = None
    """The folder in sweeps/ that keeps it; null makes one from the date and time."""
    sampler: Literal["grid", "random", "tpe", "cmaes"] = "grid"
    """Every combination, by lot, or by what the trials before have shown (TPE; CMA-ES for numbers alone)."""
    space: dict[str, str | list[str | int | float | bool | None]] = {}
    """What is tried, by key, in Hydra's words: choice(linear, mlp), range(1, 5), interval(0.1, 0.5),
    tag(log, interval(1e-4, 1e-2)), int(interval(16, 256)), or a list. Keys given beside -m come first."""
    metric: str | None = None
    """The metric of the validation rows that is searched for; null: what trainer.monitor says."""
    direction: Direction | None = None
    """Where it should go; null: where that metric is better."""
    objectives: dict[str, Direction] = {}
    """Several at once instead of `metric`: metrics of the validation rows, train_seconds, parameters."""
    trials: Positive | None = None
    """How many are tried; null: all of a grid."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 7
    """Where the sampler's draws begin."""
    pruner: Pruner = Pruner()
    storage: Annotated[str, Field(pattern=r"^(sqlite|postgresql(\+psycopg)?)://")] | None = None
    """Where Optuna keeps the study: postgresql://user@host/database for workers on several machines, its password from
    PGPASSWORD or ~/.pgpass; null: study.db in the sweep's folder."""
    resume: Name | None = None
    """A sweep that was interrupted, or that others work on too: go on with it. No finished trial is repeated."""
    workers: Positive | None = None
    """Trials at once; null: as many as the launcher finds room for."""
    max_failures: Annotated[int, Field(ge=0)] | None = None
    """Trials that may fail or be killed before the sweep is given up; null: any number."""
    fail_fast: bool = False
    """Whether the first trial that fails ends the sweep."""
    timeout_seconds: Positive | None = None
    """Seconds that one trial may take before it is killed."""
    memory_mb: Annotated[int, Field(ge=256)] | None = None
    """Megabytes of data that one trial may hold before it is killed."""

    @model_validator(mode="after")
    def _agrees(self) -> "Sweep":
        if found := [line for line in self._misfits() if line]:
            raise ValueError("\n".join(found))
        return self

    def _misfits(self) -> list[str]:
        several = len(self.objectives) > 1
        lines = []
        if self.objectives and (self.metric or self.direction):
            lines.append("objectives says what is searched for; leave out metric and direction")
        if several and self.pruner.kind != "none":
            lines.append("pruner.kind must be none where there are several objectives")
        if several and self.sampler == "cmaes":
            lines.append("sampler is cmaes, which knows one objective; take tpe or random")
        if self.metric in COSTS and self.pruner.kind != "none":
            lines.append(f"pruner.kind must be none where the metric is {self.metric}, which no epoch has")
        if self.storage and (refusal := store_refusal(self.storage)):
            lines.append(f"storage {refusal}")
        return lines


def better(metric: str) -> Direction:
    """Return where a metric is better."""
    return "maximize" if HIGHER_IS_BETTER.get(metric, False) else "minimize"
