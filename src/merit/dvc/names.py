"""The paths that an output, or a file in a folder that is one, may have.

Whoever writes a hash into dvc.lock decides what DVC writes where, and nobody reads that in a diff. So an output is
data, and its path is a plain one: nothing that a program runs or reads as settings, nothing hidden, nothing outside.
"""

import re
import unicodedata
from collections.abc import Collection

MOST_CHARACTERS = 1_000
MOST_BYTES = 255
"""What file systems take as the name of one file."""
RESERVED = frozenset({"conf", "deploy", "src"})
"""Folders of what is reviewed as text: configuration, manifests of targets, code."""
CODE = (".bash", ".bat", ".cfg", ".cmd", ".dll", ".dvc", ".dylib", ".exe", ".fish", ".ini", ".mk", ".ps1", ".pth",
        ".py", ".pyc", ".pyd", ".pyi", ".pyo", ".pyx", ".sh", ".so", ".toml", ".zsh")  # fmt: skip
"""Endings of what is run, or read as settings, where it lies."""
TOP = (".lock", ".yaml", ".yml")
"""Endings of what a project's own folder has as settings, such as params.yaml."""
SETTINGS = frozenset({"containerfile", "dockerfile", "dvc.lock", "dvc.yaml", "gnumakefile", "makefile"})
_PLAIN = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_()+,=@%-]|\.(?![./]|$)|/(?=[A-Za-z0-9_]))*")
"""What most paths are like, and needs no closer look."""


def fault(path: str) -> str:
    """Return what keeps a relative path from being that of an output; empty if nothing does."""
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
    """Return what is wrong with the characters of a path."""
    if not path.isprintable():
        return "has characters that can't be seen"
    if "\\" in path or ":" in path:
        return "has a backslash or a colon"
    return "is absolute" if path.startswith("/") else ""


def _odd_part(part: str) -> str:
    """Return what is wrong with a part of a path between slashes."""
    if part in {"", ".", ".."}:
        return "leads elsewhere: it has an empty part, '.' or '..'"
    if part.startswith((".", "~")) or _same(part) == "git~1":
        return "is hidden: a part of it begins with '.' or '~'"
    odd = part != part.strip(" ").rstrip(".")
    return "has a part that begins or ends with a space, or ends with a dot" if odd else ""


def clash(paths: Collection[str]) -> str:
    """Return a path that is there twice, also for who doesn't tell A from a, or is a folder of another; else ''."""
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
    """Return a path as a file system knows it that tells neither A from a nor one way of writing ä from another."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", path).casefold())


def shown(path: object) -> str:
    """Return a path that nobody has checked, for a message."""
    text = ascii(path)
    return text if len(text) <= 80 else f"{text[:80]}..."
