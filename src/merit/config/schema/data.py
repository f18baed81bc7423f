"""The schema of conf/data and conf/features: the source, its contract and split, and the preprocessing."""

import hashlib
import json
from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from merit.config.schema.base import OUTPUT_NAME, Component, OpenShare, PositiveInt, Section
from merit.config.schema.column import Column, is_servable_name
from merit.config.schema.strictness import NoRule, Weaker
from merit.expression import ExpressionError, parse_expression


def _validate_expression(text: str) -> str:
    """Refuse text outside merit's expression grammar, before any engine sees it."""
    try:
        return parse_expression(text).text
    except ExpressionError as error:
        raise ValueError(str(error)) from error


Expression = Annotated[str, AfterValidator(_validate_expression)]
"""A SQL expression on the columns of a table (docs/reference/expressions.md)."""


class Window(Section):
    """The days whose rows are used, both ends included."""

    start: Annotated[date, Field(strict=False), NoRule("the gate counts the rows that are gone")]
    """The first day in use."""
    end: Annotated[date, Field(strict=False), Weaker("earlier")]
    """The last day in use."""

    @model_validator(mode="after")
    def _check_order(self) -> "Window":
        if self.end < self.start:
            raise ValueError(f"the window ends on {self.end}, before it starts on {self.start}")
        return self


class Target(Section):
    """The prediction target: a column computed from the source's columns by a SQL expression.

    `binary` needs a condition, `regression` a number, `multiclass` one of the `classes`.
    """

    name: Annotated[str, Weaker("any")]
    """The name of the target column."""
    task: Annotated[Literal["binary", "multiclass", "regression"], Weaker("any")] = "binary"
    """The kind of prediction."""
    sql: Annotated[Expression, Weaker("any")]
    """A SQL expression on the source's columns: a condition, a number or a class, depending on the task
    (docs/reference/expressions.md)."""
    classes: Annotated[list[str] | list[int] | None, Weaker("any")] = None
    """The classes of a multiclass task, in the order of the predicted probabilities; rows of any other class are
    refused."""

    @property
    def outputs(self) -> int:
        """The number of network outputs per row."""
        return len(self.classes) if self.classes is not None else 1

    @model_validator(mode="after")
    def _check_classes(self) -> "Target":
        if (self.task == "multiclass") != (self.classes is not None):
            raise ValueError("classes are for a multiclass task, which must name them, and for no other")
        if self.classes is not None and (len(self.classes) < 2 or len(set(self.classes)) < len(self.classes)):
            raise ValueError(f"classes must be two or more, each once; found {self.classes}")
        return self


class RowLimits(Section):
    """The allowed number of rows."""

    min: Annotated[PositiveInt, Weaker("smaller")]
    """The minimum number of rows."""
    max: Annotated[PositiveInt, Weaker("larger")]
    """The maximum number of rows."""

    @model_validator(mode="after")
    def _check_order(self) -> "RowLimits":
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class TableContract(Section):
    """Conditions on the table as a whole."""

    rows: RowLimits
    unique: Annotated[list[str], Weaker("any")] = []
    """The columns that together identify a row: no two rows share their values, and rows are sorted by them."""


class TimeSplit(Section):
    """A split by time: each part ends with its named day, and the next part begins after it."""

    by: Annotated[Literal["time"], Weaker("any")]
    """The kind of split."""
    train_until: Annotated[date, Field(strict=False), Weaker("earlier")]
    """The last day of the training part."""
    validation_until: Annotated[date, Field(strict=False), Weaker("earlier")]
    """The last day of the validation part."""
    test_until: Annotated[date, Field(strict=False), Weaker("earlier")]
    """The last day of the test part."""

    @model_validator(mode="after")
    def _check_order(self) -> "TimeSplit":
        if not self.train_until < self.validation_until < self.test_until:
            raise ValueError("train_until, validation_until and test_until must follow one another")
        return self


class ShareSplit(Section):
    """The settings common to all splits by share of rows."""

    by: Annotated[str, Weaker("any")]
    """The kind of split."""
    validation: Annotated[OpenShare, Weaker("any")]
    """The share of rows in the validation part."""
    test: Annotated[OpenShare, Weaker("smaller")]
    """The share of rows in the test part."""
    seed: Annotated[int, Field(ge=0, lt=2**32), Weaker("any")] = 0
    """The seed of the split; another seed gives another split."""

    @model_validator(mode="after")
    def _check_training_share(self) -> "ShareSplit":
        if self.validation + self.test >= 1:
            raise ValueError("validation and test must leave some rows to train on: their sum must be below 1")
        return self


class RandomSplit(ShareSplit):
    """A random split for rows without a time: the same on every run, and stratified by class."""

    by: Annotated[Literal["random"], Weaker("any")]
    """The kind of split."""


class GroupSplit(ShareSplit):
    """A split of whole groups: all rows of one patient, customer or machine go to the same part.

    The part depends on the seed and the groups, not on the order of the rows. Parts get their shares of the rows, and
    of each class, as closely as whole groups allow. Rows without a group go to the training part.
    """

    by: Annotated[Literal["group"], Weaker("any")]
    """The kind of split."""
    column: Annotated[str, Weaker("any")]
    """The column that identifies a row's group."""


Split = Annotated[TimeSplit | RandomSplit | GroupSplit, Field(discriminator="by")]


