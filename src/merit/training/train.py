"""train: fits the lock's network deterministically and writes the weights of the best epoch."""

import ctypes
import logging
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

import lightning.pytorch as lightning
import torch
from torch.multiprocessing.spawn import ProcessRaisedException

from merit import artifacts
from merit.config.components import targets
from merit.config.schema import Lock, Trainer
from merit.errors import MeritError
from merit.models import build
from merit.training import checkpoint, history
from merit.training.batches import CHUNK_ROWS, Batches, Table
from merit.training.history import EpochCallback, History
from merit.training.lightning_module import Learner
from merit.training.mapped_rows import MappedRows
from merit.training.progress import EpochProgress

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt (malloc.h)."""


def train(lock: Lock, on_epoch: EpochCallback = lambda metrics: None) -> dict[str, float]:
    """Train, write `artifacts.WEIGHTS` and `artifacts.HISTORY`, and return the metrics of the best epoch.

    A killed training with the same configuration, rows and code resumes from `artifacts.CHECKPOINT`.

    Args:
        lock: the configuration.
        on_epoch: called after each epoch with its metrics: `epoch`, `train_loss`, `validation_loss`, `validation_…`.

    Raises:
        MeritError: the features or the device are missing, or the loss is not finite.

    Example:
        best = train(merit.config.lock.read(), on_epoch=print)
    """
    settings = lock.trainer
    prepare_torch(settings, lock.seed)
    rows = build_training_batches(settings, open_table("train", settings), lock.seed)
    module = build_learner(lock, build.build_predictor(lock), rows)
    epoch_history = History(settings.monitor, settings.patience, on_epoch)
    checkpointing = checkpoint.Checkpoint(
        checkpoint.compute_fingerprint(lock), settings.checkpoint_seconds, lock.seed, epoch_history, rows
    )
    fit(build_trainer(settings, [checkpointing, epoch_history]), module, rows, settings)
    return history.find_best(history.read_history(), epoch_history.monitor, epoch_history.sign)


def fit(trainer: lightning.Trainer, module: Learner, rows: Batches, settings: Trainer) -> None:
    """Train the module on the rows, measuring it on the validation rows after each epoch.

    Raises:
        MeritError: what a rank in a process of its own raised.
        KeyboardInterrupt: Ctrl-C.
    """
    try:
        trainer.fit(module, rows, build_validation_batches(settings))
    except SystemExit as error:  # Lightning exits with 1 on Ctrl-C, merit's code for a refusal
        raise KeyboardInterrupt from error
    except ProcessRaisedException as error:
        raise _convert_rank_error(error) from error


def prepare_torch(settings: Trainer, seed: int) -> None:
    """Make training deterministic given its seed, and set its number of threads.

    Raises:
        MeritError: the trainer needs a GPU, and no CUDA device is available.
    """
    if settings.accelerator == "gpu" and not torch.cuda.is_available():
        raise MeritError("trainer.accelerator: found 'gpu', but no CUDA device is there; use trainer=cpu")
    # cuBLAS is deterministic only with a fixed workspace, which it reads before its first use.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Otherwise Lightning divides the machine's processors among its processes.
    os.environ["OMP_NUM_THREADS"] = str(settings.threads)
    _keep_memory()
    torch.set_num_threads(settings.threads)
    torch.use_deterministic_algorithms(True)
    # Filling memory that is written before it is read adds no determinism, and takes a twentieth of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # set through a property
    for name in ("lightning.pytorch", "lightning.fabric", "torch.multiprocessing"):
        logging.getLogger(name).setLevel(logging.WARNING if name.startswith("lightning") else logging.ERROR)
    lightning.seed_everything(seed, verbose=False)


def _keep_memory() -> None:
    """Keep freed memory in the process, in huge pages, so that a batch reuses the memory of the previous one.

    The system fills each fresh page with zeros on first access: a seventh of the reference model's training time.
    """
    if sys.platform != "linux":
        return
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch reads it when it creates the first tensor
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_TRIM_THRESHOLD, 2**28)
        libc.mallopt(M_MMAP_THRESHOLD, 2**26)


def open_table(name: str, settings: Trainer) -> Table:
    """Return a part's rows: in memory if their file fits into trainer.memory_mb, else memory-mapped."""
    path = artifacts.require_path(artifacts.part_path(name), "features")
    return build.read_part(name) if path.stat().st_size <= settings.memory_mb * 2**20 else MappedRows(name)


def build_training_batches(settings: Trainer, rows: Table, seed: int) -> Batches:
    """Return the training rows in blocks of batches."""
    return Batches(rows, settings.batch_size, seed, chunk_rows=CHUNK_ROWS if isinstance(rows, MappedRows) else 1)


def build_validation_batches(settings: Trainer) -> Batches:
    """Return the validation rows in large batches."""
    return Batches(open_table("validation", settings), max(settings.batch_size, build.BATCH_ROWS), batches_per_block=1)


def build_learner(lock: Lock, predictor: build.Predictor, rows: Batches) -> Learner:
    """Return the module that trains the network on those rows."""
    settings = lock.trainer
    return Learner(
        predictor,
        make_optimizer_builder(lock),
        batch_size=settings.batch_size // settings.devices,
        steps=rows.steps * settings.max_epochs if settings.schedule == "cosine" else None,
    )


def make_optimizer_builder(lock: Lock) -> Callable[[Any], torch.optim.Optimizer]:
    """Return a function that builds the optimizer of conf/optimizer from a network's parameters."""

    def build_optimizer(parameters: Any) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = targets.build_component(
            lock.optimizer.model_dump(by_alias=True), params=parameters
        )
        return optimizer

    return build_optimizer


def build_trainer(settings: Trainer, callbacks: list[lightning.Callback]) -> lightning.Trainer:
    """Return Lightning's trainer as conf/trainer describes it."""
    # Lightning uses a class that torch has deprecated.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    return lightning.Trainer(
        max_epochs=settings.max_epochs,
        accelerator=settings.accelerator,
        devices=settings.devices,
        strategy="auto" if settings.devices == 1 else "ddp_fork",  # a fork needs no pickling
        precision=settings.precision,
        deterministic=True,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=True,
        num_sanity_val_steps=0,
        callbacks=[*callbacks, EpochProgress(settings.monitor)],
    )


def _convert_rank_error(error: ProcessRaisedException) -> MeritError:
    """Return the error of a rank as a MeritError; torch reports it as the text of its traceback."""
    last = str(error).strip().splitlines()[-1]
    return MeritError(last.removeprefix(f"{MeritError.__module__}.MeritError: "))
