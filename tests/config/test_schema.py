from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from merit.config.schema import Lock
from merit.config.schema.column import Column

Make = Callable[..., Lock]


def _refusal(make_lock: Make, edit: Callable[[dict[str, Any]], object]) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        make_lock(edit)
    return [(".".join(map(str, each["loc"])), each["msg"]) for each in caught.value.errors()]


def _put(key: str, value: Any) -> Callable[[dict[str, Any]], object]:
    *path, last = key.split(".")

    def edit(values: dict[str, Any]) -> None:
        for part in path:
            values = values[part]
        values[last] = value

    return edit


def test_the_tiny_lock_is_valid(lock: Lock) -> None:
    assert lock.model.target == "merit.models.networks.Linear"
    assert lock.optimizer.arguments == {"lr": 0.01}


def test_a_lock_can_not_be_changed(lock: Lock) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        lock.seed = 8  # type: ignore[misc]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "Flights"),
        ("name", "1st"),
        ("name", "a b"),
        ("name", ""),
        ("name", "../x"),
        ("name", "x" * 101),
        ("seed", -1),
        ("seed", 2**32),
        ("seed", 1.0),
        ("seed", True),
        ("seed", "7"),
        ("data.fingerprint", "sha256:0"),
        ("data.fingerprint", "md5:" + "0" * 64),
        ("data.time", 5),
        ("data.window.start", "yesterday"),
        ("data.columns.size.type", "float"),
        ("data.columns.size.feature", "text"),
        ("data.columns.size.missing", 1.01),
        ("data.columns.size.missing", -0.01),
        ("data.contract.rows.min", 0),
        ("features.category.min_count", 0),
        ("features.number.clip", 0.0),
        ("features.number.clip", -1.0),
        ("trainer.max_epochs", 0),
        ("trainer.batch_size", 0),
        ("trainer.patience", 0),
        ("trainer.schedule", "linear"),
        ("trainer.accelerator", "tpu"),
        ("trainer.devices", 0),
        ("trainer.precision", "8"),
        ("trainer.threads", 0),
        ("evaluate.resamples", 99),
        ("evaluate.slice_resamples", 99),
        ("evaluate.confidence", 0.0),
        ("evaluate.confidence", 1.0),
        ("evaluate.slice_min_rows", 0),
        ("evaluate.baseline.max_iter", "many"),
        ("package.parity.rows", 0),
        ("package.parity.tolerance", 0.0),
        ("gate.baseline.margin", -0.01),
        ("gate.calibration", 0.0),
        ("gate.parity", 0.0),
        ("gate.size_mb", 0.0),
        ("gate.resamples", 99),
        ("gate.confidence", 1.0),
        ("serve.port", 0),
        ("serve.port", 65536),
        ("serve.workers", 0),
        ("serve.max_rows", 0),
        ("serve.max_bytes", 0),
        ("serve.timeout_seconds", 0),
    ],
)
def test_a_value_out_of_range_or_of_another_type_is_refused_at_its_key(make_lock: Make, key: str, value: Any) -> None:
    places = [place for place, _ in _refusal(make_lock, _put(key, value))]
    assert places
    assert all(place.startswith(key) for place in places)


@pytest.mark.parametrize(
    "section", ["", "data.", "trainer.", "gate.", "serve.", "data.columns.size.", "package.parity."]
)
def test_an_unknown_key_is_refused_in_every_section(make_lock: Make, section: str) -> None:
    ((place, message),) = _refusal(make_lock, _put(f"{section}surprise", 1))
    assert place == f"{section}surprise"
    assert "Extra inputs are not permitted" in message


def test_an_unknown_metric_is_no_floor(make_lock: Make) -> None:
    ((_, message),) = _refusal(make_lock, _put("gate.floors.accuracy", 0.5))
    assert "gate.floors names 'accuracy', which is no metric of a binary task; allowed: roc_auc" in message


@pytest.mark.parametrize("key", ["trainer.monitor", "gate.baseline.metric"])
def test_a_metric_of_another_task_is_refused(make_lock: Make, key: str) -> None:
    ((_, message),) = _refusal(make_lock, _put(key, "accuracy"))
    assert "names 'accuracy', which is no metric of a binary task" in message


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ({"task": "multiclass"}, "classes are for a multiclass task, which must name them"),
        ({"classes": ["a", "b"]}, "classes are for a multiclass task, which must name them"),
        ({"task": "multiclass", "classes": ["a"]}, "classes must be two or more, each once"),
        ({"task": "multiclass", "classes": ["a", "a"]}, "classes must be two or more, each once"),
    ],
)
def test_classes_are_those_of_a_multiclass_target(make_lock: Make, target: dict[str, Any], words: str) -> None:
    ((place, message),) = _refusal(make_lock, lambda values: values["data"]["target"].update(target))
    assert place == "data.target"
    assert words in message


