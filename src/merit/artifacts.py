"""Defines the path and schema of every file that stages exchange, and reads and writes these files atomically.

Paths are relative to the repository's root, the working directory of every command.
"""

import csv
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from merit.console.logging import logger
from merit.errors import MeritError

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

CONF = Path("conf")
LOCK = Path("params.yaml")
DVC_LOCK = Path("dvc.lock")

RAW = Path("data/raw.parquet")
"""Written by ingest: the declared columns and the target, one row per example, ordered by the declared keys.

The file's metadata entry `repeated` (DUPLICATES_KEY) is the number of rows that duplicate another row of the source."""
DUPLICATES_KEY = "repeated"

SOURCE_ROWS = Path("data/source_rows.parquet")
"""Written by ingest: `row`, the index (from 0) in the source's table of each row of RAW.

The file's metadata entry `raw` is the hash of RAW."""

DATA_REPORT = Path("reports/data.json")
"""Written by validate: `{passed, rows, columns, violations: [{check, column, found, allowed, rows, examples}]}`."""

FEATURES = Path("data/features")
TRANSFORM = FEATURES / "transform.onnx"
"""Written by features: the fitted preprocessing as an ONNX graph from raw columns to `codes` and `numbers`."""
FEATURES_REPORT = FEATURES / "features.json"
"""Written by features: `{made_for, categories, cardinalities, numbers, shapes, target: {mean, deviation}, parts:
{train: {rows, from, to, target}, ...}, fitted}`."""
TEST_ROWS = FEATURES / "test.parquet"
"""Written by features: the test rows of RAW, in the order of the arrays of the part `test`."""

BASELINE = Path("training/baseline.parquet")
"""Written by baseline: `baseline`, one row per test row in their order, in the form that `metrics.prepare_metrics`
takes."""

WEIGHTS = Path("training/weights.safetensors")
HISTORY = Path("training/history.csv")
"""Written by train: one line per epoch with `epoch` and the metrics of the training and the validation rows."""
CHECKPOINT = Path("training/checkpoint.safetensors")
"""Written by train: the state from which a killed training resumes; not an output, removed when the stage ends."""

SEEDS = Path("training/seeds")
"""Written by seeds: `SEED.onnx` for each further seed of the recipe, graphs as the package has one."""

PREDICTIONS = Path("reports/predictions.parquet")
"""Written by evaluate: `target`, `prediction` and `baseline`, one row per test row in their order.

The target is 0 or 1, the index of the class, or the number; the others are in the form that `metrics.prepare_metrics`
takes."""
METRICS = Path("reports/metrics.json")
"""Written by evaluate: `{rows, candidate: {metric: {value, low, high}}, baseline: {...}, slices: [...]}`."""
PLOTS = Path("reports/plots")

PACKAGE = Path("model")
GRAPH = "model.onnx"
SIGNATURE = "signature.json"
PACKAGED_WEIGHTS = "weights.safetensors"
PACKAGED_LOCK = "params.yaml"
MANIFEST = "manifest.json"
"""Written by package: `{model, params_sha256, data_sha256, files: {name: sha256}, parity: {...}, libraries}`."""
COMMIT_VARIABLE = "MERIT_COMMIT"
"""Environment variable that tells a serving process the commit of its package."""

GATE_REPORT = Path("reports/gate.json")
GATE_MARKDOWN = Path("reports/gate.md")
GATE_HTML = Path("reports/gate.html")
SWEEP_HTML = Path("reports/sweep.html")
"""Written by train -m: the report of a sweep for people."""
REGISTRATION = Path("reports/registration.json")
"""Written by register: the receipt of the last registration, `{package, gate, uri, run_id, version}`."""


def part_path(name: str) -> Path:
    """Return the path of the arrays of a part (`train`, `validation`, `test`).

    A safetensors file: `codes` int32 [rows, categories], `numbers` float32 [rows, numbers],
    `target` float32 [rows], and `array0`, `array1`, ... float32 [rows, *shape] for each array column.
    """
    return FEATURES / f"{name}.safetensors"


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary path for a file or folder, which replaces `path` only if the block succeeds.

    Example:
        with write_atomically(Path("reports/notes.txt")) as temporary:
            temporary.write_text("complete or not there")

    Raises:
        MeritError: the disk is full, read-only or not writable by this user; `path` is unchanged.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary_folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise _write_error(path, error) from error
    try:
        temporary_path = temporary_folder / path.name
        yield temporary_path
        _sync_to_disk(temporary_path)
        _replace_path(temporary_path, path, temporary_folder / "old")
        logger.debug("writes %s", path)
    except OSError as error:
        raise _write_error(path, error) from error
    finally:
        shutil.rmtree(temporary_folder, ignore_errors=True)


def remove_temporary_files() -> None:
    """Remove the temporary files of killed stages beside their outputs; call it only while no stage runs."""
    parts = [part_path(name) for name in ("train", "validation", "test")]
    training_files = [BASELINE, WEIGHTS, HISTORY, CHECKPOINT, SEEDS]
    reports = [DATA_REPORT, PREDICTIONS, METRICS, PLOTS]
    for path in (RAW, SOURCE_ROWS, TRANSFORM, FEATURES_REPORT, TEST_ROWS, *parts, *training_files, *reports, PACKAGE):
        for leftover in path.parent.glob(f".{path.name}.*"):
            shutil.rmtree(leftover, ignore_errors=True)


