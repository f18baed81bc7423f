"""The form of params.yaml: every section, every key, what it may be. Unknown keys are refused."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from merit.config import paths
from merit.config.addresses import collector_refusal, store_refusal
from merit.config.schema.base import Component, Interval, Positive, Section
from merit.config.schema.data import Data, Features
from merit.config.schema.gate import NOT_WAIVABLE, Gate, Golden
from merit.config.schema.release import Release
from merit.config.schema.serve import Serve
from merit.config.schema.stream import Stream
from merit.config.tasks import METRICS


class Trainer(Section):
    """conf/trainer: how long, how fast and on what to train."""

    max_epochs: Positive
    """The most passes over the training rows."""
    batch_size: Positive
    """Rows per step."""
    patience: Positive
    """Epochs without a better validation metric before training stops."""
    monitor: str
    """The metric of the validation rows that says which epoch is best: one of the task's."""
    schedule: Literal["constant", "cosine"]
    """How the learning rate goes: constant, or down to nothing along half a cosine."""
    accelerator: Literal["cpu", "gpu"]
    """What it is trained on."""
    devices: Positive
    """How many of them: more than one share each batch, each a process that has the whole network (DDP)."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    """The numbers that are calculated with."""
    threads: Positive
    """Processor threads. Sums are taken in another order with another number, so it is part of the result."""
    memory_mb: Positive = 2048
    """The most that a part's rows may take in memory (MiB); more stay in their file and are read block by block."""
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 30.0
    """Seconds between checkpoints, from which a training that was killed goes on."""


class Evaluate(Section):
    """conf/evaluate: what is measured on test rows."""

    resamples: Annotated[int, Field(ge=100)]
    """Bootstrap resamples behind each interval."""
    slice_resamples: Annotated[int, Field(ge=100)]
    """Bootstrap resamples behind each interval of a slice."""
    confidence: Interval
    """The share of resamples that an interval covers."""
    slices: list[str]
    """The columns by whose values the test rows are sliced."""
    slice_min_rows: Positive
    """Rows that a slice needs to be judged."""
    baseline: dict[str, float | int]
    """Arguments of scikit-learn's HistGradientBoostingClassifier, or ...Regressor for a regression."""
    metrics: dict[str, Component] = {}
    """Metrics of the project's own, by name, beside those of the task (docs/own-python.md)."""


class Parity(Section):
    """How closely the graph must follow the PyTorch path; for a regression in the target's standard deviations."""

    rows: Positive
    """Test rows that both score."""
    tolerance: Annotated[float, Field(gt=0)]
    """The greatest difference of any row's prediction."""


class Package(Section):
    """conf/package: what a package must satisfy to exist."""

    parity: Parity