@pytest.mark.parametrize("column", [{"type": "array"}, {"type": "number", "shape": [2]}])
def test_a_shape_belongs_to_an_array(make_lock: Make, column: dict[str, Any]) -> None:
    ((_, message),) = _refusal(make_lock, _put("data.columns.extra", column))
    assert "shape is for columns of type array, which must have one" in message


def test_a_split_by_lot_leaves_rows_to_train_on(make_lock: Make) -> None:
    shares = {"by": "random", "validation": 0.5, "test": 0.5}
    ((_, message),) = _refusal(make_lock, _put("data.split", shares))
    assert "validation and test must leave some rows to train on" in message


def test_a_split_by_group_names_a_column_that_can_name_groups(make_lock: Make) -> None:
    split = {"by": "group", "column": "patient", "validation": 0.2, "test": 0.2}
    ((_, message),) = _refusal(make_lock, _put("data.split", split))
    assert "split.column names 'patient', which is not among the columns" in message

    def edit(values: dict[str, Any]) -> None:
        values["data"]["columns"]["patient"] = {"type": "array", "shape": [2]}
        values["data"]["split"] = split

    ((_, message),) = _refusal(make_lock, edit)
    assert "split.column names 'patient', an array; name a column of texts or numbers" in message


def test_a_table_without_a_time_is_split_by_lot(make_lock: Make) -> None:
    def edit(values: dict[str, Any]) -> None:
        values["data"]["split"] = {"by": "random", "validation": 0.2, "test": 0.2}
        values["data"]["time"] = values["data"]["window"] = None

    assert make_lock(edit).data.time is None
    ((_, message),) = _refusal(make_lock, lambda values: values["data"].update(time=None, window=None))
    assert "split.by: time needs time to name a datetime column" in message


def test_a_window_that_ends_before_it_starts_is_refused(make_lock: Make) -> None:
    ((place, message),) = _refusal(make_lock, _put("data.window.end", "2023-12-31"))
    assert place == "data.window"
    assert "the window ends on 2023-12-31, before it starts on 2024-01-01" in message


def test_a_window_of_one_day_is_allowed(make_lock: Make) -> None:
    window = make_lock(_put("data.window.end", "2024-01-01")).data.window
    assert window.start == window.end


@pytest.mark.parametrize(
    ("key", "day"), [("train_until", "2024-03-31"), ("validation_until", "2024-12-31"), ("test_until", "2024-03-31")]
)
def test_parts_that_do_not_follow_one_another_are_refused(make_lock: Make, key: str, day: str) -> None:
    ((place, message),) = _refusal(make_lock, _put(f"data.split.{key}", day))
    assert place == "data.split.time"  # of what pydantic calls a kind of split
    assert "train_until, validation_until and test_until must follow one another" in message


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (
            {"type": "datetime", "feature": "number"},
            "a column of type datetime can't be a number feature; allowed: time, none",
        ),
        ({"type": "datetime", "feature": "category"}, "a column of type datetime can't be a category feature"),
        (
            {"type": "string", "feature": "number"},
            "a column of type string can't be a number feature; allowed: category, none",
        ),
        (
            {"type": "number", "feature": "category"},
            "a column of type number can't be a category feature; allowed: number, none",
        ),
        (
            {"type": "boolean", "feature": "category"},
            "a column of type boolean can't be a category feature; allowed: number, none",
        ),
        ({"type": "string", "min": 1}, "min and max are for integers, numbers and arrays, not for a string"),
        ({"type": "datetime", "max": 1}, "min and max are for integers, numbers and arrays, not for a datetime"),
        ({"type": "boolean", "max": 1}, "min and max are for integers, numbers and arrays, not for a boolean"),
    ],
)
def test_a_column_that_its_type_does_not_allow_is_refused(make_lock: Make, column: dict[str, Any], words: str) -> None:
    ((place, message),) = _refusal(make_lock, _put("data.columns.extra", column))
    assert place == "data.columns.extra"
    assert words in message


@pytest.mark.parametrize(
    "column",
    [
        {"type": "boolean", "feature": "number"},
        {"type": "integer", "feature": "number"},
        {"type": "integer", "feature": "category", "allowed": [1, 2]},
        {"type": "string", "feature": "category", "allowed": ["a"]},
        {"type": "number", "min": 0, "max": 0.5},
    ],
)
def test_a_column_that_its_type_allows_is_taken(make_lock: Make, column: dict[str, Any]) -> None:
    assert make_lock(_put("data.columns.extra", column)).data.columns["extra"].type == column["type"]


@pytest.mark.parametrize(
    "column",
    [
        {"type": "integer", "allowed": ["a"]},
        {"type": "string", "allowed": [1]},
        {"type": "datetime", "allowed": ["2024-01-01"]},
    ],
)
def test_allowed_values_of_another_type_than_the_column_are_refused(make_lock: Make, column: dict[str, Any]) -> None:
    ((place, _),) = _refusal(make_lock, _put("data.columns.extra", column))
    assert place.startswith("data.columns.extra")


