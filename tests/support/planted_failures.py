"""Changes that must not merge, each with the check or stage that has to refuse it."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import onnx
import polars as pl

from merit import artifacts
from tests.support.champion_project import SOURCE, World

TRAIN_UNTIL = pl.date(2013, 1, 20)
DRAW = 0
"""Where random draws of the planted changes begin."""


@dataclass(frozen=True)
class Planted:
    """A change: how it is planted, the first stage that it makes stale, what is judged, and who must refuse it."""

    name: str
    plant: Callable[[World], None]
    refused_by: str
    first: str | None
    part: str | None = None


PLANTED: list[Planted] = []


def planted(
    refused_by: str, *, first: str | None = None, part: str | None = None
) -> Callable[..., Callable[..., None]]:
    """Enter a change into the list, under its function's name."""

    def enter(plant: Callable[[World], None]) -> Callable[[World], None]:
        name = plant.__name__.strip("_").replace("_", " ")
        PLANTED.append(Planted(name, plant, refused_by, first, part))
        return plant

    return enter


def data(refused_by: str) -> Callable[..., Callable[..., None]]:
    """Enter a change of the rows, which the data gate judges before any training."""
    return planted(refused_by, first="validate", part="data")


def trained(refused_by: str) -> Callable[..., Callable[..., None]]:
    """Enter a change that another model comes of."""
    return planted(refused_by, first="validate")


def _shuffled(column: str) -> pl.Expr:
    return pl.col(column).shuffle(seed=DRAW)


def _in_training() -> pl.Expr:
    return pl.col("departure").dt.date() <= TRAIN_UNTIL


# Data: caught before anything is trained.


@data("validate")
def duplicated_rows(world: World) -> None:
    world.rows(lambda rows: pl.concat([rows, rows.head(500)]).sort("departure"))


@data("validate")
def a_dropped_month(world: World) -> None:
    world.rows(lambda rows: rows.filter(pl.col("departure").dt.day() > 12))


@data("validate")
def missing_values_where_none_may_be(world: World) -> None:
    world.rows(lambda rows: rows.with_columns(dest=pl.when(pl.col("flight") % 3 == 0).then(None).otherwise("dest")))


@data("validate")
def a_column_swapped_with_another(world: World) -> None:
    world.rows(lambda rows: rows.rename({"carrier": "origin", "origin": "carrier"}).select(rows.columns))


@data("validate")
def minutes_become_seconds(world: World) -> None:
    world.rows(lambda rows: rows.with_columns(pl.col("departure_minute") * 60))


@data("data: drift")
def miles_become_kilometres(world: World) -> None:
    world.rows(lambda rows: rows.with_columns(pl.col("wind_speed") * 1.609))


@data("data: drift")
def fahrenheit_becomes_celsius(world: World) -> None:
    world.rows(lambda rows: rows.with_columns((pl.col("temp") - 32) / 1.8))


@data("data: drift")
def two_numbers_swapped(world: World) -> None:
    world.rows(lambda rows: rows.rename({"temp": "dewp", "dewp": "temp"}).select(rows.columns))


@data("data: rows")
def a_stuck_sensor(world: World) -> None:
    world.rows(lambda rows: rows.with_columns(visib=pl.when(pl.col("flight") % 3 > 0).then(10.0).otherwise("visib")))


@data("data: categories")
def airports_renamed(world: World) -> None:
    world.rows(lambda rows: rows.with_columns(dest=pl.col("dest").str.to_lowercase()))


@data("data: missing")
def a_feed_that_broke(world: World) -> None:
    """The contract allows a quarter of planes to be unknown; that a fifth now is, where few were, is news."""
    world.rows(lambda rows: rows.with_columns(seats=pl.when(pl.col("flight") % 8 == 0).then(None).otherwise("seats")))


@data("data: leakage, one column")
def a_column_that_gives_the_target_away(world: World) -> None:
    world.rows(lambda rows: rows.with_columns(precip=pl.col("late").cast(pl.Float64) + pl.col("precip").fill_null(0)))


@data("data: leakage, shared rows")
def rows_of_the_test_part_among_those_to_train_on(world: World) -> None:
    def copied(rows: pl.DataFrame) -> pl.DataFrame:
        test = rows.filter(pl.col("departure").dt.day() > 25)
        return pl.concat(
            [rows, test.with_columns(pl.col("departure") - timedelta(days=14), flight=pl.col("flight") % 5000 + 4999)]
        ).sort("departure")

    world.set("data.contract.rows.max=60000")
    world.rows(copied)


