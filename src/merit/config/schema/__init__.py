"""The schema of params.yaml: every section and key with its allowed values. Unknown keys are refused."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from merit.config import trusted_paths
from merit.config.addresses import find_collector_error, find_store_error
from merit.config.extensions import find_modules, list_names, list_names_with, read_constants
from merit.config.schema.base import Component, PositiveInt, Section
from merit.config.schema.data import Data, Features
from merit.config.schema.evaluate import ColumnBlocks, Evaluate, TimeBlocks
from merit.config.schema.gate import NOT_WAIVABLE, Gate, GoldenRow
from merit.config.schema.release import Release
from merit.config.schema.serve import Serve
from merit.config.schema.stream import Stream
from merit.config.schema.strictness import NoRule, Weaker
from merit.config.tasks import METRICS


class Trainer(Section):
    """conf/trainer: the length, precision and hardware of training."""

    max_epochs: PositiveInt
    """The maximum number of passes over the training rows."""
    batch_size: PositiveInt
    """Rows per step, over all devices."""
    patience: PositiveInt
    """Epochs without an improved validation metric before training stops."""
    monitor: str
    """The validation metric that selects the best epoch: one of the task's metrics."""
    schedule: Literal["constant", "cosine"]
    """The learning-rate schedule: constant, or cosine decay to zero."""
    accelerator: Literal["cpu", "gpu"]
    """The hardware to train on."""
    devices: PositiveInt
    """The number of devices. With more than one, each runs a process with the whole network and takes its share of each
    batch (DDP)."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    """The floating-point precision of training, as Lightning names it."""
    threads: PositiveInt
    """CPU threads. Their number changes the order of summation, so it is part of the result."""
    memory_mb: PositiveInt = 2048
    """The memory limit for the rows of one part of the split (MiB); a larger part stays in its file and is read block
    by block."""
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 30.0
    """Seconds between checkpoints; a training run that was killed resumes from the last one."""


class Parity(Section):
    """The required agreement of the ONNX graph with PyTorch; for a regression in standard deviations of the target."""

    rows: Annotated[PositiveInt, Weaker("smaller")]
    """Test rows scored by both."""
    tolerance: Annotated[float, Field(gt=0), Weaker("larger")]
    """The maximum difference between the two predictions of any row."""


class Package(Section):
    """conf/package: the conditions for writing a package."""

    parity: Parity


TRACKER_PACKAGE = "merit.tracking"
TRACKER_NAMES = list_names(TRACKER_PACKAGE, first=("mlflow", "wandb", "csv"))
"""The names of all tracking backends; the listed ones come first, in the order of the documentation."""
_TRACKER_KEYS = {
    name: read_constants(TRACKER_PACKAGE, "KEYS").get(find_modules(TRACKER_PACKAGE)[name], ()) for name in TRACKER_NAMES
}
TRACKERS_BY_KEY = {
    key: [name for name, keys in _TRACKER_KEYS.items() if key in keys]
    for key in dict.fromkeys(key for keys in _TRACKER_KEYS.values() for key in keys)
}
"""For each key of conf/tracking that not all backends have: the names of those that need it."""
FOLDER_TRACKERS = list_names_with(TRACKER_PACKAGE, "EXPERIMENT_IS_FOLDER", True)
if TYPE_CHECKING:
    TrackerName = str
else:
    TrackerName = Literal[TRACKER_NAMES]


class Tracking(Section):
    """conf/tracking: the backend that records runs. Each backend has keys of its own besides `experiment`."""

    to: TrackerName = "mlflow"
    """The backend: MLflow, which also records model versions, Weights & Biases, or CSV files in runs/."""
    uri: str | None = None
    """Only for mlflow: sqlite:///mlflow.db, or the address of a server such as http://host:5000. MLFLOW_TRACKING_URI in
    the environment takes precedence."""
    mode: Literal["offline", "online"] | None = None
    """Only for wandb: offline keeps runs in wandb/ until 'wandb sync' uploads them; online needs WANDB_API_KEY."""
    experiment: str
    """The experiment that runs belong to; Weights & Biases calls it a project."""

    @model_serializer(mode="wrap")
    def _omit_unset_keys(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit the keys of other backends."""
        return {name: value for name, value in serialize(self).items() if value is not None}


FORMAT_VERSION: Literal[3] = 3
"""The format version of conf/ that this merit reads; `merit upgrade` migrates an older one to it."""


JUDGED = NoRule("the gate judges what comes of it")
AFTERWARDS = NoRule("it is about runs and serving, not about what may merge; locations are shown")


