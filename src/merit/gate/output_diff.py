"""Compares two versions of a DVC output, named by the hashes in two dvc.lock files, as far as DVC's cache has them."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from merit import artifacts
from merit.dvc import cache
from merit.errors import MeritError
from merit.gate.report.escape import sanitize_line

HashPair = tuple[str | None, str | None]
"""The hashes of an output before and now; None where the output does not exist."""


def _build_section(versions: HashPair, details: list[dict[str, Any] | None], **extra: Any) -> dict[str, Any]:
    """Build a section of the difference: the hash of each side, with its details if DVC's cache has the file."""
    sides = [
        None if md5 is None else {"hash": md5, "here": side_details is not None, **(side_details or {})}
        for md5, side_details in zip(versions, details, strict=True)
    ]
    return {"same": versions[0] == versions[1], "before": sides[0], "after": sides[1], **extra}


def compare_data(versions: HashPair) -> dict[str, Any]:
    """Compare two versions of the data: rows, columns and column types."""
    tables = [_read_table_summary(md5) for md5 in versions]
    columns = None
    if tables[0] is not None and tables[1] is not None:
        columns = _compare_columns(tables[0]["types"], tables[1]["types"])
    details = [table and {"rows": table["rows"], "columns": len(table["types"])} for table in tables]
    return _build_section(versions, details, columns=columns)


def _read_table_summary(md5: str | None) -> dict[str, Any] | None:
    path = _find_cached_file(md5)
    if path is None:
        return None
    import polars as pl

    try:
        frame = pl.scan_parquet(path)
        types = {name: str(kind) for name, kind in frame.collect_schema().items()}
        return {"rows": int(frame.select(pl.len()).collect().item()), "types": types}
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _create_read_error(path, error) from error


def _compare_columns(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, Any]:
    return {
        "added": [name for name in new if name not in old],
        "gone": [name for name in old if name not in new],
        "retyped": [
            {"column": name, "before": old[name], "after": new[name]}
            for name in new
            if name in old and old[name] != new[name]
        ],
    }


def compare_metrics(versions: HashPair) -> dict[str, Any]:
    """Compare two metrics files: the candidate's value of each metric, each on its own test rows (not paired)."""
    contents = [_read_json(md5) for md5 in versions]
    old, new = ((each or {}).get("candidate") or {} for each in contents)
    values = [
        {
            "metric": name,
            "before": (old.get(name) or {}).get("value"),
            "after": (new.get(name) or {}).get("value"),
        }
        for name in dict.fromkeys([*new, *old])
    ]
    return _build_section(versions, [None if each is None else {} for each in contents], values=values)


def compare_packages(versions: HashPair) -> dict[str, Any]:
    """Compare two packages: digest, size and files."""
    summaries = [_read_package_files(md5) for md5 in versions]
    files = None
    if summaries[0] is not None and summaries[1] is not None:
        old, new = summaries[0]["files"], summaries[1]["files"]
        files = _compare_columns(old, new)
        files = {"added": files["added"], "gone": files["gone"], "changed": [e["column"] for e in files["retyped"]]}
    return _build_section(
        versions, [each and {k: each[k] for k in ("digest", "bytes")} for each in summaries], files=files
    )


def _read_package_files(md5: str | None) -> dict[str, Any] | None:
    """Return a package's files with their hashes, its digest and its size; None if the cache lacks it."""
    files = None if md5 is None else cache.find_files(md5, artifacts.PACKAGE.as_posix())
    if files is None or (manifest := files.get(artifacts.MANIFEST)) is None:
        return None
    digest = "sha256:" + hashlib.sha256(manifest.read_bytes()).hexdigest()
    hashes = {name: path.parent.name + path.name for name, path in files.items()}
    return {"files": hashes, "digest": digest, "bytes": sum(path.stat().st_size for path in files.values())}


def _read_json(md5: str | None) -> dict[str, Any] | None:
    path = _find_cached_file(md5)
    if path is None:
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise _create_read_error(path, error) from error
    return content if isinstance(content, dict) else None


def _create_read_error(path: Path, error: Exception) -> MeritError:
    return MeritError(
        f"{path}: can't be read ({sanitize_line(error, 120)}); delete it, then 'merit pull' brings it again"
    )


def _find_cached_file(md5: str | None) -> Path | None:
    """Return the path of a file in DVC's cache, or None if the cache lacks it."""
    return None if md5 is None else cache.find_file(md5)