def _write_error(path: Path, error: OSError) -> MeritError:
    reason = error.strerror or str(error)
    return MeritError(f"{path}: can't be written: {reason}; free space or fix its permissions, then run again")


def _sync_to_disk(path: Path) -> None:
    for file in [path] if path.is_file() else path.rglob("*"):
        if file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())


def _replace_path(new: Path, path: Path, backup: Path) -> None:
    """Move `new` to `path`; a folder can't be replaced in one step, so the existing one is moved to `backup` first."""
    new.chmod(0o755 if new.is_dir() else 0o644)
    if path.is_dir():
        path.rename(backup)
    try:
        new.replace(path)
    except BaseException:
        if backup.exists():
            backup.rename(path)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, as UTF-8."""
    with write_atomically(path) as temporary_path:
        temporary_path.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON atomically, in the format of `render_json`."""
    write_text(path, render_json(value))


def render_json(value: Any) -> str:
    """Return a value as indented JSON; NaN and infinity are errors."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path, command: str) -> dict[str, Any]:
    """Read a JSON object from a file that the stage `command` writes.

    Raises:
        MeritError: the file doesn't exist or is not a JSON object.
    """
    try:
        value = json.loads(_require_input(path, command).read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise MeritError(f"{path}: can't be read as JSON ({error}); make it again with 'merit {command}'") from error
    if not isinstance(value, dict):
        raise MeritError(f"{path}: holds no JSON object; make it again with 'merit {command}'")
    return value


def append_epoch(path: Path, metrics: dict[str, float]) -> None:
    """Append an epoch's metrics to a CSV file; a new file gets a header line with their names."""
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(metrics), lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow({**metrics, "epoch": int(metrics["epoch"])})


def write_table(path: Path, table: "pl.DataFrame", metadata: dict[str, str] | None = None) -> None:
    """Write a Parquet file atomically, with metadata of the file."""
    import polars as pl

    with write_atomically(path) as temporary_path:
        try:
            table.write_parquet(temporary_path, compression="zstd", metadata=metadata)
        except pl.exceptions.PolarsError as error:  # Polars' error for a full disk
            raise OSError(str(error)) from error


def write_arrays(path: Path, arrays: "Mapping[str, NDArray[Any]]") -> None:
    """Write a safetensors file atomically."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    with write_atomically(path) as temporary_path:
        try:
            save_file(dict(arrays), temporary_path)
        except SafetensorError as error:  # safetensors' error for a full disk
            raise OSError(str(error)) from error


def read_arrays(path: Path, command: str) -> "dict[str, NDArray[Any]]":
    """Read a safetensors file that the stage `command` writes.

    Raises:
        MeritError: the file doesn't exist or is not valid safetensors.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(_require_input(path, command)))
    except SafetensorError as error:
        raise MeritError(f"{path}: can't be read ({error}); make it again with 'merit {command}'") from error


def read_table(path: Path, command: str) -> "pl.DataFrame":
    """Read a Parquet file that the stage `command` writes.

    Raises:
        MeritError: the file doesn't exist or is not valid Parquet.
    """
    import polars as pl

    if fault := find_parquet_fault(_require_input(path, command)):
        raise MeritError(f"{path}: {fault}; make it again with 'merit {command}'")
    try:
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise MeritError(
            f"{path}: can't be read as Parquet ({reason}); make it again with 'merit {command}'"
        ) from error


def find_parquet_fault(path: Path) -> str:
    """Return why a path is not a complete Parquet file, judged by its size and magic bytes; empty if it is one."""
    if path.is_dir():
        return "is a folder, not a Parquet file; remove it"
    if path.stat().st_size == 0:
        return "is empty, not a Parquet file"
    with path.open("rb") as handle:
        header = handle.read(4)
        handle.seek(-min(4, path.stat().st_size), os.SEEK_END)
        footer = handle.read(4)
    if (header, footer) == (b"PAR1", b"PAR1"):
        return ""
    return "is cut off" if header == b"PAR1" else "is no Parquet file"


def require_path(path: Path, command: str) -> Path:
    """Return `path` if it exists.

    Raises:
        MeritError: it doesn't; the line names the stage that writes it, and `merit pull` if dvc.lock names it.
    """
    if not path.exists():
        pull_hint = f"'merit pull' brings what {DVC_LOCK} names, " if _is_in_dvc_lock(path) else ""
        run_hint = "" if command == "run" else ", 'merit run' makes everything"
        raise MeritError(f"{path}: not found; {pull_hint}'merit {command}' makes it{run_hint}")
    return path


def _require_input(path: Path, command: str) -> Path:
    """Return `require_path`, once the log names the file as read."""
    logger.debug("reads %s", require_path(path, command))
    return path


def _is_in_dvc_lock(path: Path) -> bool:
    """Return whether dvc.lock names a path or one of its parent folders."""
    if not DVC_LOCK.is_file():
        return False
    relative = Path(os.path.relpath(path))
    lines = DVC_LOCK.read_text(encoding="utf-8", errors="replace").splitlines()
    locked_paths = {line.strip().removeprefix("- path: ") for line in lines}
    return any(parent.as_posix() in locked_paths for parent in (relative, *relative.parents))


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def hash_package(package: Path) -> str:
    """Return a package's digest: the SHA-256 of its manifest, which contains the hashes of all its files."""
    return "sha256:" + hash_file(require_path(package / MANIFEST, "package"))
