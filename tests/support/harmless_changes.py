"""Changes that may merge: they come of another draw, of another way to write the same, or of asking for more."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from merit import artifacts
from tests.support.champion_project import World


@dataclass(frozen=True)
class Harmless:
    """A change: how it is made, and the first stage that it makes stale."""

    name: str
    make: Callable[[World], None]
    first: str | None


HARMLESS: list[Harmless] = []


def harmless(first: str | None = None) -> Callable[..., Callable[..., None]]:
    """Enter a change into the list, under its function's name."""

    def enter(make: Callable[[World], None]) -> Callable[[World], None]:
        HARMLESS.append(Harmless(make.__name__.replace("_", " "), make, first))
        return make

    return enter


@harmless("train")
def another_seed(world: World) -> None:
    world.set("seed=1")


@harmless("train")
def yet_another_seed(world: World) -> None:
    world.set("seed=2")


@harmless("train")
def a_seed_for_good_luck(world: World) -> None:
    world.set("seed=77")


@harmless("compose")
def a_comment(world: World) -> None:
    world.edit("conf/optimizer/adamw.yaml", "_target_", "# decoupled weight decay\n_target_")


@harmless("compose")
def keys_in_another_order(world: World) -> None:
    path = Path("conf/size/small.yaml")
    head, gate = path.read_text(encoding="utf-8").split("gate:\n")
    trainer = next(line for line in head.splitlines(keepends=True) if line.startswith("trainer:"))
    path.write_text(head.replace(trainer, "") + "gate:\n" + gate + trainer, encoding="utf-8")


@harmless("compose")
def a_choice_renamed(world: World) -> None:
    Path("conf/optimizer/adamw.yaml").rename("conf/optimizer/usual.yaml")
    world.edit("conf/config.yaml", "optimizer: adamw", "optimizer: usual")


@harmless("compose")
def a_model_that_nobody_chose(world: World) -> None:
    world.edit("conf/model/linear.yaml", "_target_", "# the simplest\n_target_")


@harmless("validate")
def a_description_of_a_column(world: World) -> None:
    world.edit("conf/data/flights.yaml", "description: miles}", "description: miles as the crow flies}")
    world.redo("compose", "compose")


@harmless("compose")
def another_port(world: World) -> None:
    world.set("serve.port=3001")


@harmless()
def a_readme(world: World) -> None:
    Path("README.md").write_text("# Flights\n", encoding="utf-8")


@harmless("validate")
def rows_in_another_order(world: World) -> None:
    world.rows(lambda rows: rows.sample(fraction=1.0, shuffle=True, seed=0))


@harmless("validate")
def columns_in_another_order(world: World) -> None:
    world.rows(lambda rows: rows.select(sorted(rows.columns)))


@harmless("validate")
def another_compression(world: World) -> None:
    pl.read_parquet(artifacts.RAW).write_parquet(Path("other.parquet"), compression="snappy")
    Path("other.parquet").replace(artifacts.RAW)


@harmless("validate")
def numbers_that_were_stored_in_single_precision(world: World) -> None:
    floats = pl.selectors.float()
    world.rows(lambda rows: rows.with_columns(floats.cast(pl.Float32).cast(pl.Float64)))


@harmless("validate")
def a_few_rows_less(world: World) -> None:
    world.rows(lambda rows: rows.sample(fraction=0.995, seed=0).sort("departure"))


@harmless("validate")
def a_few_labels_corrected(world: World) -> None:
    mended = pl.col("flight") % 200 == 0
    world.rows(lambda rows: rows.with_columns(late=pl.when(mended).then(1 - pl.col("late")).otherwise("late")))


@harmless("validate")
def a_sensor_rounds_otherwise(world: World) -> None:
    world.rows(
        lambda rows: rows.with_columns(
            pl.when(pl.col("flight") % 30 == 0).then(pl.col("temp").round(0)).otherwise("temp")
        )
    )


@harmless("train")
def more_patience(world: World) -> None:
    world.set("trainer.patience=5")


@harmless("train")
def smaller_batches(world: World) -> None:
    world.set("trainer.batch_size=256")


@harmless("train")
def slower_learning(world: World) -> None:
    world.set("optimizer.lr=0.0008")


@harmless("train")
def a_wider_network(world: World) -> None:
    world.set("model.hidden=[320,160]")


@harmless("train")
def less_dropout(world: World) -> None:
    world.set("model.dropout=0.15")


@harmless("compose")
def a_stricter_gate(world: World) -> None:
    world.set("gate.floors.roc_auc=0.61", "gate.size_mb=10")


@harmless("compose")
def more_resamples(world: World) -> None:
    world.set("gate.resamples=3000")
