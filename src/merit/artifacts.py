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

from merit.errors import MeritError

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

CONF = Path("conf")
LOCK = Path("params.yaml")
DVC_LOCK = Path("dvc.lock")

RAW = Path("data/raw.parquet")
"""Written by ingest: the declared columns and the target, one row per example, ordered by the declared keys.

The file's metadata entry `repeated` (REPEATED) is the number of rows that duplicate another row of the source."""
REPEATED = "repeated"

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
COMMIT = "MERIT_COMMIT"
"""Environment variable that tells a serving process the commit of its package."""

GATE_REPORT = Path("reports/gate.json")
GATE_MARKDOWN = Path("reports/gate.md")
GATE_HTML = Path("reports/gate.html")
SWEEP_HTML = Path("reports/sweep.html")
"""Written by train -m: the report of a sweep for people."""
REGISTRATION = Path("reports/registration.json")
"""Written by register: the receipt of the last registration, `{package, gate, uri, run_id, version}`."""


def part(name: str) -> Path:
    """Return the path of the arrays of a part (`train`, `validation`, `test`).

    A safetensors file: `codes` int32 [rows, categories], `numbers` float32 [rows, numbers],
    `target` float32 [rows], and `array0`, `array1`, ... float32 [rows, *shape] for each array column.
    """
    return FEATURES / f"{name}.safetensors"


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary path for a file or folder, which replaces `path` only if the block succeeds.

    Example:
        with written_aside(Path("reports/notes.txt")) as temporary:
            temporary.write_text("complete or not there")

    Raises:
        MeritError: the disk is full, read-only or not writable by this user; `path` is unchanged.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        room = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        aside = room / path.name
        yield aside
        _flush(aside)
        _swap(aside, path, room / "old")
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        shutil.rmtree(room, ignore_errors=True)


def sweep() -> None:
    """Remove the temporary files of killed stages beside their outputs; call it only while no stage runs."""
    parts = [part(name) for name in ("train", "validation", "test")]
    trained = [BASELINE, WEIGHTS, HISTORY, CHECKPOINT]
    reports = [DATA_REPORT, PREDICTIONS, METRICS, PLOTS]
    for path in (RAW, SOURCE_ROWS, TRANSFORM, FEATURES_REPORT, TEST_ROWS, *parts, *trained, *reports, PACKAGE):
        for left in path.parent.glob(f".{path.name}.*"):
            shutil.rmtree(left, ignore_errors=True)


def _unwritable(path: Path, error: OSError) -> MeritError:
    reason = error.strerror or str(error)
    return MeritError(f"{path}: can't be written: {reason}; free space or fix its permissions, then run again")


def _flush(aside: Path) -> None:
    for file in [aside] if aside.is_file() else aside.rglob("*"):
        if file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())


def _swap(new: Path, path: Path, old: Path) -> None:
    """Move `new` to `path`; a folder can't be replaced in one step, so the existing one is moved to `old` first."""
    new.chmod(0o755 if new.is_dir() else 0o644)
    if path.is_dir():
        path.rename(old)
    try:
        new.replace(path)
    except BaseException:
        if old.exists():
            old.rename(path)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, as UTF-8."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON atomically, in the format of `json_text`."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Return a value as indented JSON; NaN and infinity are errors."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path, made_by: str) -> dict[str, Any]:
    """Read a JSON object from a file that the stage `made_by` writes.

    Raises:
        MeritError: the file doesn't exist or is not a JSON object.
    """
    try:
        value = json.loads(require(path, made_by).read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise MeritError(f"{path}: can't be read as JSON ({error}); make it again with 'merit {made_by}'") from error
    if not isinstance(value, dict):
        raise MeritError(f"{path}: holds no JSON object; make it again with 'merit {made_by}'")
    return value


def add_epoch(path: Path, metrics: dict[str, float]) -> None:
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

    with written_aside(path) as aside:
        try:
            table.write_parquet(aside, compression="zstd", metadata=metadata)
        except pl.exceptions.PolarsError as error:  # Polars' error for a full disk
            raise OSError(str(error)) from error


def write_arrays(path: Path, arrays: "Mapping[str, NDArray[Any]]") -> None:
    """Write a safetensors file atomically."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    with written_aside(path) as aside:
        try:
            save_file(dict(arrays), aside)
        except SafetensorError as error:  # safetensors' error for a full disk
            raise OSError(str(error)) from error


def read_arrays(path: Path, made_by: str) -> "dict[str, NDArray[Any]]":
    """Read a safetensors file that the stage `made_by` writes.

    Raises:
        MeritError: the file doesn't exist or is not valid safetensors.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(require(path, made_by)))
    except SafetensorError as error:
        raise MeritError(f"{path}: can't be read ({error}); make it again with 'merit {made_by}'") from error


def read_table(path: Path, made_by: str) -> "pl.DataFrame":
    """Read a Parquet file that the stage `made_by` writes.

    Raises:
        MeritError: the file doesn't exist or is not valid Parquet.
    """
    import polars as pl

    if fault := parquet_fault(require(path, made_by)):
        raise MeritError(f"{path}: {fault}; make it again with 'merit {made_by}'")
    try:
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise MeritError(
            f"{path}: can't be read as Parquet ({reason}); make it again with 'merit {made_by}'"
        ) from error


def parquet_fault(path: Path) -> str:
    """Return why a path is not a complete Parquet file, judged by its size and magic bytes; empty if it is one."""
    if path.is_dir():
        return "is a folder, not a Parquet file; remove it"
    if path.stat().st_size == 0:
        return "is empty, not a Parquet file"
    with path.open("rb") as handle:
        first = handle.read(4)
        handle.seek(-min(4, path.stat().st_size), os.SEEK_END)
        last = handle.read(4)
    if (first, last) == (b"PAR1", b"PAR1"):
        return ""
    return "is cut off" if first == b"PAR1" else "is no Parquet file"


def require(path: Path, made_by: str) -> Path:
    """Return `path` if it exists.

    Raises:
        MeritError: it doesn't; the line names the stage that writes it, and `merit pull` if dvc.lock names it.
    """
    if not path.exists():
        pull = f"'merit pull' brings what {DVC_LOCK} names, " if _is_locked(path) else ""
        everything = "" if made_by == "run" else ", 'merit run' makes everything"
        raise MeritError(f"{path}: not found; {pull}'merit {made_by}' makes it{everything}")
    return path


def _is_locked(path: Path) -> bool:
    """Return whether dvc.lock names a path or one of its parent folders."""
    if not DVC_LOCK.is_file():
        return False
    relative = Path(os.path.relpath(path))
    lines = DVC_LOCK.read_text(encoding="utf-8", errors="replace").splitlines()
    named = {line.strip().removeprefix("- path: ") for line in lines}
    return any(each.as_posix() in named for each in (relative, *relative.parents))


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def package_digest(package: Path) -> str:
    """Return a package's digest: the SHA-256 of its manifest, which contains the hashes of all its files."""
    return "sha256:" + sha256(require(package / MANIFEST, "package"))
