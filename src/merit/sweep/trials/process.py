"""The process of one trial: trains in its own folder, from its lock and the features of training and validation rows.

`python -m merit.sweep.trials.process FOLDER`. The folder is its only input, and all output are files: history.csv gets
a line per epoch, trial.json gets the result at the end. A file `stop` in the folder asks it to end after the current
epoch.
"""

import ctypes
import json
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from merit import artifacts
from merit.console import logging
from merit.errors import MeritError
from merit.sweep import record
from merit.sweep.trials import isolation

STOP_FILE, KILL_FILE, DENIED_JSON, FEATURES_FOLDER = "stop", "kill", "denied.json", "features"
TEMPORARY_ENTRIES = ("data", "training", ".merit", ".tmp", "pyproject.toml")
"""Entries of a trial's folder that exist only while it runs."""
PR_SET_PDEATHSIG = 1
OUT_OF_MEMORY_TEXTS = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "std::bad_alloc",
    "Cannot allocate memory",
)


class Pruned(Exception):
    """Raised in a trial that the sweep's pruner ended early."""


def detach_process() -> None:
    """Make this process die with its parent, and ignore Ctrl-C, which the sweep handles for all its trials."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def run_trial(
    folder: Path,
    requested_at: float,
    timings: dict[str, float],
    preload: Callable[[], None] = lambda: None,
    sandbox: isolation.Sandbox | None = None,
) -> None:
    """Run a trial, and record its outcome, whatever it is, in its trial.json.

    Args:
        folder: the trial's folder, which becomes the working directory.
        requested_at: time at which the sweep requested the trial, in seconds since 1970.
        timings: time at which each phase of the start-up ended, by name; further phases are added.
        preload: slow work that needs no denied path, such as imports; runs after isolation.
        sandbox: the paths to deny; None reads them from the sweep's folder.
    """
    logging.configure()  # the log of a trial is a text for people, whatever the sweep logs
    os.chdir(folder)
    trial_folder = Path()
    payload = record.update_trial_json(
        trial_folder, state="running", started=time.time(), pid=os.getpid(), host=socket.gethostname()
    )
    try:
        _enter_folder(payload, sandbox)
        timings["isolated"] = time.time()
        preload()
        timings["imported"] = time.time()
        outcome = _train_trial(payload, requested_at, timings)
    except BaseException as error:  # noqa: BLE001  # the project's own code may raise anything, and the sweep goes on
        traceback.print_exc()
        outcome = {"state": _classify_error(error), "error": format_error(error)}
    for name in (artifacts.WEIGHTS, artifacts.HISTORY):
        if outcome["state"] == "done":
            name.replace(name.name)
    rows = record.read_epochs(trial_folder)
    if outcome["state"] == "pruned":
        outcome["values"] = _select_validation_metrics(rows[-1])
    _clean_folder(payload)
    sys.stdout.flush()
    record.update_trial_json(
        trial_folder, **outcome, epochs=len(rows), seconds=time.time() - timings.get("imported", time.time())
    )


def _enter_folder(payload: dict[str, Any], sandbox: isolation.Sandbox | None) -> None:
    """Set up the folder as a project that training can run in, limit memory and deny the project's other data."""
    sweep, project = Path().resolve().parents[1], Path(payload["project"])
    Path("data").mkdir(exist_ok=True)
    for link, target in {
        "data/features": sweep / FEATURES_FOLDER,
        **{name: project / name for name in payload["links"]},
    }.items():
        if not os.path.lexists(link):
            Path(link).symlink_to(target)
    Path(".tmp").mkdir(exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(Path(".tmp").resolve())  # tempfile caches it, also in forks
    if payload.get("memory_mb"):
        limit = payload["memory_mb"] * 1024 * 1024
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    payload["isolation"] = (sandbox or load_sandbox(sweep)).enter()


def load_sandbox(sweep: Path) -> isolation.Sandbox:
    """Return the paths that the trials of a sweep are denied."""
    denied_paths = json.loads((sweep / DENIED_JSON).read_text(encoding="utf-8"))["closed"]
    return isolation.Sandbox.from_paths([Path(each) for each in denied_paths])


def _clean_folder(payload: dict[str, Any]) -> None:
    for name in {*TEMPORARY_ENTRIES, *payload["links"]}:
        if Path(name).is_symlink() or Path(name).is_file():
            Path(name).unlink()
        else:
            shutil.rmtree(name, ignore_errors=True)


def _train_trial(payload: dict[str, Any], requested_at: float, timings: dict[str, float]) -> dict[str, Any]:
    from merit.config import lock as locks
    from merit.config.components import trusted_packages
    from merit.training.train import train

    lock = locks.read_lock()
    trusted_packages.check_code(lock.code)
    timings["read"] = started = time.time()
    _time_first_batch(timings)
    if lock.trainer.devices > 1:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # torch ends this process's ranks by SIGINT when it is killed
    try:
        best = train(lock, _make_epoch_callback())
    except (Pruned, MeritError) as error:
        if not _is_pruned(error):
            raise
        return {"state": "pruned", **_measure_phases(requested_at, timings)}
    seconds = time.time() - started
    values = {
        **_select_validation_metrics(best),
        "train_seconds": seconds,
        "parameters": float(count_parameters(artifacts.WEIGHTS)),
    }
    return {
        "state": "done",
        "values": values,
        "isolation": payload["isolation"],
        **_measure_phases(requested_at, timings),
    }


def _is_pruned(error: BaseException) -> bool:
    """Return whether an error means that the trial was pruned; of a rank's error only the last line is known."""
    return isinstance(error, Pruned) or (Path(STOP_FILE).exists() and str(error).endswith(f".{Pruned.__name__}"))


def _time_first_batch(timings: dict[str, float]) -> None:
    from torch.nn.modules.module import register_module_forward_pre_hook

    def record_time(*_: object) -> None:
        timings.setdefault("first batch", time.time())
        hook.remove()

    hook = register_module_forward_pre_hook(record_time)


def _measure_phases(requested_at: float, timings: dict[str, float]) -> dict[str, Any]:
    """Return the seconds from the request to the first batch, in total and by phase."""
    phases, previous = {}, requested_at
    for name, timestamp in sorted(timings.items(), key=lambda each: each[1]):
        phases[name], previous = round(timestamp - previous, 4), timestamp
    return {"first_batch_seconds": timings.get("first batch", previous) - requested_at, "parts": phases}


def _select_validation_metrics(metrics: dict[str, float]) -> dict[str, float]:
    """Return the metrics of the validation rows, without the prefix `validation_`."""
    return {name.removeprefix("validation_"): value for name, value in metrics.items() if name.startswith("validation")}


def _make_epoch_callback() -> Callable[[dict[str, float]], None]:
    """Return the epoch callback: it appends to history.csv, and raises `Pruned` if the file `stop` exists."""

    def record_epoch(metrics: dict[str, float]) -> None:
        artifacts.append_epoch(Path(record.HISTORY_CSV), metrics)
        if Path(STOP_FILE).exists():
            raise Pruned

    return record_epoch


def count_parameters(weights: Path) -> int:
    """Return the number of parameters in a safetensors file, read from its header alone."""
    with weights.open("rb") as handle:
        header = json.loads(handle.read(int.from_bytes(handle.read(8), "little")))
    total = 0
    for name, tensor in header.items():
        if name != "__metadata__":
            count = 1
            for length in tensor["shape"]:
                count *= length
            total += count
    return total


def format_error(error: BaseException) -> str:
    """Return an error as one line of at most 500 characters; its traceback is in log.txt."""
    first = next((text for text in str(error).splitlines() if text.strip()), "").strip()
    message = first if isinstance(error, MeritError) else f"{type(error).__name__}: {first}".rstrip(": ")
    if _classify_error(error) == "killed":
        message = f"out of memory ({message[:200]}); raise sweep.memory_mb, or make the trial smaller"
    return message[:500]


def _classify_error(error: BaseException) -> str:
    is_out_of_memory = isinstance(error, MemoryError) or any(phrase in str(error) for phrase in OUT_OF_MEMORY_TEXTS)
    return "killed" if is_out_of_memory else "failed"


def _preload() -> None:
    import merit.training.train  # noqa: F401  # slow to import


def main() -> None:
    """Run the trial whose folder the command line names."""
    started, requested_at = time.time(), float(os.environ.get("MERIT_ASKED") or time.time())
    detach_process()
    run_trial(Path(sys.argv[1]), requested_at, {"started": started}, _preload)


if __name__ == "__main__":
    main()
    os._exit(0)  # don't wait for threads of libraries
