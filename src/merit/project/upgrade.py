"""Upgrades a project (`merit upgrade`): migrates conf/ and replaces merit's files that the project didn't edit."""

import difflib
import json
from dataclasses import dataclass
from pathlib import Path

from merit import artifacts
from merit.config.schema import FORMAT_VERSION
from merit.errors import MeritError
from merit.project import files
from merit.project.migrations import CONFIG, Texts, migrated
from merit.project.new import RECORD, digest, is_given, record, write


@dataclass(frozen=True)
class Upgrade:
    """A planned upgrade.

    Attributes:
        before: the current text of each file that changes; empty for a new file.
        after: the new text of each file, in the order of writing.
        reasons: one line per change.
        kept: files with a newer text in merit that stay because the project edited them.
    """

    before: Texts
    after: Texts
    reasons: list[str]
    kept: list[str]

    def difference(self) -> str:
        """Return the complete change as a unified diff."""
        pairs = ((path, self.before[path], text) for path, text in self.after.items())
        return "".join(line for path, old, new in pairs for line in _diff(path, old, new))

    def apply(self) -> None:
        """Write every file atomically.

        conf/config.yaml and the record come last, so that the next run completes an interrupted upgrade.
        """
        for path, text in self.after.items():
            write(Path(path), text)


def plan() -> Upgrade:
    """Plan the upgrade of the project in the working folder; write nothing.

    Raises:
        MeritError: there is no conf/, its format is newer than this merit, or a file can't be read.
    """
    texts = _conf()
    after, reasons = migrated(texts, FORMAT_VERSION)
    renewed, kept = _renewed()
    if renewed:
        reasons = [*reasons, "files that merit gave and nobody edited are this merit's"]
    changed = {path: text for path, text in {**after, **renewed}.items() if text != _text(path)}
    order = sorted(changed, key=lambda path: (path in {CONFIG, str(RECORD)}, path))
    return Upgrade({path: _text(path) for path in order}, {path: changed[path] for path in order}, reasons, kept)


def _conf() -> Texts:
    if not Path(CONFIG).is_file():
        raise MeritError(f"{CONFIG}: not found; run merit in the folder that holds conf/")
    return {path.as_posix(): _text(path) for path in sorted(artifacts.CONF.rglob("*.yaml")) if path.is_file()}


def _text(path: str | Path) -> str:
    """Return a file's text with its original line endings; empty if it doesn't exist."""
    try:
        return Path(path).read_bytes().decode("utf-8") if Path(path).exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise MeritError(f"{path}: can't be read as UTF-8 text ({error}); correct it first") from error


def _renewed() -> tuple[Texts, list[str]]:
    """Return merit's files with a newer text, with the record, and the paths of those that the project edited."""
    if not RECORD.is_file():
        return {}, []
    name, known = _record()
    texts: Texts = {}
    digests, kept = dict(known), []
    for path, text in files.taken().items():
        if not is_given(path) or known.get(path) == digest(text):
            continue
        if _is_untouched(path, known):
            texts[path], digests[path] = text, digest(text)
        elif Path(path).exists() and _text(path) != text:
            kept.append(path)
    return ({**texts, str(RECORD): record(name, digests)} if texts else {}), kept


def _is_untouched(path: str, known: dict[str, str]) -> bool:
    """Return whether a file is as merit wrote it, or doesn't exist if merit never wrote it."""
    if path in known:
        return Path(path).exists() and digest(_text(path)) == known[path]
    return not Path(path).exists()


def _record() -> tuple[str, dict[str, str]]:
    try:
        found = json.loads(_text(RECORD))
        return str(found["name"]), {str(path): str(value) for path, value in found["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MeritError(f"{RECORD}: not what 'merit new' wrote; restore it from Git, or delete it") from error


def _diff(path: str, old: str, new: str) -> list[str]:
    lines = difflib.unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), f"{path} (found)", f"{path} (upgraded)"
    )
    return [line if line.endswith("\n") else line + "\n" for line in lines]
