"""conf/data and conf/features: where rows come from, what they must look like, and what is made of them."""

import hashlib
import json
from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from merit.config.schema.base import OUTPUT, Component, Interval, Positive, Section
from merit.config.schema.column import Column, can_be_served
from merit.expression import ExpressionError, parse


def _expression(text: str) -> str:
    """Refuse what is no expression of merit's grammar; no engine has seen the text yet."""
    try:
        return parse(text).text
    except ExpressionError as error:
        raise ValueError(str(error)) from error


Expression = Annotated[str, AfterValidator(_expression)]
"""A SQL expression on the columns of a table (docs/expressions.md)."""


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
    sql: Expression
    """A SQL expression on the source's columns: a condition, a number or a class, as the task asks
    (docs/expressions.md)."""
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


class Shares(Section):
    """What a split by shares of the rows says, whatever it draws."""

    by: str
    """How rows are split."""
    validation: Interval
    """The share of rows that fall to the validation part."""
    test: Interval
    """The share of rows that fall to the test part."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Another seed is another split."""

    @model_validator(mode="after")
    def _leaves_some(self) -> "Shares":
        if self.validation + self.test >= 1:
            raise ValueError("validation and test must leave some rows to train on: their sum must be below 1")
        return self


class RandomSplit(Shares):
    """The split by lot, the same on every run, for rows that have no time; classes keep their shares in each part."""

    by: Literal["random"]
    """How rows are split."""


class GroupSplit(Shares):
    """The split of whole groups: all rows of one patient, customer or machine fall to the same part.

    Which part that is depends on the seed and the groups, not on the order of the rows. Parts get their shares of the
    rows, and of each class, as nearly as whole groups allow. Rows without a group fall to the training part.
    """

    by: Literal["group"]
    """How rows are split."""
    column: str
    """The column that names the group of a row."""


Split = Annotated[TimeSplit | RandomSplit | GroupSplit, Field(discriminator="by")]


class Data(Section):
    """conf/data: where rows come from, what they must look like, how they are split."""

    source: Component
    fingerprint: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    """The hash of the files that the source reads; `merit compose` fills it in."""
    time: str | None = None
    """The datetime column that rows are ordered and, with `by: time`, split by."""
    window: Window | None = None
    filter: Expression | None = None
    """A SQL condition on the source's columns; rows for which it doesn't hold are left out (docs/expressions.md)."""
    target: Target
    columns: dict[str, Column]
    columns_sha256: str = ""
    """The hash of `columns`, by which DVC's stages depend on them: of a wide table dvc.lock would hold little else;
    `merit compose` fills it in."""
    contract: Contract
    split: Split

    @model_validator(mode="after")
    def _knows_its_columns(self) -> "Data":
        columns = {name: column.model_dump(mode="json") for name, column in self.columns.items()}
        made = f"sha256:{hashlib.sha256(json.dumps(columns).encode()).hexdigest()}"
        if self.columns_sha256 not in {"", made}:
            raise ValueError("columns were changed, for columns_sha256 was made of others")
        object.__setattr__(self, "columns_sha256", made)  # what is frozen is so for others
        return self

    @model_validator(mode="after")
    def _names_agree(self) -> "Data":
        known = sorted(self.columns)
        named = {
            "time": [self.time] if self.time else [],
            "contract.unique": self.contract.unique,
            "split.column": [self.split.column] if isinstance(self.split, GroupSplit) else [],
        }
        for place, names in named.items():
            for name in names:
                if name not in self.columns:
                    raise ValueError(f"{place} names '{name}', which is not among the columns {known}")
        if isinstance(self.split, GroupSplit) and self.columns[self.split.column].type == "array":
            raise ValueError(f"split.column names '{self.split.column}', an array; name a column of texts or numbers")
        if self.time is not None and self.columns[self.time].type != "datetime":
            raise ValueError(f"time names '{self.time}', whose type is not datetime")
        for needing, needs in {"window": self.window is not None, "split.by: time": self.split.by == "time"}.items():
            if needs and self.time is None:
                raise ValueError(f"{needing} needs time to name a datetime column")
        self._check_target()
        self._check_signs()
        for name, column in self.columns.items():
            if name.startswith("/") or name == OUTPUT:
                raise ValueError(f"a column can't be named '{name}': the model's graph uses that name; rename it")
            if column.feature != "none" and not can_be_served(name):
                raise ValueError(
                    f"a feature can't be named {name!r}: the endpoint takes no quotes, backslashes or line breaks in "
                    "the names of columns; rename it in the source, or give it feature: none"
                )
        if not any(column.feature != "none" for column in self.columns.values()):
            raise ValueError("no column is a feature; set 'feature' on some")
        return self

    def _check_signs(self) -> None:
        """Check that no column groups digits by what stands before the fraction in all columns of the source."""
        decimal = self.source.arguments.get("decimal")
        for name, column in self.columns.items():
            if column.thousands is not None and column.thousands == (column.decimal or decimal):
                raise ValueError(
                    f"columns.{name}: thousands and decimal are both '{column.thousands}'; a number needs two"
                )

    def _check_target(self) -> None:
        """Check that a column of the target's name says no more than how the source's is read."""
        name = self.target.name
        if (column := self.columns.get(name)) is None:
            return
        if column.feature != "none" or name in {self.time, *self.contract.unique}:
            raise ValueError(
                f"the target '{name}' can't be a column that is kept too; among the columns, with feature: none, it "
                "says how the source's column is read; for a feature or a key give the target another name"
            )
        others = [key for key in ("min", "max", "allowed", "shape") if getattr(column, key) is not None]
        if others or column.missing:
            raise ValueError(
                f"the column '{name}' only says how the target's is read; {', '.join(others) or 'missing'} is for "
                "columns that are kept; leave it out, or drop rows by data.filter"
            )


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