class Lock(Section):
    """The lock: all of params.yaml."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=100), Weaker("any")]
    """The model's name in the registry, in tags and in responses."""
    seed: Annotated[int, Field(ge=0, lt=2**32), NoRule("another draw of the same training")]
    """The seed of every random draw."""
    code: Annotated[dict[str, str], NoRule("the gate compares the code itself")] = {}
    """The hash of each of the project's own packages that a `_target_` names; `merit compose` fills it in."""
    form: Annotated[Literal[3], NoRule("it names the format")] = FORMAT_VERSION
    """The format version of conf/: which keys exist and what they mean. Without this key it is 1."""
    data: Data
    features: Annotated[Features, JUDGED]
    model: Annotated[Component, JUDGED]
    optimizer: Annotated[Component, JUDGED]
    trainer: Annotated[Trainer, JUDGED]
    evaluate: Evaluate
    package: Package
    gate: Gate
    tracking: Annotated[Tracking, AFTERWARDS]
    serve: Annotated[Serve, AFTERWARDS]
    stream: Annotated[Stream, AFTERWARDS] = Stream()
    release: Annotated[Release, AFTERWARDS] = Release()
    merit: Annotated[dict[str, str] | None, NoRule("it names the installed merit")] = None
    """Where merit is installed as a package instead of being part of the repository: for each DVC stage, a hash of the
    merit code that it runs; `merit compose` fills it in."""

    @model_serializer(mode="wrap")
    def _omit_unset_merit(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit `merit` where dvc.yaml itself lists the source files."""
        return {name: value for name, value in serialize(self).items() if name != "merit" or value is not None}

    @model_validator(mode="after")
    def _check_sections(self) -> "Lock":
        """Check the sections against one another; each line of the error begins with the offending key."""
        rules = (
            self._check_metrics,
            self._check_column_names,
            self._check_behaviour,
            self._check_waivers,
            self._check_tracking,
            self._check_batch_size,
            self._check_hyperparameters,
            self._check_locations,
        )
        if problems := [line for rule in rules for line in rule()]:
            raise ValueError("\n".join(problems))
        return self

    def _check_batch_size(self) -> Iterator[str]:
        trainer = self.trainer
        if trainer.batch_size % trainer.devices:
            yield (
                f"trainer.devices found {trainer.devices}, which can't share batches of {trainer.batch_size} rows "
                "evenly; "
                "allowed: a number that divides trainer.batch_size"
            )

    def _check_hyperparameters(self) -> Iterator[str]:
        """Yield values that the optimizer or the network would refuse when built, in a sweep once per trial."""
        optimizer, model = self.optimizer.arguments, self.model.arguments
        for name in ("lr", "weight_decay", "eps"):
            if isinstance(value := optimizer.get(name), int | float) and value < 0:
                yield f"optimizer.{name} found {value}; allowed: 0 or more"
        for name in (name for name in model if name.endswith("dropout")):
            if isinstance(value := model[name], int | float) and not 0 <= value < 1:
                yield f"model.{name} found {value}; allowed: a share from 0 to less than 1"

    def _check_locations(self) -> Iterator[str]:
        """Yield paths outside the project and its declared roots, and addresses with credentials or parameters."""
        path_by_key = {
            "serve.log.folder": self.serve.log.folder,
            "serve.auth.keys": self.serve.auth.keys,
            "serve.auth.jwks": self.serve.auth.jwks,
            "release.signing.public_key": self.release.signing.public_key,
        }
        for key, path in path_by_key.items():
            if path is not None and (refusal := trusted_paths.find_path_error(path)):
                yield f"{key} {refusal}"
        tracking = self.tracking
        is_used = tracking.to in TRACKERS_BY_KEY["uri"] and tracking.uri
        if is_used and (refusal := find_store_error(str(tracking.uri))):
            yield f"tracking.uri {refusal}"
        if (endpoint := self.serve.telemetry.endpoint) is not None and (refusal := find_collector_error(endpoint)):
            yield f"serve.telemetry.endpoint {refusal}"

    def _check_metrics(self) -> Iterator[str]:
        task, gate, own_metrics = self.data.target.task, self.gate, self.evaluate.metrics
        for name in sorted(set(own_metrics) & set(METRICS[task])):
            yield f"evaluate.metrics names '{name}', which a {task} task has already; rename it"
        names_by_key = {
            "trainer.monitor": [self.trainer.monitor],
            "gate.floors": list(gate.floors),
            "gate.baseline": [gate.baseline.metric],
            "gate.champion": [rule.metric for rule in gate.champion],
            "gate.slices": [gate.slices.metric] if gate.slices else [],
            "gate.robustness": [gate.robustness.metric] if gate.robustness else [],
        }
        for key, names in names_by_key.items():
            allowed_names = [*METRICS[task], *(own_metrics if key != "trainer.monitor" else ())]
            if unknown := [name for name in names if name not in allowed_names]:
                unknown_text, allowed_text = ", ".join(f"'{name}'" for name in unknown), ", ".join(allowed_names)
                yield f"{key} names {unknown_text}, which is no metric of a {task} task; allowed: {allowed_text}"
        if (gate.calibration is None) != ("calibration_error" not in METRICS[task]):
            yield f"gate.calibration must be null for a regression and a number else; this is a {task} task"

    def _check_column_names(self) -> Iterator[str]:
        names_by_key = {
            "evaluate.slices": self.evaluate.slices,
            "evaluate.blocks": [blocks.column] if isinstance(blocks := self.evaluate.blocks, ColumnBlocks) else [],
            "gate.data.leakage.entity": self.gate.data.leakage.entity or [],
        }
        for key, names in names_by_key.items():
            for name in names:
                if name not in self.data.columns:
                    yield f"{key} names '{name}', which is no column; allowed: {', '.join(self.data.columns)}"
        if isinstance(self.evaluate.blocks, TimeBlocks) and self.data.time is None:
            yield "evaluate.blocks is by time, and data.time names no column; name it, or use {by: column} or {by: row}"

    def _check_behaviour(self) -> Iterator[str]:
        """Check the behavioural tests against the model's input columns and its predictions."""
        behaviour = self.gate.behaviour
        problems_by_key: dict[str, list[str]] = {}
        for name, rule in behaviour.invariance.items():
            problems_by_key[f"invariance.{name}"] = [*self._check_input_value(rule.column, rule.to, added=rule.by)]
        for name, expected in behaviour.direction.items():
            misfits = [*self._check_input_value(expected.column, expected.to, added=expected.by)]
            problems_by_key[f"direction.{name}"] = [*misfits, *self._check_label(expected.label)]
        for name, golden in behaviour.golden.items():
            misfits = [text for column, value in golden.row.items() for text in self._check_input_value(column, value)]
            about = [
                *self._check_required_inputs(golden.row),
                *self._check_label(golden.label),
                *self._check_golden_limits(golden),
            ]
            problems_by_key[f"golden.{name}"] = [*misfits, *about]
        yield from (f"gate.behaviour.{key} {'; it '.join(texts)}" for key, texts in problems_by_key.items() if texts)

    def _check_input_value(self, name: str, value: Any, *, added: float | None = None) -> Iterator[str]:
        """Yield why a value, or a number to add, doesn't fit an input column of the model."""
        inputs = {each: column for each, column in self.data.columns.items() if column.feature != "none"}
        if name not in inputs:
            yield f"names '{name}', which is no column that the model takes; allowed: {', '.join(inputs)}"
        elif added is not None and inputs[name].type not in {"integer", "number"}:
            yield f"adds to '{name}', whose type is {inputs[name].type}; give 'to' instead of 'by'"
        elif added is None and not inputs[name].accepts_value(value):
            kind = f"{inputs[name].type}{' or null' if inputs[name].missing else ''}"
            yield f"gives '{name}' the value {value!r:.80}; allowed: {kind}"

    def _check_golden_limits(self, golden: GoldenRow) -> Iterator[str]:
        """Yield limits that no probability can reach."""
        limits = {"min": golden.min, "max": golden.max, "value": golden.value}
        for key, limit in limits.items():
            if limit is not None and not 0 <= limit <= 1 and self.data.target.task != "regression":
                yield f"has {key} {limit:g}, and its answer is a probability; allowed: 0 to 1"

    def _check_required_inputs(self, row: dict[str, Any]) -> Iterator[str]:
        required = [name for name, each in self.data.columns.items() if each.feature != "none" and each.missing == 0]
        if missing := [name for name in required if name not in row]:
            yield f"lacks {', '.join(missing)}; only columns that may be missing can be left out"

    def _check_label(self, label: str | int | None) -> Iterator[str]:
        classes = self.data.target.classes
        if classes is None and label is not None:
            yield "has a label, which is for a multiclass task alone; remove it"
        elif classes is not None and label not in classes:
            yield f"needs as its label the class that is meant; allowed: {', '.join(map(str, classes))}"

    def _check_waivers(self) -> Iterator[str]:
        for name in sorted(set(self.gate.waivers) & set(NOT_WAIVABLE)):
            yield f"gate.waivers names '{name}', which can't be waived: without it the other checks mean nothing"

    def _check_tracking(self) -> Iterator[str]:
        tracking = self.tracking
        for key, backends in TRACKERS_BY_KEY.items():
            value = getattr(tracking, key)
            if tracking.to in backends and value is None:
                yield f"tracking.{key} is missing; {tracking.to} needs it, as conf/tracking/{tracking.to}.yaml has it"
            elif tracking.to not in backends and value is not None:
                yield f"tracking.{key} is a key of {', '.join(backends)}, and tracking.to is {tracking.to}; remove it"
        if tracking.to in FOLDER_TRACKERS and not re.fullmatch(r"\w[\w.-]*", tracking.experiment):
            yield "tracking.experiment names a folder in runs/; allowed: letters, digits, _, . and -"
