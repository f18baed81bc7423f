"""The form of params.yaml: every section, every key, what it may be. Unknown keys are refused."""

import math
import re
from collections.abc import Iterator
from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from merit.tasks import METRICS

OUTPUT = "prediction"
"""The name of what a model's graph gives."""

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Interval = Annotated[float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """A part of the lock: frozen, and closed to keys that it doesn't name."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Component(BaseModel):
    """Something built by name: `_target_` says what, the other keys are its arguments."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    target: str = Field(alias="_target_")
    """The class that is built, as package.module.Class; the keys beside it are its arguments."""

    @model_validator(mode="after")
    def _holds_numbers(self) -> "Component":
        for name, value in self.arguments.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} is {value}; it must be a finite number")
        return self

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments that conf/ gives to the target."""
        return dict(self.model_extra or {})


class Window(Section):
    """The rows in use, by their time; both days are included."""

    start: Annotated[date, Field(strict=False)]
    """The first day in use."""
    end: Annotated[date, Field(strict=False)]
    """The last day in use."""

    @model_validator(mode="after")
    def _in_order(self) -> "Window":
        if self.end < self.start:
            raise ValueError(f"the window ends on {self.end}, before it starts on {self.start}")
        return self


class Target(Section):
    """What is predicted: a column made from the source's columns by a SQL expression.

    `binary` asks for a condition, `regression` for a number, `multiclass` for one of the `classes`.
    """

    name: str
    """The column that holds the answer."""
    task: Literal["binary", "multiclass", "regression"] = "binary"
    """What kind of answer it is."""
    sql: str
    """A SQL expression on the source's columns: a condition, a number or a class, as the task asks."""
    classes: list[str] | list[int] | None = None
    """The classes of a multiclass task, in the order of the probabilities; a row of any other class is refused."""

    @property
    def outputs(self) -> int:
        """The numbers that a network gives per row."""
        return len(self.classes) if self.classes is not None else 1

    @model_validator(mode="after")
    def _has_classes(self) -> "Target":
        if (self.task == "multiclass") != (self.classes is not None):
            raise ValueError("classes are for a multiclass task, which must name them, and for no other")
        if self.classes is not None and (len(self.classes) < 2 or len(set(self.classes)) < len(self.classes)):
            raise ValueError(f"classes must be two or more, each once; found {self.classes}")
        return self


FEATURES_OF = {
    "string": ("category", "none"),
    "integer": ("category", "number", "none"),
    "number": ("number", "none"),
    "boolean": ("number", "none"),
    "datetime": ("time", "none"),
    "array": ("array", "none"),
}
"""What the model can make of a column of each type."""

_ALLOWED: dict[str, type] = {"string": str, "integer": int}


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is None
    except ValueError:
        return False


