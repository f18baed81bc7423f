"""What Lightning costs: rows per second of merit's training beside a loop by hand, and beside Lightning's usual way.

All train the same network with the same optimizer, schedule and threads on the same rows. Each round gives every way
a warm-up epoch and a measured one; validation is not counted. Of the two loops by hand, one gathers the rows of each
batch by the epoch's permutation, the other shuffles all rows once and slices them; the goal is held to the faster.

The column "ceiling" is what the loop by hand itself reaches against each: a large network leaves little to win.

Usage, in the root of the repository: python benchmarks/training.py [OVERRIDE]... [--batch N] [--rounds N] [--synthetic]
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import lightning.pytorch as lightning
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, TensorDataset

from merit import artifacts, network
from merit.config import targets
from merit.config.compose import compose
from merit.config.schema import Lock
from merit.network import Predictor, Rows, read_part
from merit.training import run
from merit.training.batches import Batches
from merit.training.module import Learner

HAND_GOAL = 0.9
USUAL_GOAL = 1.8
EPOCHS = 2
"""The warm-up epoch and the measured one."""

SYNTHETIC_ROWS = 217_727
SYNTHETIC_CARDINALITIES = [16, 4, 96, 8, 20]
SYNTHETIC_NUMBERS = 38


@dataclass(frozen=True)
class Task:
    """What is trained: the configuration, the rows, and the network's sizes."""

    lock: Lock
    train: Rows
    validation: Rows
    cardinalities: list[int]

    def network(self) -> nn.Module:
        """Return the network of conf/model with fresh weights."""
        arguments = self.lock.model.model_dump(by_alias=True)
        made: nn.Module = targets.build(
            arguments, cardinalities=self.cardinalities, numbers=self.train.inputs[1].shape[1]
        )
        return made

    @property
    def is_cosine(self) -> bool:
        """Say whether the learning rate falls along a cosine."""
        return self.lock.trainer.schedule == "cosine"


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    lock = _lock(arguments.overrides, arguments.batch)
    task = synthetic(lock) if arguments.synthetic else real(lock)
    ways: dict[str, Callable[[Task], float]] = {
        "merit": with_merit,
        "by hand, gathering each batch": by_hand(gathered),
        "by hand, one shuffle per epoch": by_hand(shuffled),
        "Lightning with TensorDataset and DataLoader": with_dataloader,
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    load_before = os.getloadavg()[0]
    for turn in range(arguments.rounds):
        for name in list(ways)[:: -1 if turn % 2 else 1]:
            rates[name].append(len(task.train.target) / ways[name](task))
    show(rates, arguments.batch)
    print(f"load of the machine: {load_before:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} processors")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="of conf/, as in 'merit run', say model=mlp")
    parser.add_argument("--batch", type=int, default=1024, help="rows in a batch")
    parser.add_argument("--rounds", type=int, default=5, help="measured epochs of each way, in alternating order")
    parser.add_argument("--synthetic", action="store_true", help="random rows of the reference data's shape")
    return parser.parse_args()


def _lock(overrides: list[str], batch: int) -> Lock:
    """Return the configuration for a measurement: on the processor, and no more epochs than are measured."""
    lock = compose(overrides)
    how = lock.trainer.model_copy(
        update={"accelerator": "cpu", "batch_size": batch, "max_epochs": EPOCHS, "patience": EPOCHS}
    )
    return lock.model_copy(update={"trainer": how})


def real(lock: Lock) -> Task:
    """Return the task on the reference data, whose arrays are made if they are not there."""
    if not artifacts.FEATURES_REPORT.is_file():
        here = Path(sys.executable).parent
        env = {**os.environ, "PATH": f"{here}{os.pathsep}{os.environ.get('PATH', '')}"}
        subprocess.run([here / "dvc", "repro", "features"], check=True, env=env)
    fitted = artifacts.read_json(artifacts.FEATURES_REPORT, "features")
    return Task(lock, read_part("train"), read_part("validation"), fitted["cardinalities"])