class Tracking(Section):
    """conf/tracking: what keeps the runs, and where. Each way to keep them has its own keys beside `experiment`."""

    to: Literal["mlflow", "wandb", "csv"] = "mlflow"
    """What keeps runs: MLflow, which keeps versions too, Weights & Biases, or CSV files in runs/."""
    uri: str | None = None
    """Of mlflow: sqlite:///mlflow.db, or a server's http://host:5000. MLFLOW_TRACKING_URI in the environment comes
    first."""
    mode: Literal["offline", "online"] | None = None
    """Of wandb: offline keeps runs in wandb/ until 'wandb sync' sends them; online needs WANDB_API_KEY."""
    experiment: str
    """The experiment that runs belong to; Weights & Biases calls it a project."""

    @model_serializer(mode="wrap")
    def _without_keys_of_others(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what the chosen way to keep runs doesn't have."""
        return {name: value for name, value in write(self).items() if value is not None}


FORM: Literal[3] = 3
"""The form of conf/ that this merit reads; `merit upgrade` brings an older one to it."""


class Lock(Section):
    """The whole of params.yaml."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=100)]
    """The model's name: in the registry, in tags, in answers."""
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    """Where every random draw begins."""
    code: dict[str, str] = {}
    """The hash of each package of the project's own that a target names; `merit compose` fills it in."""
    form: Literal[3] = FORM
    """The form of conf/: which keys there are and what they mean. One that names none is of form 1."""
    data: Data
    features: Features
    model: Component
    optimizer: Component
    trainer: Trainer
    evaluate: Evaluate
    package: Package
    gate: Gate
    tracking: Tracking
    serve: Serve
    stream: Stream = Stream()
    release: Release = Release()
    merit: dict[str, str] | None = None
    """Where merit is installed and not part of the repository: a hash per stage of merit's code that makes it;
    `merit compose` fills it in."""

    @model_serializer(mode="wrap")
    def _without_what_is_not_recorded(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave `merit` out where dvc.yaml itself names the source."""
        return {name: value for name, value in write(self).items() if name != "merit" or value is not None}

    @model_validator(mode="after")
    def _sections_agree(self) -> "Lock":
        """Hold the sections against one another; each line of the error begins with the key that doesn't fit."""
        rules = (
            self._metrics_of_another_task,
            self._names_of_no_column,
            self._behaviour_of_no_column,
            self._waivers_of_what_can_not_be_waived,
            self._tracking_of_another_kind,
            self._a_batch_that_devices_can_not_share,
            self._numbers_that_nothing_trains_by,
            self._paths_that_lead_out,
        )
        if found := [line for rule in rules for line in rule()]:
            raise ValueError("\n".join(found))
        return self

    def _a_batch_that_devices_can_not_share(self) -> Iterator[str]:
        how = self.trainer
        if how.batch_size % how.devices:
            yield (
                f"trainer.devices found {how.devices}, which can't share batches of {how.batch_size} rows evenly; "
                "allowed: a number that divides trainer.batch_size"
            )

    def _numbers_that_nothing_trains_by(self) -> Iterator[str]:
        """Yield what would be refused only once the optimizer or the network is built, in a sweep by each trial."""
        optimizer, model = self.optimizer.arguments, self.model.arguments
        for name in ("lr", "weight_decay", "eps"):
            if isinstance(value := optimizer.get(name), int | float) and value < 0:
                yield f"optimizer.{name} found {value}; allowed: 0 or more"
        for name in (name for name in model if name.endswith("dropout")):
            if isinstance(value := model[name], int | float) and not 0 <= value < 1:
                yield f"model.{name} found {value}; allowed: a share from 0 to less than 1"

    def _paths_that_lead_out(self) -> Iterator[str]:
        """Yield paths outside of the project and the roots that pyproject.toml declares, and addresses with more."""
        named = {
            "serve.log.folder": self.serve.log.folder,
            "serve.auth.keys": self.serve.auth.keys,
            "serve.auth.jwks": self.serve.auth.jwks,
            "release.signing.public_key": self.release.signing.public_key,
        }
        for key, path in named.items():
            if path is not None and (refusal := paths.refusal(path)):
                yield f"{key} {refusal}"
        if self.tracking.to == "mlflow" and self.tracking.uri and (refusal := store_refusal(self.tracking.uri)):
            yield f"tracking.uri {refusal}"
        if (endpoint := self.serve.telemetry.endpoint) is not None and (refusal := collector_refusal(endpoint)):
            yield f"serve.telemetry.endpoint {refusal}"

    def _metrics_of_another_task(self) -> Iterator[str]:
        task, gate, own = self.data.target.task, self.gate, self.evaluate.metrics
        for name in sorted(set(own) & set(METRICS[task])):
            yield f"evaluate.metrics names '{name}', which a {task} task has already; rename it"
        named = {
            "trainer.monitor": [self.trainer.monitor],
            "gate.floors": list(gate.floors),
            "gate.baseline": [gate.baseline.metric],
            "gate.champion": [rule.metric for rule in gate.champion],
            "gate.slices": [gate.slices.metric] if gate.slices else [],
            "gate.robustness": [gate.robustness.metric] if gate.robustness else [],
        }
        for place, names in named.items():
            known = [*METRICS[task], *(own if place != "trainer.monitor" else ())]
            if wrong := [name for name in names if name not in known]:
                told, allowed = ", ".join(f"'{name}'" for name in wrong), ", ".join(known)
                yield f"{place} names {told}, which is no metric of a {task} task; allowed: {allowed}"
        if (gate.calibration is None) != ("calibration_error" not in METRICS[task]):
            yield f"gate.calibration must be null for a regression and a number else; this is a {task} task"

    def _names_of_no_column(self) -> Iterator[str]:
        named = {
            "evaluate.slices": self.evaluate.slices,
            "gate.data.leakage.entity": self.gate.data.leakage.entity or [],
        }
        for place, names in named.items():
            for name in names:
                if name not in self.data.columns:
                    yield f"{place} names '{name}', which is no column; allowed: {', '.join(self.data.columns)}"

    def _behaviour_of_no_column(self) -> Iterator[str]:
        """Hold what is expected of the model against the columns that it takes and the answers that it gives."""
        told = self.gate.behaviour
        found: dict[str, list[str]] = {}
        for name, rule in told.invariance.items():
            found[f"invariance.{name}"] = [*self._misfits(rule.column, rule.to, by=rule.by)]
        for name, expected in told.direction.items():
            misfits = [*self._misfits(expected.column, expected.to, by=expected.by)]
            found[f"direction.{name}"] = [*misfits, *self._labels(expected.label)]
        for name, golden in told.golden.items():
            misfits = [text for column, value in golden.row.items() for text in self._misfits(column, value)]
            about = [*self._lacking(golden.row), *self._labels(golden.label), *self._beyond(golden)]
            found[f"golden.{name}"] = [*misfits, *about]
        yield from (f"gate.behaviour.{key} {'; it '.join(texts)}" for key, texts in found.items() if texts)

    def _misfits(self, name: str, value: Any, *, by: float | None = None) -> Iterator[str]:
        taken = {each: column for each, column in self.data.columns.items() if column.feature != "none"}
        if name not in taken:
            yield f"names '{name}', which is no column that the model takes; allowed: {', '.join(taken)}"
        elif by is not None and taken[name].type not in {"integer", "number"}:
            yield f"adds to '{name}', whose type is {taken[name].type}; give to instead of by"
        elif by is None and not taken[name].holds(value):
            kind = f"{taken[name].type}{' or null' if taken[name].missing else ''}"
            yield f"gives '{name}' the value {value!r:.80}; allowed: {kind}"

    def _beyond(self, golden: Golden) -> Iterator[str]:
        """Yield limits that no probability can reach."""
        told = {"min": golden.min, "max": golden.max, "value": golden.value}
        for key, limit in told.items():
            if limit is not None and not 0 <= limit <= 1 and self.data.target.task != "regression":
                yield f"has {key} {limit:g}, and its answer is a probability; allowed: 0 to 1"

    def _lacking(self, row: dict[str, Any]) -> Iterator[str]:
        needed = [name for name, each in self.data.columns.items() if each.feature != "none" and each.missing == 0]
        if lacking := [name for name in needed if name not in row]:
            yield f"lacks {', '.join(lacking)}; only columns that may be missing can be left out"

    def _labels(self, label: str | int | None) -> Iterator[str]:
        classes = self.data.target.classes
        if classes is None and label is not None:
            yield "has a label, which is for a multiclass task alone; remove it"
        elif classes is not None and label not in classes:
            yield f"needs as its label the class that is meant; allowed: {', '.join(map(str, classes))}"

    def _waivers_of_what_can_not_be_waived(self) -> Iterator[str]:
        for name in sorted(set(self.gate.waivers) & set(NOT_WAIVABLE)):
            yield f"gate.waivers names '{name}', which can't be waived: without it the other checks mean nothing"

    def _tracking_of_another_kind(self) -> Iterator[str]:
        tracking = self.tracking
        for key, whose in {"uri": "mlflow", "mode": "wandb"}.items():
            value = getattr(tracking, key)
            if tracking.to == whose and value is None:
                yield f"tracking.{key} is missing; {whose} needs it, as conf/tracking/{whose}.yaml has it"
            elif tracking.to != whose and value is not None:
                yield f"tracking.{key} is a key of {whose}, and tracking.to is {tracking.to}; remove it"
        if tracking.to == "csv" and not re.fullmatch(r"\w[\w.-]*", tracking.experiment):
            yield "tracking.experiment names a folder in runs/; allowed: letters, digits, _, . and -"
