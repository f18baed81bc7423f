"""What the framework costs: rows per second of merit's training beside a loop by hand and Lightning's usual way.

All train the same network with the same optimizer, schedule and threads on the same rows. The loop by hand and the
usual way are as a tutorial writes them, with torch's own dropout and AdamW as it comes; merit's dropout is its own, its
optimizer fused, as conf/ has it. Each round gives every way a warm-up epoch and a measured one; validation is not
counted. Seconds are of the processor, in the thread that trains: what else runs on the machine weighs less. One row
more shows how far a loop by hand can be brought, with merit's dropout too. Each measurement is a process of its
own, for merit sets how memory is kept.

Usage, in the root of the repository: python benchmarks/training.py [OVERRIDE]... [--batch N] [--rounds N] [--synthetic]
"""

import argparse
import logging
import math
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import lightning.pytorch as lightning
import torch
from plain import as_torch_has_it
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, TensorDataset

from merit import artifacts
from merit.config.components import targets
from merit.config.compose import compose
from merit.config.schema import Lock
from merit.models import build as network
from merit.models.build import Examples, Predictor, read_part
from merit.training import train as run
from merit.training.batches import Batches
from merit.training.history import History

MERIT = "merit"
HAND = "by hand, plain: an index per batch, AdamW as it comes"
USUAL = "Lightning with TensorDataset and DataLoader"
GOALS = {HAND: 1.0, USUAL: 2.0}
EPOCHS = 2
"""The warm-up epoch and the measured one."""

SYNTHETIC_ROWS = 217_727
SYNTHETIC_CARDINALITIES = [16, 4, 96, 8, 20]
SYNTHETIC_NUMBERS = 38


@dataclass(frozen=True)
class Task:
    """What is trained: the configuration, the rows, and the network's sizes."""

    lock: Lock
    train: Examples
    validation: Examples
    cardinalities: list[int]

    def network(self) -> nn.Module:
        """Return the network of conf/model with fresh weights."""
        arguments = self.lock.model.model_dump(by_alias=True)
        made: nn.Module = targets.build_component(
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
    rates: dict[str, list[float]] = {name: [] for name in WAYS}
    load_before = os.getloadavg()[0]
    for turn in range(arguments.rounds):
        for name in list(WAYS)[:: -1 if turn % 2 else 1]:
            with get_context("fork").Pool(1) as process:
                rates[name].append(process.apply(rate, (name, lock, arguments.synthetic)))
    show(rates, arguments.batch)
    print(f"load of the machine: {load_before:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} processors")


def rate(name: str, lock: Lock, is_synthetic: bool) -> float:
    """Return the rows per second of one of the ways."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    if name == MERIT:
        run.prepare_torch(lock.trainer, lock.seed)  # as `merit train` does before its first tensor
    task = synthetic(lock) if is_synthetic else real(lock)
    return task.train.count / WAYS[name](task)


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
    made = Examples((torch.stack(codes, dim=1), numbers), target)
    return Task(lock, made, made.select(slice(0, rows // 8)), SYNTHETIC_CARDINALITIES)


@dataclass(frozen=True)
class Hand:
    """A plain loop by hand: one thread, no framework."""

    order: Callable[[Examples, int], Iterator[Examples]]
    is_tuned: bool
    """Whether it has what merit has: its dropout, and the fused optimizer."""

    def __call__(self, task: Task) -> float:
        """Return the seconds of an epoch."""
        torch.set_num_threads(task.lock.trainer.threads)
        torch.use_deterministic_algorithms(False)  # a run of merit's before this one asked for them
        torch.manual_seed(task.lock.seed)
        trained = (task.network() if self.is_tuned else as_torch_has_it(task.network())).train()
        optimizer = _adamw(task, trained, is_fused=self.is_tuned)
        size = task.lock.trainer.batch_size
        schedule = CosineAnnealingLR(optimizer, _steps(task)) if task.is_cosine else None
        for _ in range(EPOCHS):
            start = time.thread_time()
            for batch in self.order(task.train, size):
                optimizer.zero_grad()
                logits = trained(*batch.inputs).squeeze(-1)
                functional.binary_cross_entropy_with_logits(logits, batch.target.expand_as(logits)).backward()
                optimizer.step()
                if schedule is not None:
                    schedule.step()
        return time.thread_time() - start


def _adamw(task: Task, trained: nn.Module, *, is_fused: bool) -> torch.optim.AdamW:
    how = task.lock.optimizer.model_dump()
    fused = {"fused": True} if is_fused else {}
    return torch.optim.AdamW(trained.parameters(), lr=how["lr"], weight_decay=how["weight_decay"], **fused)


def _steps(task: Task) -> int:
    return EPOCHS * math.ceil(task.train.count / task.lock.trainer.batch_size)


def gathered(rows: Examples, size: int) -> Iterator[Examples]:
    """Gather the rows of each batch by the epoch's permutation."""
    for chosen in torch.randperm(rows.count).split(size):
        yield rows.select(chosen)


def shuffled(rows: Examples, size: int) -> Iterator[Examples]:
    """Shuffle all rows once, then slice them."""
    mixed = rows.select(torch.randperm(rows.count))
    for start in range(0, rows.count, size):
        yield mixed.select(slice(start, start + size))


class Usual(lightning.LightningModule):
    """The module that a tutorial of Lightning's writes."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.network = as_torch_has_it(task.network())
        self._task = task

    def training_step(self, batch: list[Tensor]) -> Tensor:
        """Return the loss of a batch."""
        *inputs, target = batch
        logits = self.network(*inputs).squeeze(-1)
        return functional.binary_cross_entropy_with_logits(logits, target.expand_as(logits))

    def configure_optimizers(self) -> dict[str, object]:
        """Return the optimizer, and its schedule if there is one."""
        optimizer = _adamw(self._task, self, is_fused=False)
        if not self._task.is_cosine:
            return {"optimizer": optimizer}
        schedule = CosineAnnealingLR(optimizer, _steps(self._task))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def with_dataloader(task: Task) -> float:
    """Return the seconds of an epoch by Lightning's usual way."""
    how, clock = task.lock.trainer, Clock()
    torch.set_num_threads(how.threads)
    torch.use_deterministic_algorithms(False)
    torch.manual_seed(task.lock.seed)
    rows = DataLoader(TensorDataset(*task.train.inputs, task.train.target), batch_size=how.batch_size, shuffle=True)
    trainer = lightning.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        callbacks=[clock],
    )
    trainer.fit(Usual(task), rows)
    return clock.seconds[-1]


