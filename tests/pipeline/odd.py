"""A network of a project's own that does what a test wants: the file becomes the package `odd` of a small project."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from merit.models.networks import Linear


class Odd(Linear):
    """Logistic regression with a fault.

    Args:
        cardinalities: codes per category.
        numbers: columns of numbers.
        outputs: numbers per row.
        does: what it does wrong.
        project: the folder of the project.
    """

    def __init__(
        self, cardinalities: Sequence[int], numbers: int, outputs: int = 1, *, does: str = "nothing", project: str = ""
    ) -> None:
        super().__init__(cardinalities, numbers, outputs)
        self.does = does
        if does == "raise":
            raise RuntimeError("no way")
        if does == "exit":
            sys.exit(3)
        if does == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if does == "grow":
            self.kept = [torch.ones(25_000_000) for _ in range(1000)]
        if does == "peek":
            peek(Path(project))
        while does == "wait" and not Path(project, "go").exists():
            time.sleep(0.05)

    def forward(self, codes: Tensor, numbers: Tensor) -> Tensor:
        """Return [rows, outputs]."""
        return super().forward(codes, numbers) * (float("nan") if self.does == "diverge" else 1.0)


def peek(project: Path) -> None:
    """Try to read test rows by every way there is, and print what came of each."""
    import numpy as np
    import polars as pl
    from safetensors.numpy import load_file

    arrays, rows = project / "data/features/test.safetensors", project / "data/features/test.parquet"
    ways = {
        "open": lambda: arrays.open("rb").read(1),
        "os.open": lambda: os.open(arrays, os.O_RDONLY),
        "numpy": lambda: np.fromfile(arrays, dtype=np.uint8, count=1),
        "polars": lambda: pl.read_parquet(rows),
        "safetensors": lambda: load_file(arrays),
        "child": lambda: subprocess.run(["cat", str(arrays)], check=True, capture_output=True),
        "link": lambda: os.link(arrays, "mine"),
        "rename": lambda: arrays.rename("mine"),
        "raw": lambda: pl.read_parquet(project / "data/raw.parquet"),
        "predictions": lambda: pl.read_parquet(project / "reports/predictions.parquet"),
        "cache": lambda: [file.open("rb") for file in (project / ".dvc/cache").rglob("*") if file.is_file()],
        "parent": lambda: Path(f"/proc/{os.getppid()}/cwd/data/features/test.safetensors").read_bytes(),
    }
    for name, way in ways.items():
        try:
            way()
            print("READ", name, flush=True)
        except Exception as error:  # noqa: BLE001  # each library raises its own
            print("kept", name, type(error).__name__, flush=True)