@data("data: label noise")
def the_same_rows_with_other_labels(world: World) -> None:
    def doubled(rows: pl.DataFrame) -> pl.DataFrame:
        again = rows.with_columns(flight=pl.col("flight") % 9000 + 1, late=1 - pl.col("late"))
        return pl.concat([rows, again.sample(fraction=0.3, seed=DRAW)]).sort("departure")

    world.set("data.contract.rows.max=60000", "data.contract.unique=[]")
    world.rows(doubled)


@data("data: constant target")
def a_constant_target_in_the_test_rows(world: World) -> None:
    world.rows(
        lambda rows: rows.with_columns(late=pl.when(pl.col("departure").dt.day() > 25).then(0).otherwise("late"))
    )


@data("data: target rate")
def far_more_of_them_late(world: World) -> None:
    world.rows(
        lambda rows: rows.with_columns(late=pl.when(pl.col("flight") % 3 == 0).then(1).otherwise("late").cast(pl.Int8))
    )


@data("data: labels")
def one_carriers_labels_inverted(world: World) -> None:
    inverted = pl.col("carrier") == "DL"
    world.rows(lambda rows: rows.with_columns(late=pl.when(inverted).then(1 - pl.col("late")).otherwise("late")))


@data("data: labels")
def a_day_of_labels_shifted_by_a_row(world: World) -> None:
    shifted = pl.when(pl.col("departure").dt.day() == 9).then(pl.col("late").shift(1)).otherwise("late")
    world.rows(lambda rows: rows.with_columns(late=shifted))


@data("data: labels")
def one_in_twenty_late_flights_lost(world: World) -> None:
    world.rows(lambda rows: rows.filter((pl.col("late") == 0) | (pl.int_range(pl.len()) % 20 > 0)))


@data("data: filter")
def a_filter_that_drops_the_hard_cases(world: World) -> None:
    world.set('data.filter="arr_delay IS NOT NULL AND arr_delay NOT BETWEEN 12 AND 17"')


@data("data: drift, test")
def celsius_in_the_test_rows_alone(world: World) -> None:
    celsius = pl.when(pl.col("departure").dt.day() > 25).then((pl.col("temp") - 32) / 1.8).otherwise("temp")
    world.rows(lambda rows: rows.with_columns(temp=celsius))


# Stages: what can't be computed is no candidate.


@planted("compose", first="ingest")
def code_in_yaml(world: World) -> None:
    Path("conf/optimizer/adamw.yaml").write_text("_target_: os.system\ncommand: touch caught\n", encoding="utf-8")
    world.set("seed=8")


@planted("ingest", first="ingest")
def a_source_that_changed_after_the_lock_was_made(world: World) -> None:
    world.edit("params.yaml", "fingerprint: sha256:", "fingerprint: sha256:0")


@planted("features", first="features")
def a_truncated_table(world: World) -> None:
    path = world.folder / artifacts.RAW
    path.write_bytes(path.read_bytes()[:-5000])


@planted("package", first="package")
def a_preprocessing_that_was_swapped(world: World) -> None:
    """The arrays were made by another graph than the one that ships."""
    model = onnx.load(str(artifacts.TRANSFORM))
    for node in model.graph.initializer:
        if node.name.endswith("/mean"):
            node.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(node) * 1.1, node.name))
    onnx.save(model, str(artifacts.TRANSFORM))


@planted("evaluate", first="evaluate")
def weights_that_are_no_numbers(world: World) -> None:
    world.weights(lambda name, values: values * np.nan)


@planted("gate")
def a_truncated_package(world: World) -> None:
    path = artifacts.PACKAGE / artifacts.GRAPH
    path.write_bytes(path.read_bytes()[:-100])


@planted("gate")
def a_package_with_a_file_too_many(world: World) -> None:
    (artifacts.PACKAGE / "extra.py").write_text("print('hello')")


@planted("gate")
def a_package_of_another_configuration(world: World) -> None:
    world.edit("params.yaml", "batch_size: 512", "batch_size: 256")


# Models: trained, packaged, and not good enough or not what they seem.


@trained("champion: roc_auc")
def shuffled_labels(world: World) -> None:
    world.rows(lambda rows: rows.with_columns(pl.when(_in_training()).then(_shuffled("late")).otherwise("late")))


@trained("floor: roc_auc")
def a_model_that_learned_nothing(world: World) -> None:
    world.set("optimizer.lr=0.0000001", "trainer.max_epochs=1")