class Column(Section):
    """One raw column: its contract, and what the model makes of it.

    `feature` is `category` (one code per value), `number` (standardised, with a flag where values may be
    missing), `time` (of a datetime: the hour of its day, its weekday and the day of its year, each as a place on a
    circle), `array` (every element standardised alike), or `none` (kept for keys, time or slices, never seen by the
    model).
    """

    type: Literal["string", "integer", "number", "boolean", "datetime", "array"]
    """What its values are."""
    feature: Literal["category", "number", "time", "array", "none"] = "none"
    """What the model makes of it."""
    shape: list[Positive] | None = None
    """The shape of an array column, such as [8, 8] for an image of one channel; `min` and `max` bound its elements."""
    description: str | None = None
    """What it means and its unit, for people."""
    allowed: list[str] | list[int] | None = None
    """The only values it may hold."""
    min: float | None = None
    """The least value it may hold."""
    max: float | None = None
    """The greatest value it may hold."""
    missing: Share = 0.0
    """The greatest share of rows that may lack a value; 0 means that every row must have one."""

    @model_serializer(mode="wrap")
    def _without_what_is_not_set(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what a column doesn't set: most set little, and the lock is read by people."""
        return {name: value for name, value in write(self).items() if value is not None}

    @model_validator(mode="after")
    def _fits_its_type(self) -> "Column":
        if self.feature not in FEATURES_OF[self.type]:
            allowed = ", ".join(FEATURES_OF[self.type])
            raise ValueError(f"a column of type {self.type} can't be a {self.feature} feature; allowed: {allowed}")
        if (self.shape is not None) != (self.type == "array"):
            raise ValueError("shape is for columns of type array, which must have one, and for no other")
        if self.type == "array" and self.missing > 0:
            raise ValueError("an array can't be missing; drop such rows by data.filter")
        if (self.min is not None or self.max is not None) and self.type not in {"integer", "number", "array"}:
            raise ValueError(f"min and max are for integers, numbers and arrays, not for a {self.type}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        if self.allowed is not None and not all(isinstance(v, _ALLOWED.get(self.type, ())) for v in self.allowed):
            raise ValueError(f"allowed values are for strings and integers, and of that type; found {self.allowed}")
        return self

    def holds(self, value: Any) -> bool:
        """Say whether a value, as YAML has it, is of this column's type."""
        if value is None:
            return self.missing > 0
        if self.type == "datetime":
            return isinstance(value, date) or (isinstance(value, str) and _is_time(value))
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return {
            "string": isinstance(value, str),
            "boolean": isinstance(value, bool),
            "integer": is_number and isinstance(value, int),
            "number": is_number and math.isfinite(value),
            "array": isinstance(value, list),
        }[self.type]


class Rows(Section):
    """How many rows there must be."""

    min: Positive
    """The fewest rows."""
    max: Positive
    """The most rows."""

    @model_validator(mode="after")
    def _in_order(self) -> "Rows":
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class Contract(Section):
    """What must hold of the table as a whole."""

    rows: Rows
    unique: list[str] = []
    """The columns whose values together name a row: no two rows share them; rows are ordered by them."""


class TimeSplit(Section):
    """The split by time: each part ends with the day it names, and begins after the part before it."""

    by: Literal["time"]
    """How rows are split."""
    train_until: Annotated[date, Field(strict=False)]
    """The last day of the training part."""
    validation_until: Annotated[date, Field(strict=False)]
    """The last day of the validation part."""
    test_until: Annotated[date, Field(strict=False)]
    """The last day of the test part."""

    @model_validator(mode="after")
    def _in_order(self) -> "TimeSplit":
        if not self.train_until < self.validation_until < self.test_until:
            raise ValueError("train_until, validation_until and test_until must follow one another")
        return self


class RandomSplit(Section):
    """The split by lot, the same on every run, for rows that have no time; classes keep their shares in each part."""

    by: Literal["random"]
    """How rows are split."""
    validation: Interval
    """The share of rows that fall to the validation part."""
    test: Interval
    """The share of rows that fall to the test part."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Another seed is another split."""

    @model_validator(mode="after")
    def _leaves_some(self) -> "RandomSplit":
        if self.validation + self.test >= 1:
            raise ValueError("validation and test must leave some rows to train on: their sum must be below 1")
        return self


Split = Annotated[TimeSplit | RandomSplit, Field(discriminator="by")]


class Data(Section):
    """conf/data: where rows come from, what they must look like, how they are split."""

    source: Component
    fingerprint: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    """The hash of the files that the source reads; `merit compose` fills it in."""
    time: str | None = None
    """The datetime column that rows are ordered and, with `by: time`, split by."""
    window: Window | None = None
    filter: str | None = None
    """A SQL condition on the source's columns; rows for which it doesn't hold are left out."""
    target: Target
    columns: dict[str, Column]
    contract: Contract
    split: Split

    @model_validator(mode="after")
    def _names_agree(self) -> "Data":
        known = sorted(self.columns)
        for place, names in {"time": [self.time] if self.time else [], "contract.unique": self.contract.unique}.items():
            for name in names:
                if name not in self.columns:
                    raise ValueError(f"{place} names '{name}', which is not among the columns {known}")
        if self.time is not None and self.columns[self.time].type != "datetime":
            raise ValueError(f"time names '{self.time}', whose type is not datetime")
        for needing, needs in {"window": self.window is not None, "split.by: time": self.split.by == "time"}.items():
            if needs and self.time is None:
                raise ValueError(f"{needing} needs time to name a datetime column")
        if self.target.name in self.columns:
            raise ValueError(f"the target '{self.target.name}' can't be a column too")
        for name in self.columns:
            if name.startswith("/") or name == OUTPUT:
                raise ValueError(f"a column can't be named '{name}': the model's graph uses that name; rename it")
        if not any(column.feature != "none" for column in self.columns.values()):
            raise ValueError("no column is a feature; set 'feature' on some")
        return self


class CategoryFeatures(Section):
    """How categories are fitted: a value seen in fewer than `min_count` training rows is unknown."""

    min_count: Positive
    """Training rows that a value needs to be known."""


class NumberFeatures(Section):
    """How numbers are fitted: standardised on training rows, then cut at `clip` standard deviations."""

    clip: Annotated[float, Field(gt=0)]
    """Standard deviations beyond which a number is cut."""


class Features(Section):
    """conf/features: how the preprocessing is fitted on training rows."""

    category: CategoryFeatures
    number: NumberFeatures


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
    devices: Literal[1]
    """How many of them."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    """The numbers that are calculated with."""
    threads: Positive
    """Processor threads. Sums are taken in another order with another number, so it is part of the result."""


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


class Margin(Section):
    """How much worse than a rival the candidate may be, by this metric."""

    metric: str
    """The metric that is compared."""
    margin: Annotated[float, Field(ge=0)]
    """How much worse it may be."""


class Drift(Section):
    """How far the training rows may be from the champion's, in sizes of effect that don't grow with the rows.

    Scores are Evidently's: the Jensen-Shannon distance of a category, the Wasserstein distance of a number in the
    standard deviations of the champion's.
    """

    category: Interval = 0.15
    """The greatest Jensen-Shannon distance of a category."""
    number: Annotated[float, Field(gt=0)] = 0.3
    """The greatest Wasserstein distance of a number, in standard deviations."""
    overall: Interval = 0.5
    """The greatest mean over all features of each one's distance as a share of its limit."""


class Leakage(Section):
    """What the training rows may tell of the test rows, or a column of the answer."""

    shared: Share = 0.01
    """The greatest share of test rows whose features and target are in the training rows, beyond what is chance."""
    entity: list[str] = []
    """The columns that name what must not be on both sides, such as a patient; none if rows stand for themselves."""
    column: Interval = 0.9
    """How well one column alone may predict the target: ROC AUC, accuracy gained as a share of what there is to gain,
    or R2, as the task asks."""
    overlap: Share = 0.0
    """The greatest share of validation and test rows that are not later than all training rows."""


class DataGate(Section):
    """What the data must satisfy beside its contract: in itself, and against the champion's. Shares are of rows."""

    gone: Share = 0.05
    """The greatest share of the champion's rows that may be gone."""
    changed: Share = 0.05
    """The greatest share of the rows that both have whose values may be others; told by `data.contract.unique`."""
    missing: Share = 0.05
    """How far the share of missing values of any column may move."""
    categories: Share = 0.05
    """The greatest share of rows of any column with a category that the other data doesn't have."""
    duplicates: Share = 0.01
    """The greatest share of rows that repeat another one whole."""
    target: Annotated[float, Field(gt=0)] = 0.05
    """How far the target may move: the share of positives or of any class, or the mean in standard deviations."""
    conflicts: Share = 0.05
    """The greatest share of rows with the features of another row and another answer (a number: a deviation apart)."""
    drift: Drift = Drift()
    leakage: Leakage = Leakage()
    rows: Annotated[int, Field(ge=100)] = 10000
    """Training rows drawn for drift and for the columns that predict alone."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Where that draw begins."""


class SliceRule(Section):
    """How much worse than the champion's the candidate may be on a slice, by this metric.

    Intervals have the confidence that Bonferroni's correction asks for: 1 - (1 - gate.confidence) / slices.
    """

    metric: str
    """The metric that is compared on each slice."""
    margin: Annotated[float, Field(ge=0)]
    """How much worse it may be on one of them."""


class Spoiling(Section):
    """How much is spoiled, and how much worse the metric may then be."""

    amount: Annotated[float, Field(gt=0, le=1)]
    """The share of a column's values that are spoiled; of numbers, how many of its deviations they are moved by."""
    margin: Annotated[float, Field(ge=0)]
    """How much worse the metric may be than on the rows as they are."""


class Robustness(Section):
    """What the model must withstand: test rows are spoiled, and scored again."""

    metric: str
    """The metric that may not fall too far, or rise if less is better."""
    missing: Spoiling | None = None
    """Values taken out of the columns that may lack them."""
    unseen: Spoiling | None = None
    """Categories that no row has."""
    noise: Spoiling | None = None
    """Numbers moved at random."""


Plain = str | bool | int | float | None
"""A value of a column as YAML has it; a time is an ISO string, a missing value null."""


class Change(Section):
    """A change made to one column of every test row: `by` is added to its numbers, or `to` takes their place."""

    column: str
    """The column that is changed."""
    by: float | int | None = None
    """What is added; the sum stays within the column's min and max."""
    to: Plain = None
    """What every row gets instead."""

    @model_validator(mode="after")
    def _is_one(self) -> "Change":
        if len({"by", "to"} & self.model_fields_set) != 1 or (self.by is None and self.to is None):
            raise ValueError("give either by, a number that is added, or to, a value that takes the old one's place")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not_set(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what isn't set, so that what is read back is what was written."""
        return {name: value for name, value in write(self).items() if value is not None}


class Invariance(Change):
    """A change that no answer may follow."""

    tolerance: Annotated[float, Field(ge=0)]
    """How far any row's prediction may move."""


class Direction(Change):
    """A change that the answers must follow, on average, in one direction or not at all."""

    expect: Literal["not_lower", "not_higher"]
    """Where the mean prediction may go."""
    label: str | int | None = None
    """The class whose probability is meant; for a multiclass task alone."""


class Golden(Section):
    """A row and the answer that is expected of it: from `min` to `max`, or `value` give or take `tolerance`."""

    row: dict[str, Any]
    """The columns that the model takes; those that may be missing may be left out."""
    min: float | int | None = None
    """The least that it may answer."""
    max: float | int | None = None
    """The most that it may answer."""
    value: float | int | None = None
    """What it should answer."""
    tolerance: Annotated[float, Field(ge=0)] | None = None
    """How far from the value the answer may be."""
    label: str | int | None = None
    """The class whose probability is meant; for a multiclass task alone."""

    @model_validator(mode="after")
    def _is_one(self) -> "Golden":
        is_range, is_value = (self.min, self.max) != (None, None), self.value is not None
        if is_range == is_value or is_value != (self.tolerance is not None):
            raise ValueError("give either min, max or both, or value and tolerance")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not_set(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what isn't set; a column of the row that is null stays."""
        return {name: value for name, value in write(self).items() if value is not None}

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the most that it may answer."""
        if self.value is not None and self.tolerance is not None:
            return self.value - self.tolerance, self.value + self.tolerance
        return (-math.inf if self.min is None else self.min), (math.inf if self.max is None else self.max)


class Behaviour(Section):
    """What the model must do whatever its metrics say, each by a name of its own."""

    invariance: dict[str, Invariance] = {}
    """Changes that no answer may follow."""
    direction: dict[str, Direction] = {}
    """Changes that the answers must follow in one direction, on average."""
    golden: dict[str, Golden] = {}
    """Rows whose answers are known."""

    @model_validator(mode="after")
    def _has_plain_names(self) -> "Behaviour":
        for name in (*self.invariance, *self.direction, *self.golden):
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
                raise ValueError(f"'{name}' is no name: give letters, digits, _ and -")
        return self


class Time(Section):
    """How long the package may take on this machine, by one thread: the median of some runs, the best of several."""

    row_ms: Annotated[float, Field(gt=0)]
    """Milliseconds for one row."""
    batch_ms: Annotated[float, Field(gt=0)]
    """Milliseconds for a batch."""
    batch: Positive
    """Test rows in a batch."""


class Replay(Section):
    """Parity over HTTP: the Bento is built, served on loopback and asked; its answers must be the package's."""

    rows: Positive
    """Test rows that are sent."""


class Waiver(Section):
    """Leave for a check not to pass, until a day."""

    reason: Annotated[str, Field(min_length=10)]
    """Why it may, for those who review it."""
    until: Annotated[date, Field(strict=False)]
    """The last day on which it may."""


NOT_WAIVABLE = ("contract", "parity", "replay", "waivers")
"""The checks without which the others mean nothing: they were made on other data, or of another model."""


class Gate(Section):
    """conf/gate: what a candidate must satisfy to merge."""

    data: DataGate = DataGate()

    floors: dict[str, float]
    """The worst acceptable value of each metric: a least one for scores, a greatest one for losses."""
    baseline: Margin
    champion: list[Margin]
    calibration: Annotated[float, Field(gt=0)] | None
    """The greatest calibration error; null for a regression, which has none."""
    parity: Annotated[float, Field(gt=0)]
    """The greatest difference between the graph and the PyTorch path."""
    size_mb: Annotated[float, Field(gt=0)]
    """The greatest size of the package, in megabytes."""
    slices: SliceRule | None = None
    """How much worse than the champion the candidate may be on each slice of evaluate.slices; null for no look."""
    robustness: Robustness | None = None
    """What the model must withstand; null for no look."""
    behaviour: Behaviour = Behaviour()
    """What the model must do whatever its metrics say."""
    time: Time | None = None
    """How long the package may take; null for no look."""
    replay: Replay | None = None
    """Whether the package is asked through the Bento built of it; null for no."""
    waivers: dict[str, Waiver] = {}
    """Checks that needn't pass, by their names in the report (docs/gate.md)."""
    checks: dict[str, Component] = {}
    """Checks of the project's own, by name (docs/own-python.md)."""
    resamples: Annotated[int, Field(ge=100)]
    """Bootstrap resamples behind each comparison."""
    confidence: Interval
    """The share of resamples that an interval covers."""


class Tracking(Section):
    """conf/tracking: where runs are kept. MLFLOW_TRACKING_URI in the environment comes first."""

    uri: str
    """Where MLflow keeps runs: sqlite:///mlflow.db, or a server's http://host:5000."""
    experiment: str
    """The experiment that runs belong to."""


class Serve(Section):
    """conf/serve: where the endpoint listens and what it takes."""

    host: str
    """The address it listens on; 127.0.0.1 is this machine alone."""
    port: Annotated[int, Field(ge=1, le=65535)]
    """The port it listens on."""
    workers: Positive
    """Processes that answer."""
    max_rows: Positive
    """The most rows in one request."""
    max_bytes: Positive
    """The most bytes in the body of one request."""
    timeout_seconds: Positive
    """Seconds after which a request is given up."""


FORM: Literal[2] = 2
"""The form of conf/ that this merit reads; `merit upgrade` brings an older one to it."""


class Lock(Section):
    """The whole of params.yaml."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
    """The model's name: in the registry, in tags, in answers."""
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    """Where every random draw begins."""
    code: dict[str, str] = {}
    """The hash of each package of the project's own that a target names; `merit compose` fills it in."""
    form: Literal[2] = FORM
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
        )
        if found := [line for rule in rules for line in rule()]:
            raise ValueError("\n".join(found))
        return self

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
        named = {"evaluate.slices": self.evaluate.slices, "gate.data.leakage.entity": self.gate.data.leakage.entity}
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
            found[f"golden.{name}"] = [*misfits, *self._lacking(golden.row), *self._labels(golden.label)]
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