def test_a_column_whose_least_is_above_its_greatest_is_refused(make_lock: Make) -> None:
    ((place, _),) = _refusal(make_lock, _put("data.columns.extra", {"type": "number", "min": 2, "max": 1}))
    assert place == "data.columns.extra"


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ({"type": "number", "format": "%d.%m.%Y"}, "format is for columns of type datetime, not for a number"),
        ({"type": "datetime", "format": "d.m.Y"}, "format: found 'd.m.Y'; a format names a year"),
        (
            {"type": "string", "decimal": ",", "affixes": ["$"]},
            "decimal and affixes are for integers and numbers, not for",
        ),
        (
            {"type": "number", "thousands": ".", "decimal": "."},
            "thousands and decimal are both '.'; a number needs two signs",
        ),
        ({"type": "array", "shape": [2], "null_values": ["-"]}, "null_values are words, which an array has none of"),
        ({"type": "number", "decimal": "'"}, "Input should be '.' or ','"),
        ({"type": "number", "affixes": [""]}, "String should have at least 1 character"),
    ],
)
def test_ways_of_writing_that_a_column_can_not_have_are_refused(
    make_lock: Make, column: dict[str, Any], words: str
) -> None:
    (_, message), *_ = _refusal(make_lock, _put("data.columns.extra", column))
    assert words in message


def test_what_groups_digits_is_not_what_the_source_puts_before_fractions(make_lock: Make) -> None:
    def edit(values: dict[str, Any]) -> None:
        values["data"]["source"]["decimal"] = ","
        values["data"]["columns"]["extra"] = {"type": "number", "thousands": ","}

    ((_, message),) = _refusal(make_lock, edit)
    assert "columns.extra: thousands and decimal are both ','; a number needs two" in message


@pytest.mark.parametrize("source", [{}, {"decimal": ","}])
def test_a_point_that_groups_digits_needs_no_word_of_what_parts_fractions(
    make_lock: Make, source: dict[str, str]
) -> None:
    def edit(values: dict[str, Any]) -> None:
        values["data"]["source"].update(source)
        values["data"]["columns"]["extra"] = {"type": "number", "thousands": "."}

    assert make_lock(edit).data.columns["extra"].thousands == "."


def test_a_column_of_the_targets_name_says_how_the_source_is_read(make_lock: Make) -> None:
    column = {"type": "number", "decimal": ",", "null_values": ["-"]}
    found = make_lock(_put("data.columns.late", column)).data.columns["late"]
    assert found.model_dump() == {**column, "feature": "none", "missing": 0.0}  # and nothing that isn't set


def test_fewest_rows_above_most_rows_are_refused(make_lock: Make) -> None:
    ((place, _),) = _refusal(make_lock, _put("data.contract.rows.min", 1001))
    assert place == "data.contract.rows"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("data.time", "wen", "time names 'wen', which is not among the columns"),
        ("data.contract.unique", ["when", "id"], "contract.unique names 'id', which is not among the columns"),
        ("data.time", "size", "time names 'size', whose type is not datetime"),
        ("data.target.name", "size", "the target 'size' can't be a column that is kept too"),
        ("data.columns", {"when": {"type": "datetime"}}, "no column is a feature; set 'feature' on some"),
        (
            "data.columns.late",
            {"type": "number", "min": 0},
            "the column 'late' only says how the target's is read; min is",
        ),
        ("data.columns.late", {"type": "number", "missing": 0.1}, "only says how the target's is read; missing is"),
        (
            "data.columns.late",
            {"type": "number", "feature": "number"},
            "the target 'late' can't be a column that is kept",
        ),
        ('data.columns.a"b', {"type": "number", "feature": "number"}, "a feature can't be named 'a\"b': the endpoint"),
    ],
)
def test_names_that_do_not_agree_are_refused(make_lock: Make, key: str, value: Any, words: str) -> None:
    ((place, message),) = _refusal(make_lock, _put(key, value))
    assert place == "data"
    assert words in message


def test_a_slice_by_an_undeclared_column_is_refused_with_what_is_allowed(make_lock: Make) -> None:
    ((_, message),) = _refusal(make_lock, _put("evaluate.slices", ["shop", "shp"]))
    assert "evaluate.slices names 'shp', which is no column; allowed: " in message
    assert "shop" in message


def test_a_component_needs_a_target(make_lock: Make) -> None:
    ((place, message),) = _refusal(make_lock, _put("model", {"hidden": [1]}))
    assert (place, message) == ("model._target_", "Field required")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_limit_that_is_no_finite_number_is_refused(number: float) -> None:
    with pytest.raises(ValidationError, match="finite number"):
        Column(type="number", min=number)
