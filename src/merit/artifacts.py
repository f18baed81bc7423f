"""Every file that passes between rooms: its path, its form, and how it is written so that none is ever half there.

Paths are relative to the repository's root, where every command runs.
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
"""ingest: the declared columns and the target, one row per example, ordered by the declared keys.

Its metadata hold, as REPEATED, how many of these rows repeat another one in all that the source says of it."""
REPEATED = "repeated"

SOURCE_ROWS = Path("data/source_rows.parquet")
"""ingest: `row`, the place of each row of RAW in the source's table, from 0; the metadata `raw` is RAW's hash."""

DATA_REPORT = Path("reports/data.json")
"""validate: `{passed, rows, columns, violations: [{check, column, found, allowed, rows, examples}]}`."""

FEATURES = Path("data/features")
TRANSFORM = FEATURES / "transform.onnx"
"""features: the fitted preprocessing as a graph: raw columns in, `codes` and `numbers` out."""
FEATURES_REPORT = FEATURES / "features.json"
"""features: `{made_for, categories, cardinalities, numbers, shapes, target: {mean, deviation}, parts: {train: {rows,
from, to, target}, ...}, fitted}`."""
TEST_ROWS = FEATURES / "test.parquet"
"""features: the test rows of RAW, in the order of the arrays of the part `test`."""

BASELINE = Path("training/baseline.parquet")
"""baseline: one row per test row, in their order: `baseline`, as `metrics.prepare_metrics` takes it."""

WEIGHTS = Path("training/weights.safetensors")
HISTORY = Path("training/history.csv")
"""train: one line per epoch: `epoch`, and the metrics of the training and the validation rows."""
CHECKPOINT = Path("training/checkpoint.safetensors")
"""train: what a killed training goes on from, and no output of the stage: it is gone when that has ended."""

PREDICTIONS = Path("reports/predictions.parquet")
"""evaluate: one row per test row, in their order: `target`, `prediction`, `baseline`.

The target is 0 or 1, the place of the class, or the number; the others are as `metrics.prepare_metrics` takes them."""
METRICS = Path("reports/metrics.json")
"""evaluate: `{rows, candidate: {metric: {value, low, high}}, baseline: {...}, slices: [...]}`."""
PLOTS = Path("reports/plots")

PACKAGE = Path("model")
GRAPH = "model.onnx"
SIGNATURE = "signature.json"
PACKAGED_WEIGHTS = "weights.safetensors"
PACKAGED_LOCK = "params.yaml"
MANIFEST = "manifest.json"
"""package: `{model, params_sha256, data_sha256, files: {name: sha256}, parity: {...}, libraries}`."""
COMMIT = "MERIT_COMMIT"
"""The variable of the environment by which whoever serves a package says which commit it is of."""

GATE_REPORT = Path("reports/gate.json")
GATE_MARKDOWN = Path("reports/gate.md")
GATE_HTML = Path("reports/gate.html")
SWEEP_HTML = Path("reports/sweep.html")
"""train -m: what a sweep found, for people."""
REGISTRATION = Path("reports/registration.json")
"""register: the receipt of the last registration: `{package, gate, uri, run_id, version}`."""


def part(name: str) -> Path:
    """Return the arrays of a part (`train`, `validation`, `test`).

    A safetensors file: `codes` int32 [rows, categories], `numbers` float32 [rows, numbers],
    `target` float32 [rows], and `array0`, `array1`, ... float32 [rows, *shape] for each array column.
    """
    return FEATURES / f"{name}.safetensors"


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Yield a path to write a file or fill a folder at; it takes the place of `path` only if the block succeeds.

    Raises:
        MeritError: the disk is full, read-only or not ours; what stood at `path` before still stands.
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
    """Remove what stages that were killed left beside their outputs; no stage may be at work."""
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
    """Put `new` at `path`; a folder can't be replaced in one step, so the former is moved away first."""
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
    """Write a text file whole or not at all."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all, in a stable form."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Return JSON in a stable form."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path, made_by: str) -> dict[str, Any]:
    """Read a JSON file that the stage `made_by` writes.

    Raises:
        MeritError: it is not there, or it is not JSON.
    """
    try:
        value = json.loads(require(path, made_by).read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise MeritError(f"{path}: can't be read as JSON ({error}); make it again with 'merit {made_by}'") from error
    if not isinstance(value, dict):
        raise MeritError(f"{path}: holds no JSON object; make it again with 'merit {made_by}'")
    return value


def add_epoch(path: Path, metrics: dict[str, float]) -> None:
    """Add an epoch's metrics as a line of a CSV file, which begins with their names."""
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(metrics), lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow({**metrics, "epoch": int(metrics["epoch"])})


def write_table(path: Path, table: "pl.DataFrame", metadata: dict[str, str] | None = None) -> None:
    """Write a Parquet file whole or not at all, with what is said of the whole of it."""
    import polars as pl

    with written_aside(path) as aside:
        try:
            table.write_parquet(aside, compression="zstd", metadata=metadata)
        except pl.exceptions.PolarsError as error:  # what Polars makes of a full disk
            raise OSError(str(error)) from error


def write_arrays(path: Path, arrays: "Mapping[str, NDArray[Any]]") -> None:
    """Write a safetensors file whole or not at all."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    with written_aside(path) as aside:
        try:
            save_file(dict(arrays), aside)
        except SafetensorError as error:  # what safetensors makes of a full disk
            raise OSError(str(error)) from error


def read_arrays(path: Path, made_by: str) -> "dict[str, NDArray[Any]]":
    """Read a safetensors file that the stage `made_by` writes.

    Raises:
        MeritError: it is not there, or it is not of that form any more.
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
        MeritError: it is not there, or it is not Parquet any more.
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
    """Return what keeps a file from being Parquet that was written to its end; empty if nothing does."""
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
    """Return `path` if it is there.

    Raises:
        MeritError: it is not; the line names the stage that makes it, and what brings it where dvc.lock names it.
    """
    if not path.exists():
        pull = f"'merit pull' brings what {DVC_LOCK} names, " if _is_locked(path) else ""
        everything = "" if made_by == "run" else ", 'merit run' makes everything"
        raise MeritError(f"{path}: not found; {pull}'merit {made_by}' makes it{everything}")
    return path


def _is_locked(path: Path) -> bool:
    """Say whether dvc.lock names a path of the pipeline, or a folder that it lies in."""
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
    """Return the digest that names a package: the SHA-256 of its manifest, which holds those of all its files."""
    return "sha256:" + sha256(require(package / MANIFEST, "package"))