def synthetic(lock: Lock) -> Task:
    """Return the task on random rows."""
    generator = torch.Generator().manual_seed(lock.seed)
    rows = SYNTHETIC_ROWS
    codes = [torch.randint(0, count, (rows,), generator=generator) for count in SYNTHETIC_CARDINALITIES]
    numbers = torch.randn(rows, SYNTHETIC_NUMBERS, generator=generator)
    target = torch.randint(0, 2, (rows,), generator=generator).float()
    made = Rows((torch.stack(codes, dim=1), numbers), target)
    return Task(lock, made, made.at(slice(0, rows // 8)), SYNTHETIC_CARDINALITIES)


class Clock(lightning.Callback):
    """Keeps the seconds of each epoch's training."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._started = 0.0

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Begin."""
        self._started = time.perf_counter()

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """End: the epoch's last batch has been trained on."""
        self.seconds.append(time.perf_counter() - self._started)


def with_merit(task: Task) -> float:
    """Return the seconds of an epoch by merit's own batches, module and trainer."""
    how = task.lock.trainer
    return _fitted(task, Learner, Batches(task.train, how.batch_size, task.lock.seed))


class OnLists(Learner):
    """The same module over what a DataLoader of a TensorDataset gives."""

    def training_step(self, batch: list[Tensor]) -> Tensor:  # type: ignore[override]  # a list is what comes
        """Return the loss of a batch."""
        *inputs, target = batch
        return super().training_step(Rows(tuple(inputs), target))


def with_dataloader(task: Task) -> float:
    """Return the seconds of an epoch by Lightning's usual way."""
    rows = DataLoader(
        TensorDataset(*task.train.inputs, task.train.target), batch_size=task.lock.trainer.batch_size, shuffle=True
    )
    return _fitted(task, OnLists, rows)


def _fitted(task: Task, module: type[Learner], rows: Iterable[object]) -> float:
    how, clock = task.lock.trainer, Clock()
    predictor = Predictor(task.network(), "binary", mean=0.0, deviation=1.0)
    run.prepare(how, task.lock.seed)
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        trainer = run.trainer_of(how, run.History(how.monitor, lambda metrics: None))
        trainer.callbacks.append(clock)
        trainer.fit(
            module(predictor, run.optimizer_of(task.lock), cosine=task.is_cosine),
            rows,
            Batches(task.validation, max(how.batch_size, network.ROWS)),
        )
    return clock.seconds[-1]


Order = Callable[[Rows, int], Iterator[Rows]]


def gathered(rows: Rows, size: int) -> Iterator[Rows]:
    """Gather the rows of each batch by the epoch's permutation."""
    for chosen in torch.randperm(len(rows.target)).split(size):
        yield rows.at(chosen)


def shuffled(rows: Rows, size: int) -> Iterator[Rows]:
    """Shuffle all rows once, then slice them."""
    mixed = rows.at(torch.randperm(len(rows.target)))
    for start in range(0, len(rows.target), size):
        yield mixed.at(slice(start, start + size))


def by_hand(order: Order) -> Callable[[Task], float]:
    """Return the way that trains in a plain loop over such batches."""

    def seconds(task: Task) -> float:
        torch.set_num_threads(task.lock.trainer.threads)
        torch.use_deterministic_algorithms(False)  # a Lightning run before this one asked for them
        torch.manual_seed(task.lock.seed)
        trained = task.network().train()
        optimizer = run.optimizer_of(task.lock)(trained.parameters())
        size = task.lock.trainer.batch_size
        steps = EPOCHS * math.ceil(len(task.train.target) / size)
        schedule = CosineAnnealingLR(optimizer, steps) if task.is_cosine else None
        for _ in range(EPOCHS):
            start = time.perf_counter()
            for batch in order(task.train, size):
                optimizer.zero_grad(set_to_none=True)
                logits = trained(*batch.inputs).squeeze(-1)
                functional.binary_cross_entropy_with_logits(logits, batch.target.expand_as(logits)).backward()
                optimizer.step()
                if schedule is not None:
                    schedule.step()
        return time.perf_counter() - start

    return seconds


def show(rates: dict[str, list[float]], batch: int) -> None:
    """Print the median rates, and the median share of merit and of the faster loop by hand in each, beside the goals.

    Shares are taken within a round: what slows the machine for a while slows both that are compared.
    """
    hand = max((name for name in rates if name.startswith("by hand")), key=lambda name: statistics.median(rates[name]))
    table = Table(f"batch {batch:,}", "rows/s", "merit to it", "ceiling", "goal", "")
    for name, found in rates.items():
        share, ceiling = (_share(rates[one], found) for one in ("merit", hand))
        goal = HAND_GOAL if name == hand else USUAL_GOAL if name.startswith("Lightning") else None
        beside = ("", "") if goal is None else (f"at least {goal}", "met" if share >= goal else "missed")
        table.add_row(name, f"{statistics.median(found):,.0f}", f"{share:.2f}", f"{ceiling:.2f}", *beside)
    Console().print(table)


def _share(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


if __name__ == "__main__":
    main()
