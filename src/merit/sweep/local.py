"""hydra/launcher=local: runs trials as forks of one warm process, as many at once as cores allow without sharing."""

import json
import os
import threading
from pathlib import Path

from merit.sweep import record, supervise
from merit.sweep.forkserver import Zygote

_warm: Zygote | None = None


def warm() -> None:
    """Start the forkserver, which imports what trials need while the sweep is still being planned."""
    global _warm  # noqa: PLW0603  # one per process, started before Hydra instantiates the launcher
    if _warm is None:
        _warm = Zygote()


def cool() -> None:
    """Stop the forkserver, if it runs."""
    global _warm  # noqa: PLW0603
    if _warm is not None:
        _warm.close()
    _warm = None


def cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """Return the usable CUDA devices, named as in CUDA_VISIBLE_DEVICES, without importing torch."""
    if (told := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in told.split(",") if name.strip() not in {"", "-1"}]
    folder = Path("/proc/driver/nvidia/gpus")
    return [str(number) for number in range(len(list(folder.iterdir())))] if folder.is_dir() else []


class Local:
    """Runs trials on this machine's cores, or on its GPUs for trials that train on one."""

    def __init__(self) -> None:
        self._devices = gpus()
        self._lock = threading.Lock()

    def width(self, threads: int, *, gpu: bool) -> int:
        """Return the number of concurrent trials: one core per thread of a trial, or one GPU per trial."""
        most = max(1, cores() // threads)
        return min(most, max(1, len(gpus()))) if gpu else most

    def run(self, folder: Path) -> None:
        """Run a trial. CUDA doesn't survive a fork, so a GPU trial gets a new interpreter and a device of its own."""
        told = json.loads((folder / record.TRIAL).read_text(encoding="utf-8"))
        if told.get("accelerator") != "gpu":
            with self._lock:
                warm()
            assert _warm is not None
            _warm.run(folder)
            return
        with self._lock:
            device = self._devices.pop() if self._devices else None
        try:
            supervise.spawn(folder, {"CUDA_VISIBLE_DEVICES": device} if device is not None else None)
        finally:
            if device is not None:
                self._devices.append(device)

    def close(self) -> None:
        """Stop the forkserver."""
        cool()
