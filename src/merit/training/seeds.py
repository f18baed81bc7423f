"""The stage seeds: trains the recipe again with other seeds, to measure how much a seed alone moves a metric."""

from pathlib import Path

import numpy as np

from merit.config.schema import Lock
from merit.models import build
from merit.process.cores import count_cores
from merit.training import train
from merit.training.history import History


def list_seeds(lock: Lock) -> list[int]:
    """Return the other seeds of the recipe, one fewer than `evaluate.seeds`; they follow from the packaged one.

    They are drawn and not counted up: the seeds of a recipe with seed 7 must not be those of the same with seed 8.
    """
    sequences = np.random.SeedSequence(lock.seed).spawn(lock.evaluate.seeds - 1)
    return [int(each.generate_state(1)[0]) for each in sequences]


def count_processes(lock: Lock) -> int:
    """Return how many seeds to train at once: as many as processors allow, on a GPU one after another."""
    if lock.trainer.accelerator == "gpu":
        return 1
    return max(1, min(lock.evaluate.seeds - 1, count_cores() // (lock.trainer.threads * lock.trainer.devices)))


def train_seed(lock: Lock, seed: int, folder: Path) -> None:
    """Train the recipe with another seed, and write weights and history into a folder.

    Raises:
        MeritError: the features or the device are missing, or the loss is not finite.
    """
    settings = lock.trainer
    train.prepare_torch(settings, seed)
    rows = train.build_training_batches(settings, train.open_table("train", settings), seed)
    module = train.build_learner(lock, build.build_predictor(lock), rows)
    history = History(settings.monitor, settings.patience, lambda metrics: None, folder)
    train.fit(train.build_trainer(settings, [history]), module, rows, settings)
