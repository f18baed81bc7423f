"""Compares two versions of a DVC output, named by the hashes in two dvc.lock files, as far as DVC's cache has them."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from merit import artifacts
from merit.dvc import cache
from merit.errors import MeritError
from merit.gate.report.escape import plain

Versions = tuple[str | None, str | None]
"""The hashes of an output before and now; None where the output does not exist."""


def _part(versions: Versions, told: list[dict[str, Any] | None], **more: Any) -> dict[str, Any]:
    """Build a section of the difference: the hash of each side, with its details if DVC's cache has the file."""
    sides = [
        None if md5 is None else {"hash": md5, "here": found is not None, **(found or {})}
        for md5, found in zip(versions, told, strict=True)
    ]
    return {"same": versions[0] == versions[1], "before": sides[0], "after": sides[1], **more}


def data(versions: Versions) -> dict[str, Any]:
    """Compare two versions of the data: rows, columns and column types."""
    tables = [_table(md5) for md5 in versions]
    columns = None
    if tables[0] is not None and tables[1] is not None:
        columns = _columns(tables[0]["types"], tables[1]["types"])
    told = [table and {"rows": table["rows"], "columns": len(table["types"])} for table in tables]
    return _part(versions, told, columns=columns)


def _table(md5: str | None) -> dict[str, Any] | None:
    path = _cached(md5)
    if path is None:
        return None
    import polars as pl

    try:
        scanned = pl.scan_parquet(path)
        types = {name: str(kind) for name, kind in scanned.collect_schema().items()}
        return {"rows": int(scanned.select(pl.len()).collect().item()), "types": types}
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _broken(path, error) from error


def _columns(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, Any]:
    return {
        "added": [name for name in new if name not in old],
        "gone": [name for name in old if name not in new],
        "retyped": [
            {"column": name, "before": old[name], "after": new[name]}
            for name in new
            if name in old and old[name] != new[name]
        ],
    }


def metrics(versions: Versions) -> dict[str, Any]:
    """Compare two metrics files: the candidate's value of each metric, each on its own test rows (not paired)."""
    told = [_json(md5) for md5 in versions]
    old, new = ((each or {}).get("candidate") or {} for each in told)
    values = [
        {
            "metric": name,
            "before": (old.get(name) or {}).get("value"),
            "after": (new.get(name) or {}).get("value"),
        }
        for name in dict.fromkeys([*new, *old])
    ]
    return _part(versions, [None if each is None else {} for each in told], values=values)


def package(versions: Versions) -> dict[str, Any]:
    """Compare two packages: digest, size and files."""
    told = [_files(md5) for md5 in versions]
    files = None
    if told[0] is not None and told[1] is not None:
        old, new = told[0]["files"], told[1]["files"]
        files = _columns(old, new)
        files = {"added": files["added"], "gone": files["gone"], "changed": [e["column"] for e in files["retyped"]]}
    return _part(versions, [each and {k: each[k] for k in ("digest", "bytes")} for each in told], files=files)


def _files(md5: str | None) -> dict[str, Any] | None:
    """Return a package's files with their hashes, its digest and its size; None if the cache lacks it."""
    files = None if md5 is None else cache.files(md5, artifacts.PACKAGE.as_posix())
    if files is None or (manifest := files.get(artifacts.MANIFEST)) is None:
        return None
    digest = "sha256:" + hashlib.sha256(manifest.read_bytes()).hexdigest()
    hashes = {name: path.parent.name + path.name for name, path in files.items()}
    return {"files": hashes, "digest": digest, "bytes": sum(path.stat().st_size for path in files.values())}


def _json(md5: str | None) -> dict[str, Any] | None:
    path = _cached(md5)
    if path is None:
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise _broken(path, error) from error
    return found if isinstance(found, dict) else None


def _broken(path: Path, error: Exception) -> MeritError:
    return MeritError(f"{path}: can't be read ({plain(error, 120)}); delete it, then 'merit pull' brings it again")


def _cached(md5: str | None) -> Path | None:
    """Return the path of a file in DVC's cache, or None if the cache lacks it."""
    return None if md5 is None else cache.file(md5)
