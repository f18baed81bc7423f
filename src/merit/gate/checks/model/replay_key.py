"""Cache key of the replay check: a hash of everything that the Bento's predictions depend on."""

import hashlib
import importlib.metadata
import json
import platform
import re
from pathlib import Path

from merit import artifacts
from merit.errors import MeritError
from merit.packaging import bento_files


def compute_cache_key(rows: int) -> str:
    """Return the hash of everything that predictions for `rows` test rows depend on: package, code, libraries, rows."""
    try:
        file_hashes = {name: artifacts.hash_file(path) for name, path in bento_files.list_files().items()}
        versions = _find_versions(Path(bento_files.read_bentofile()[1]).read_text(encoding="utf-8"))
    except MeritError as error:
        file_hashes, versions = {"": str(error)}, {}
    code_hashes = [
        artifacts.hash_file(path) for path in [*sorted(Path(__file__).parent.glob("*.py")), Path(bento_files.__file__)]
    ]
    platform_names = [platform.python_version(), platform.machine()]
    row_hashes: list[int | str] = [rows, artifacts.hash_file(artifacts.require_path(artifacts.TEST_ROWS, "features"))]
    if artifacts.SOURCE_ROWS.is_file():
        row_hashes.append(artifacts.hash_file(artifacts.SOURCE_ROWS))
    text = json.dumps([file_hashes, versions, code_hashes, platform_names, row_hashes])
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _find_versions(requirements: str) -> dict[str, str]:
    """Return the installed versions of the requirements; those not installed are left out."""
    names = re.findall(r"(?m)^([A-Za-z0-9][A-Za-z0-9._-]*)", requirements)
    return {name: version for name in names if (version := _find_version(name)) is not None}


def _find_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