class Data(Section):
    """conf/data: the source of the rows, their contract and their split."""

    source: Annotated[Component, NoRule("locations are shown, and the gate compares the rows")]
    fingerprint: Annotated[
        str, Field(pattern=r"^sha256:[0-9a-f]{64}$"), NoRule("the gate compares the rows themselves")
    ]
    """The hash of the source's files, or of its rows if it reads no files; `merit compose` fills it in."""
    time: Annotated[str | None, Weaker("any")] = None
    """The datetime column that orders rows and, with `by: time`, splits them."""
    window: Window | None = None
    filter: Annotated[Expression | None, Weaker("any")] = None
    """A SQL condition on the source's columns; rows that don't satisfy it are dropped
    (docs/reference/expressions.md)."""
    target: Target
    columns: dict[str, Column]
    columns_sha256: Annotated[str, NoRule("the hash of what is compared itself")] = ""
    """The hash of `columns`. DVC's stages depend on it instead of on the columns, which would fill dvc.lock for a wide
    table; `merit compose` fills it in."""
    contract: TableContract
    split: Split

    @model_validator(mode="after")
    def _fill_columns_hash(self) -> "Data":
        columns = {name: column.model_dump(mode="json") for name, column in self.columns.items()}
        digest = f"sha256:{hashlib.sha256(json.dumps(columns).encode()).hexdigest()}"
        if self.columns_sha256 not in {"", digest}:
            raise ValueError("columns_sha256 is the hash of other columns: they were changed after it was computed")
        object.__setattr__(self, "columns_sha256", digest)  # frozen, but derived from another field
        return self

    @model_validator(mode="after")
    def _check_names(self) -> "Data":
        column_names = sorted(self.columns)
        names_by_key = {
            "time": [self.time] if self.time else [],
            "contract.unique": self.contract.unique,
            "split.column": [self.split.column] if isinstance(self.split, GroupSplit) else [],
        }
        for key, names in names_by_key.items():
            for name in names:
                if name not in self.columns:
                    raise ValueError(f"{key} names '{name}', which is not among the columns {column_names}")
        if isinstance(self.split, GroupSplit) and self.columns[self.split.column].type == "array":
            raise ValueError(f"split.column names '{self.split.column}', an array; name a column of texts or numbers")
        if self.time is not None and self.columns[self.time].type != "datetime":
            raise ValueError(f"time names '{self.time}', whose type is not datetime")
        for setting, needs_time in {
            "window": self.window is not None,
            "split.by: time": self.split.by == "time",
        }.items():
            if needs_time and self.time is None:
                raise ValueError(f"{setting} needs time to name a datetime column")
        self._check_known()
        self._check_target()
        self._check_separators()
        for name, column in self.columns.items():
            if name.startswith("/") or name == OUTPUT_NAME:
                raise ValueError(f"a column can't be named '{name}': the model's graph uses that name; rename it")
            if column.feature != "none" and not is_servable_name(name):
                raise ValueError(
                    f"a feature can't be named {name!r}: the endpoint takes no quotes, backslashes or line breaks in "
                    "the names of columns; rename it in the source, or give it feature: none"
                )
        if not any(column.feature != "none" for column in self.columns.values()):
            raise ValueError("no column is a feature; set 'feature' on some")
        return self

    def _check_known(self) -> None:
        """Check that `known.by` names a datetime column, to compare with data.time."""
        for name, column in self.columns.items():
            if column.known is None or column.known.by is None:
                continue
            by = self.columns.get(column.known.by)
            if self.time is None or by is None or by.type != "datetime":
                raise ValueError(
                    f"columns.{name}.known.by names '{column.known.by}'; it must be a datetime among the columns, and "
                    "data.time must name the time of the prediction"
                )

    def _check_separators(self) -> None:
        """Check that no column uses the same character for thousands as for decimals (its own or the source's)."""
        decimal = self.source.arguments.get("decimal")
        for name, column in self.columns.items():
            if column.thousands is not None and column.thousands == (column.decimal or decimal):
                raise ValueError(
                    f"columns.{name}: thousands and decimal are both '{column.thousands}'; a number needs two"
                )

    def _check_target(self) -> None:
        """Check that a column with the target's name only says how to read the source's column."""
        name = self.target.name
        if (column := self.columns.get(name)) is None:
            return
        if column.feature != "none" or name in {self.time, *self.contract.unique}:
            raise ValueError(
                f"the target '{name}' can't be a column that is kept too; among the columns, with feature: none, it "
                "says how the source's column is read; for a feature or a key give the target another name"
            )
        contract_keys = [key for key in ("min", "max", "allowed", "shape") if getattr(column, key) is not None]
        if contract_keys or column.missing:
            raise ValueError(
                f"the column '{name}' only says how the target's is read; {', '.join(contract_keys) or 'missing'} is "
                "for "
                "columns that are kept; leave it out, or drop rows by data.filter"
            )


class CategoryFeatures(Section):
    """How categories are fitted: a value in fewer than `min_count` training rows is unknown."""

    min_count: PositiveInt
    """The minimum number of training rows for a value to be known."""


class NumberFeatures(Section):
    """How numbers are fitted: standardised on training rows, then clipped at `clip` standard deviations."""

    clip: Annotated[float, Field(gt=0)]
    """The limit at which a number is clipped, in standard deviations."""


class Features(Section):
    """conf/features: how the preprocessing is fitted on training rows."""

    category: CategoryFeatures
    number: NumberFeatures