class Clock(lightning.Callback):
    """Keeps the seconds of each epoch's training."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._started = 0.0

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Begin."""
        self._started = time.thread_time()

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        """End, if this was the epoch's last."""
        if trainer.is_last_batch:
            self.seconds.append(time.thread_time() - self._started)


def with_merit(task: Task) -> float:
    """Return the seconds of an epoch by merit's own batches, module and trainer, its optimizer as conf/ has it."""
    how, clock = task.lock.trainer, Clock()
    run.prepare_torch(how, task.lock.seed)
    rows = run.build_training_batches(how, task.train, task.lock.seed)
    predictor = Predictor(task.network(), "binary", mean=0.0, deviation=1.0)
    kept = Epochs(how.monitor, how.patience, lambda metrics: None)
    validated = Batches(task.validation, max(how.batch_size, network.BATCH_ROWS), batches_per_block=1)
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        run.build_trainer(how, [kept, clock]).fit(run.build_learner(task.lock, predictor, rows), rows, validated)
    return clock.seconds[-1]


class Epochs(History):
    """Keeps no file."""

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Leave what `merit train` wrote."""


def show(rates: dict[str, list[float]], batch: int) -> None:
    """Print the median rates, and merit's median share in each, beside the goals.

    Shares are taken within a round: what slows the machine for a while slows both that are compared.
    """
    table = Table(f"batch {batch:,}", "rows/s", "merit to it", "goal", "")
    for name, found in rates.items():
        share, goal = _share(rates[MERIT], found), GOALS.get(name)
        beside = ("", "") if goal is None else (f"at least {goal}", "met" if share >= goal else "missed")
        table.add_row(name, f"{statistics.median(found):,.0f}", f"{share:.2f}", *beside)
    Console().print(table)


def _share(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


WAYS: dict[str, Callable[[Task], float]] = {
    MERIT: with_merit,
    HAND: Hand(gathered, is_tuned=False),
    "by hand, tuned: sliced from one shuffle, merit's dropout, AdamW fused": Hand(shuffled, is_tuned=True),
    USUAL: with_dataloader,
}

if __name__ == "__main__":
    main()
