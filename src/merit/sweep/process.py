"""The process of one trial: trains in its own folder, from its lock and the features of training and validation rows.

`python -m merit.sweep.process FOLDER`. The folder is its only input, and all output are files: history.csv gets a line
per epoch, trial.json gets the result at the end. A file `stop` in the folder asks it to end after the current epoch.
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
from merit.errors import MeritError
from merit.sweep import isolation, record

STOP, KILL, DENIED, FEATURES = "stop", "kill", "denied.json", "features"
WORK = ("data", "training", ".merit", ".tmp", "pyproject.toml")
"""Entries of a trial's folder that exist only while it runs."""
PR_SET_PDEATHSIG = 1
NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "std::bad_alloc", "Cannot allocate memory")


class Pruned(Exception):
    """Raised in a trial that the sweep's pruner ended early."""


def begin() -> None:
    """Make this process die with its parent, and ignore Ctrl-C, which the sweep handles for all its trials."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def run(
    folder: Path,
    asked: float,
    marks: dict[str, float],
    before: Callable[[], None] = lambda: None,
    bounds: isolation.Bounds | None = None,
) -> None:
    """Run a trial, and record its outcome, whatever it is, in its trial.json.

    Args:
        folder: the trial's folder, which becomes the working directory.
        asked: time at which the sweep requested the trial, in seconds since 1970.
        marks: time at which each phase of the start-up ended, by name; further phases are added.
        before: slow work that needs no denied path, such as imports; runs after isolation.
        bounds: the paths to deny; None reads them from the sweep's folder.
    """
    os.chdir(folder)
    here = Path()
    told = record.tell(here, state="running", started=time.time(), pid=os.getpid(), host=socket.gethostname())
    try:
        _enter(told, bounds)
        marks["isolated"] = time.time()
        before()
        marks["imported"] = time.time()
        outcome = _trained(told, asked, marks)
    except BaseException as error:  # noqa: BLE001  # the project's own code may raise anything, and the sweep goes on
        traceback.print_exc()
        outcome = {"state": _state_of(error), "error": line(error)}
    for name in (artifacts.WEIGHTS, artifacts.HISTORY):
        if outcome["state"] == "done":
            name.replace(name.name)
    rows = record.epochs(here)
    if outcome["state"] == "pruned":
        outcome["values"] = _values(rows[-1])
    _leave(told)
    sys.stdout.flush()
    record.tell(here, **outcome, epochs=len(rows), seconds=time.time() - marks.get("imported", time.time()))


def _enter(told: dict[str, Any], bounds: isolation.Bounds | None) -> None:
    """Set up the folder as a project that training can run in, limit memory and deny the project's other data."""
    sweep, project = Path().resolve().parents[1], Path(told["project"])
    Path("data").mkdir(exist_ok=True)
    for link, target in {"data/features": sweep / FEATURES, **{name: project / name for name in told["links"]}}.items():
        if not os.path.lexists(link):
            Path(link).symlink_to(target)
    Path(".tmp").mkdir(exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(Path(".tmp").resolve())  # tempfile caches it, also in forks
    if told.get("memory_mb"):
        limit = told["memory_mb"] * 1024 * 1024
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    told["isolation"] = (bounds or bounds_of(sweep)).enter()


def bounds_of(sweep: Path) -> isolation.Bounds:
    """Return the paths that the trials of a sweep are denied."""
    denied = json.loads((sweep / DENIED).read_text(encoding="utf-8"))["closed"]
    return isolation.Bounds.around([Path(each) for each in denied])


def _leave(told: dict[str, Any]) -> None:
    for name in {*WORK, *told["links"]}:
        if Path(name).is_symlink() or Path(name).is_file():
            Path(name).unlink()
        else:
            shutil.rmtree(name, ignore_errors=True)


def _trained(told: dict[str, Any], asked: float, marks: dict[str, float]) -> dict[str, Any]:
    from merit.config import lock as locks
    from merit.config import trust
    from merit.training.run import train

    lock = locks.read()
    trust.refuse_other_code(lock.code)
    marks["read"] = began = time.time()
    _at_first_batch(marks)
    if lock.trainer.devices > 1:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # torch ends this process's ranks by SIGINT when it is killed
    try:
        best = train(lock, _teller())
    except (Pruned, MeritError) as error:
        if not _is_pruned(error):
            raise
        return {"state": "pruned", **_parts(asked, marks)}
    seconds = time.time() - began
    values = {**_values(best), "train_seconds": seconds, "parameters": float(parameters(artifacts.WEIGHTS))}
    return {"state": "done", "values": values, "isolation": told["isolation"], **_parts(asked, marks)}


def _is_pruned(error: BaseException) -> bool:
    """Return whether an error means that the trial was pruned; of a rank's error only the last line is known."""
    return isinstance(error, Pruned) or (Path(STOP).exists() and str(error).endswith(f".{Pruned.__name__}"))


def _at_first_batch(marks: dict[str, float]) -> None:
    from torch.nn.modules.module import register_module_forward_pre_hook

    def first(*_: object) -> None:
        marks.setdefault("first batch", time.time())
        hook.remove()

    hook = register_module_forward_pre_hook(first)


def _parts(asked: float, marks: dict[str, float]) -> dict[str, Any]:
    """Return the seconds from the request to the first batch, in total and by phase."""
    parts, before = {}, asked
    for name, at in sorted(marks.items(), key=lambda each: each[1]):
        parts[name], before = round(at - before, 4), at
    return {"first_batch_seconds": marks.get("first batch", before) - asked, "parts": parts}


def _values(metrics: dict[str, float]) -> dict[str, float]:
    """Return the metrics of the validation rows, without the prefix `validation_`."""
    return {name.removeprefix("validation_"): value for name, value in metrics.items() if name.startswith("validation")}


def _teller() -> Callable[[dict[str, float]], None]:
    """Return the epoch callback: it appends to history.csv, and raises `Pruned` if the file `stop` exists."""

    def tell(metrics: dict[str, float]) -> None:
        artifacts.add_epoch(Path(record.HISTORY), metrics)
        if Path(STOP).exists():
            raise Pruned

    return tell


def parameters(weights: Path) -> int:
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


def line(error: BaseException) -> str:
    """Return an error as one line of at most 500 characters; its traceback is in log.txt."""
    first = next((text for text in str(error).splitlines() if text.strip()), "").strip()
    told = first if isinstance(error, MeritError) else f"{type(error).__name__}: {first}".rstrip(": ")
    if _state_of(error) == "killed":
        told = f"out of memory ({told[:200]}); raise sweep.memory_mb, or make the trial smaller"
    return told[:500]


def _state_of(error: BaseException) -> str:
    short = isinstance(error, MemoryError) or any(word in str(error) for word in NO_MEMORY)
    return "killed" if short else "failed"


def _import() -> None:
    import merit.training.run  # noqa: F401  # slow to import


def main() -> None:
    """Run the trial whose folder the command line names."""
    began, asked = time.time(), float(os.environ.get("MERIT_ASKED") or time.time())
    begin()
    run(Path(sys.argv[1]), asked, {"started": began}, _import)


if __name__ == "__main__":
    main()
    os._exit(0)  # don't wait for threads of libraries
