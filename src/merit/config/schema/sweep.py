"""The schema of conf/sweep/NAME.yaml: search space, sampler, objectives and limits. It is not part of the lock."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from merit.config.addresses import find_store_error
from merit.config.extensions import list_names, list_names_with
from merit.config.schema.base import PositiveInt, Section
from merit.config.tasks import HIGHER_IS_BETTER

SAMPLER_PACKAGE = "merit.sweep.search.samplers"
SAMPLER_NAMES = list_names(SAMPLER_PACKAGE, first=("grid", "random", "tpe", "cmaes"))
"""The names of all samplers; the listed ones come first, in the order of the documentation."""
EXHAUSTIVE_SAMPLERS = list_names_with(SAMPLER_PACKAGE, "EXHAUSTIVE", True)
"""Samplers that try every point."""
NUMERIC_SAMPLERS = list_names_with(SAMPLER_PACKAGE, "CHOICES", False)
"""Samplers that can't search choices."""
SINGLE_OBJECTIVE_SAMPLERS = list_names_with(SAMPLER_PACKAGE, "SEVERAL_OBJECTIVES", False)
if TYPE_CHECKING:
    SamplerName = str
else:
    SamplerName = Literal[SAMPLER_NAMES]

ObjectiveDirection = Literal["minimize", "maximize"]
SweepName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$")]
"""The name of a folder in sweeps/."""
COST_OBJECTIVES = ("train_seconds", "parameters")
"""Costs of a trial, which can be objectives besides the validation metrics."""


class Pruner(Section):
    """When a trial that falls behind is stopped early."""

    kind: Literal["none", "median", "hyperband"] = "none"
    """none: never; median: when its metric is worse than the median of the other trials at that epoch; hyperband: by
    Hyperband's brackets."""
    warmup_epochs: Annotated[int, Field(ge=0)] = 1
    """Epochs that every trial trains before it can be stopped."""


class Sweep(Section):
    """conf/sweep: a hyperparameter search by `merit train -m sweep=NAME`. It uses validation rows only."""

    name: SweepName | None = None
    """The sweep's folder in sweeps/; null derives a name from the date and time."""
    sampler: SamplerName = "grid"
    """grid: every combination; random; tpe: guided by earlier trials (TPE); cmaes: CMA-ES, for numbers only."""
    space: dict[str, str | list[str | int | float | bool | None]] = {}
    """The values to try, by key, in Hydra's sweep syntax: choice(linear, mlp), range(1, 5), interval(0.1, 0.5),
    tag(log, interval(1e-4, 1e-2)), int(interval(16, 256)), or a list. Keys given after -m take precedence."""
    metric: str | None = None
    """The validation metric to optimise; null uses trainer.monitor."""
    direction: ObjectiveDirection | None = None
    """Whether to minimise or maximise it; null uses the direction in which the metric is better."""
    objectives: dict[str, ObjectiveDirection] = {}
    """Several objectives instead of `metric`: validation metrics, train_seconds, parameters."""
    trials: PositiveInt | None = None
    """The number of trials; null runs the whole grid."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 7
    """The seed of the sampler."""
    pruner: Pruner = Pruner()
    storage: Annotated[str, Field(pattern=r"^(sqlite|postgresql(\+psycopg)?)://")] | None = None
    """The database of the Optuna study: postgresql://user@host/database for workers on several machines, with the
    password from PGPASSWORD or ~/.pgpass; null uses study.db in the sweep's folder."""
    resume: SweepName | None = None
    """The name of a sweep to continue, interrupted or shared with other workers. Finished trials are not repeated."""
    workers: PositiveInt | None = None
    """The number of parallel trials; null runs as many as the launcher has room for."""
    max_failures: Annotated[int, Field(ge=0)] | None = None
    """The number of trials that may fail or be killed before the sweep stops; null allows any number."""
    fail_fast: bool = False
    """Whether the first failed trial ends the sweep."""
    timeout_seconds: PositiveInt | None = None
    """The time limit of a trial in seconds; a slower one is killed."""
    memory_mb: Annotated[int, Field(ge=256)] | None = None
    """The memory limit for a trial's data in megabytes; a larger one is killed."""

    @model_validator(mode="after")
    def _check_consistency(self) -> "Sweep":
        if problems := [line for line in self._find_problems() if line]:
            raise ValueError("\n".join(problems))
        return self

    def _find_problems(self) -> list[str]:
        is_multi_objective = len(self.objectives) > 1
        problems = []
        if self.objectives and (self.metric or self.direction):
            problems.append("objectives says what is searched for; leave out metric and direction")
        if is_multi_objective and self.pruner.kind != "none":
            problems.append("pruner.kind must be none where there are several objectives")
        if is_multi_objective and self.sampler in SINGLE_OBJECTIVE_SAMPLERS:
            problems.append(f"sampler is {self.sampler}, which supports one objective; use tpe or random")
        if self.metric in COST_OBJECTIVES and self.pruner.kind != "none":
            problems.append(f"pruner.kind must be none where the metric is {self.metric}, which no epoch has")
        if self.storage and (refusal := find_store_error(self.storage)):
            problems.append(f"storage {refusal}")
        return problems


def get_better_direction(metric: str) -> ObjectiveDirection:
    """Return the direction in which a metric is better."""
    return "maximize" if HIGHER_IS_BETTER.get(metric, False) else "minimize"
