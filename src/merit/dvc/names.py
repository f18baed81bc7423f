"""Checks the paths of outputs, and of files in output folders.

A hash in dvc.lock decides which files DVC writes where, and a diff doesn't show them. So an output must be data under a
plain path: no code, no settings, no hidden files, nothing outside of the project.
"""

import re
import unicodedata
from collections.abc import Collection

MOST_CHARACTERS = 1_000
MOST_BYTES = 255
"""The longest file name that common file systems accept."""
RESERVED = frozenset({"conf", "deploy", "src"})
"""Top-level folders whose content is reviewed as text: configuration, deployment manifests, code."""
CODE = (".bash", ".bat", ".cfg", ".cmd", ".dll", ".dvc", ".dylib", ".exe", ".fish", ".ini", ".mk", ".ps1", ".pth",
        ".py", ".pyc", ".pyd", ".pyi", ".pyo", ".pyx", ".sh", ".so", ".toml", ".zsh")  # fmt: skip
"""Suffixes of files that are executed or read as settings, in any folder."""
TOP = (".lock", ".yaml", ".yml")
"""Suffixes of settings in the project's top-level folder, such as params.yaml."""
SETTINGS = frozenset({"containerfile", "dockerfile", "dvc.lock", "dvc.yaml", "gnumakefile", "makefile"})
_PLAIN = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_()+,=@%-]|\.(?![./]|$)|/(?=[A-Za-z0-9_]))*")
"""Matches common harmless paths, which skip the slower checks."""


def fault(path: str) -> str:
    """Return the reason why a relative path may not be that of an output; empty if it may.

    >>> fault("data/raw.parquet")
    ''
    >>> fault("src/train.py")
    'lies in src/, which is reviewed as text'
    """
    if not path or len(path) > MOST_CHARACTERS:
        return f"has {len(path):,} characters; 1 to {MOST_CHARACTERS:,} are allowed"
    parts = path.split("/")
    if not _PLAIN.fullmatch(path) and (reason := _odd(path) or next(filter(None, map(_odd_part, parts)), "")):
        return reason
    if len(path) > MOST_BYTES // 4 and any(len(part.encode(errors="replace")) > MOST_BYTES for part in parts):
        return f"has a part of more than {MOST_BYTES} bytes"
    if _same(parts[0]) in RESERVED:
        return f"lies in {parts[0]}/, which is reviewed as text"
    last = _same(parts[-1])
    is_code = last.endswith(CODE) or last in SETTINGS or (len(parts) == 1 and last.endswith(TOP))
    return "is code or settings, not data" if is_code else ""


def _odd(path: str) -> str:
    """Return the problem with the characters of a path; empty if there is none."""
    if not path.isprintable():
        return "has characters that can't be seen"
    if "\\" in path or ":" in path:
        return "has a backslash or a colon"
    return "is absolute" if path.startswith("/") else ""


def _odd_part(part: str) -> str:
    """Return the problem with one component of a path; empty if there is none."""
    if part in {"", ".", ".."}:
        return "leads elsewhere: it has an empty part, '.' or '..'"
    if part.startswith((".", "~")) or _same(part) == "git~1":
        return "is hidden: a part of it begins with '.' or '~'"
    odd = part != part.strip(" ").rstrip(".")
    return "has a part that begins or ends with a space, or ends with a dot" if odd else ""


def clash(paths: Collection[str]) -> str:
    """Return a path that occurs twice, or is also a folder of another path; empty if there is none.

    Paths that differ only in case or Unicode normalisation count as the same, as on some file systems.
    """
    files: dict[str, str] = {}
    for path in paths:
        if (same := _same(path)) in files:
            return path
        files[same] = path
    folders: set[str] = set()
    for same in files:
        folder = same.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    return next((path for same, path in files.items() if same in folders), "")


def _same(path: str) -> str:
    """Return a path with case and Unicode normalisation removed, as case-insensitive file systems compare names."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", path).casefold())


def shown(path: object) -> str:
    """Return an unchecked path for a message: escaped, and shortened to 80 characters."""
    text = ascii(path)
    return text if len(text) <= 80 else f"{text[:80]}..."