@trained("slices")
def poisoned_rows_of_one_carrier(world: World) -> None:
    poisoned = _in_training() & (pl.col("carrier") == "B6")
    world.rows(lambda rows: rows.with_columns(late=pl.when(poisoned).then(1 - pl.col("late")).otherwise("late")))


@trained("direction: less_sight_before")
def fog_that_does_no_harm(world: World) -> None:
    """Late flights in fog are lost from the training rows, as by a filter gone wrong."""
    lost = _in_training() & (pl.col("visib_6h") < 8) & (pl.col("late") == 1)
    world.set("data.contract.rows.min=10000")
    world.rows(lambda rows: rows.filter(~lost | pl.col("visib_6h").is_null()))


@trained("robustness: missing")
def a_model_that_leans_on_what_may_be_missing(world: World) -> None:
    """Seats are always known in the training rows, and say much."""
    told = pl.when(pl.col("late") == 1).then(pl.col("seats") + 400).otherwise(pl.col("seats"))
    half = pl.col("flight") % 2 == 0
    world.rows(lambda rows: rows.with_columns(seats=pl.when(half).then(told).otherwise("seats").clip(1, 1000)))


@trained("size")
def a_larger_model(world: World) -> None:
    world.set("model.hidden=[2048,2048]", "trainer.max_epochs=1")


@trained("time: 1,000 rows")
def a_slower_model(world: World) -> None:
    world.set("model.hidden=[512,512,512,512,512,512]", "trainer.max_epochs=1", "gate.size_mb=50")


@planted("calibration", first="evaluate")
def a_model_that_is_too_sure_of_itself(world: World) -> None:
    world.weights(lambda name, values: values * 4 if name.startswith("rest") else values)


@planted("champion: log_loss", first="evaluate")
def a_model_worse_by_about_the_margin(world: World) -> None:
    """The difference lies so near the margin that these rows can't tell on which side."""
    world.weights(lambda name, values: values * 1.6 if name.startswith("rest") else values)


@planted("parity", first=None)
def another_vocabulary_at_serving(world: World) -> None:
    def turned(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            for attribute in node.attribute:
                if attribute.name == "keys_strings" and len(attribute.strings) > 2:
                    attribute.strings[:] = [*attribute.strings[1:], attribute.strings[0]]

    world.graph(turned)


@planted("parity", first=None)
def predictions_of_another_model(world: World) -> None:
    world.rows(lambda rows: rows.with_columns(pl.col("prediction") * 0.9), artifacts.PREDICTIONS)


@planted("parity", first="validate")
def training_that_reads_the_source_otherwise(world: World) -> None:
    """As a reader did that took codes for numbers: what it learned, no caller ever sends."""
    shutil.copyfile(artifacts.TEST_ROWS, SOURCE)
    world.rows(lambda rows: rows.with_columns(pl.col("dest").str.strip_chars_start("ABCDE")))


@planted("rules", first="train")
def a_threshold_weakened_with_the_model(world: World) -> None:
    world.set("trainer.max_epochs=2", "gate.floors.roc_auc=0.5")


@planted("rules", first="train")
def a_check_removed_with_the_model(world: World) -> None:
    world.set("trainer.max_epochs=2", "~gate.floors.log_loss")


def _waive(world: World, check: str, until: str) -> None:
    waiver = f"  waivers: {{'{check}': {{reason: until the summer is over, until: {until}}}}}\n"
    world.edit("conf/size/small.yaml", "  calibration: 0.1\n", "  calibration: 0.1\n" + waiver)
    world.set("gate.floors.roc_auc=0.9")


@planted("floor: roc_auc")
def an_expired_waiver(world: World) -> None:
    _waive(world, "floor: roc_auc", "2020-06-30")


@planted("waivers")
def a_waiver_of_no_check(world: World) -> None:
    _waive(world, "flor: roc_auc", "2099-01-01")


@planted("compose")
def a_waiver_of_what_can_not_be_waived(world: World) -> None:
    _waive(world, "parity", "2099-01-01")


# What is compared with.


@planted("data: rows", first="validate", part="data")
def an_empty_reference(world: World) -> None:
    world.champion(lambda rows: rows.clear())


@planted("data: missing", first="validate", part="data")
def a_reference_that_lacks_nothing(world: World) -> None:
    world.champion(lambda rows: rows.with_columns(pl.col("seats", "plane_age").fill_null(1)))


@planted("champion", first="train")
def a_champion_that_nobody_has(world: World) -> None:
    shutil.rmtree(".dvc/cache")
    world.set("trainer.max_epochs=2")
