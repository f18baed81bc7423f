"""hydra/launcher=local: runs trials as forks of one warm process, as many at once as cores allow without sharing."""

import json
import os
import threading
from pathlib import Path

from merit.process.cores import count_cores
from merit.sweep import record
from merit.sweep.trials import supervise
from merit.sweep.trials.forkserver import Forkserver

_forkserver: Forkserver | None = None


def start_forkserver() -> None:
    """Start the forkserver, which imports what trials need while the sweep is still being planned."""
    global _forkserver  # noqa: PLW0603  # one per process, started before Hydra instantiates the launcher
    if _forkserver is None:
        _forkserver = Forkserver()


def stop_forkserver() -> None:
    """Stop the forkserver, if it runs."""
    global _forkserver  # noqa: PLW0603
    if _forkserver is not None:
        _forkserver.close()
    _forkserver = None


def list_gpus() -> list[str]:
    """Return the usable CUDA devices, named as in CUDA_VISIBLE_DEVICES, without importing torch."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in visible.split(",") if name.strip() not in {"", "-1"}]
    folder = Path("/proc/driver/nvidia/gpus")
    return [str(number) for number in range(len(list(folder.iterdir())))] if folder.is_dir() else []


class LocalMachine:
    """Runs trials on this machine's cores, or on its GPUs for trials that train on one."""

    def __init__(self) -> None:
        self._devices = list_gpus()
        self._lock = threading.Lock()

    def width(self, threads: int, *, gpu: bool) -> int:
        """Return the number of concurrent trials: one core per thread of a trial, or one GPU per trial."""
        max_trials = max(1, count_cores() // threads)
        return min(max_trials, max(1, len(list_gpus()))) if gpu else max_trials

    def run(self, folder: Path) -> None:
        """Run a trial. CUDA doesn't survive a fork, so a GPU trial gets a new interpreter and a device of its own."""
        payload = json.loads((folder / record.TRIAL_JSON).read_text(encoding="utf-8"))
        if payload.get("accelerator") != "gpu":
            with self._lock:
                start_forkserver()
            assert _forkserver is not None
            _forkserver.run_trial(folder)
            return
        with self._lock:
            device = self._devices.pop() if self._devices else None
        try:
            supervise.spawn_trial(folder, {"CUDA_VISIBLE_DEVICES": device} if device is not None else None)
        finally:
            if device is not None:
                self._devices.append(device)

    def close(self) -> None:
        """Stop the forkserver."""
        stop_forkserver()
