"""Checks the paths of outputs, and of files in output folders.

A hash in dvc.lock decides which files DVC writes where, and a diff doesn't show them. So an output must be data under a
plain path: no code, no settings, no hidden files, nothing outside of the project.
"""

import re
import unicodedata
from collections.abc import Collection

MAX_PATH_CHARACTERS = 1_000
MAX_NAME_BYTES = 255
"""The longest file name that common file systems accept."""
RESERVED_FOLDERS = frozenset({"conf", "deploy", "src"})
"""Top-level folders whose content is reviewed as text: configuration, deployment manifests, code."""
CODE_SUFFIXES = (
    ".bash",
    ".bat",
    ".cfg",
    ".cmd",
    ".dll",
    ".dvc",
    ".dylib",
    ".exe",
    ".fish",
    ".ini",
    ".mk",
    ".ps1",
    ".pth",
    ".py",
    ".pyc",
    ".pyd",
    ".pyi",
    ".pyo",
    ".pyx",
    ".sh",
    ".so",
    ".toml",
    ".zsh",
)
"""Suffixes of files that are executed or read as settings, in any folder."""
TOP_LEVEL_SUFFIXES = (".lock", ".yaml", ".yml")
"""Suffixes of settings in the project's top-level folder, such as params.yaml."""
SETTINGS_FILES = frozenset({"containerfile", "dockerfile", "dvc.lock", "dvc.yaml", "gnumakefile", "makefile"})
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_()+,=@%-]|\.(?![./]|$)|/(?=[A-Za-z0-9_]))*")
"""Matches common harmless paths, which skip the slower checks."""


def find_fault(path: str) -> str:
    """Return the reason why a relative path may not be that of an output; empty if it may.

    >>> find_fault("data/raw.parquet")
    ''
    >>> find_fault("src/train.py")
    'lies in src/, which is reviewed as text'
    """
    if not path or len(path) > MAX_PATH_CHARACTERS:
        return f"has {len(path):,} characters; 1 to {MAX_PATH_CHARACTERS:,} are allowed"
    parts = path.split("/")
    if not _PLAIN_PATH.fullmatch(path) and (
        reason := _find_odd_characters(path) or next(filter(None, map(_find_odd_component, parts)), "")
    ):
        return reason
    if len(path) > MAX_NAME_BYTES // 4 and any(len(part.encode(errors="replace")) > MAX_NAME_BYTES for part in parts):
        return f"has a part of more than {MAX_NAME_BYTES} bytes"
    if _normalize_path(parts[0]) in RESERVED_FOLDERS:
        return f"lies in {parts[0]}/, which is reviewed as text"
    last = _normalize_path(parts[-1])
    is_code = (
        last.endswith(CODE_SUFFIXES)
        or last in SETTINGS_FILES
        or (len(parts) == 1 and last.endswith(TOP_LEVEL_SUFFIXES))
    )
    return "is code or settings, not data" if is_code else ""


def _find_odd_characters(path: str) -> str:
    """Return the problem with the characters of a path; empty if there is none."""
    if not path.isprintable():
        return "has characters that can't be seen"
    if "\\" in path or ":" in path:
        return "has a backslash or a colon"
    return "is absolute" if path.startswith("/") else ""


def _find_odd_component(part: str) -> str:
    """Return the problem with one component of a path; empty if there is none."""
    if part in {"", ".", ".."}:
        return "leads elsewhere: it has an empty part, '.' or '..'"
    if part.startswith((".", "~")) or _normalize_path(part) == "git~1":
        return "is hidden: a part of it begins with '.' or '~'"
    is_odd = part != part.strip(" ").rstrip(".")
    return "has a part that begins or ends with a space, or ends with a dot" if is_odd else ""


def find_clash(paths: Collection[str]) -> str:
    """Return a path that occurs twice, or is also a folder of another path; empty if there is none.

    Paths that differ only in case or Unicode normalisation count as the same, as on some file systems.
    """
    files: dict[str, str] = {}
    for path in paths:
        if (normalized := _normalize_path(path)) in files:
            return path
        files[normalized] = path
    folders: set[str] = set()
    for normalized in files:
        folder = normalized.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    return next((path for same, path in files.items() if same in folders), "")


def _normalize_path(path: str) -> str:
    """Return a path with case and Unicode normalisation removed, as case-insensitive file systems compare names."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", path).casefold())


def escape_path(path: object) -> str:
    """Return an unchecked path for a message: escaped, and shortened to 80 characters."""
    text = ascii(path)
    return text if len(text) <= 80 else f"{text[:80]}..."
