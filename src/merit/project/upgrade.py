"""Upgrades a project (`merit upgrade`): migrates conf/ and replaces merit's files that the project didn't edit."""

import difflib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from merit import artifacts
from merit.config.components import trusted_packages
from merit.config.schema import FORMAT_VERSION
from merit.errors import MeritError
from merit.project import files
from merit.project.migrations import CONFIG, Texts, migrate, names_reference
from merit.project.new import RECORD_FILE, hash_text, is_upgradable, render_record, write_file

TRUSTING = {
    r"(?m)^(trusted\s*=\s*\[)\s*\]": r'\1"reference"]',
    r"(?m)^(trusted\s*=\s*\[)": r'\1"reference", ',
    r"(?m)^\[tool\.merit\][^\n]*\n": r'\g<0>trusted = ["reference"]\n',
}
"""How pyproject.toml comes to trust one more package: the first pattern that it has, and what takes its place."""


@dataclass(frozen=True)
class UpgradePlan:
    """A planned upgrade.

    Attributes:
        before: the current text of each file that changes; empty for a new file.
        after: the new text of each file, in the order of writing.
        reasons: one line per change.
        edited: files with a newer text in merit that stay because the project edited them.
    """

    before: Texts
    after: Texts
    reasons: list[str]
    edited: list[str]

    def render_diff(self) -> str:
        """Return the complete change as a unified diff."""
        pairs = ((path, self.before[path], text) for path, text in self.after.items())
        return "".join(line for path, old, new in pairs for line in _diff_file(path, old, new))

    def apply(self) -> None:
        """Write every file atomically.

        conf/config.yaml and the record come last, so that the next run completes an interrupted upgrade.
        """
        for path, text in self.after.items():
            write_file(Path(path), text)


def plan_upgrade() -> UpgradePlan:
    """Plan the upgrade of the project in the working folder; write nothing.

    Raises:
        MeritError: there is no conf/, its format is newer than this merit, or a file can't be read.
    """
    texts = _read_conf()
    after, reasons = migrate(texts, FORMAT_VERSION)
    uses_reference = names_reference(after)
    package = _add_reference() if uses_reference else {}
    if package:
        reasons = [*reasons, "the sources that left the library are this project's own package, which it trusts"]
    renewed, edited = _find_newer_files(with_reference=uses_reference)
    if renewed:
        reasons = [*reasons, "files that merit gave and nobody edited are this merit's"]
    changed = {path: text for path, text in {**after, **package, **renewed}.items() if text != _read_text(path)}
    order = sorted(changed, key=lambda path: (path in {CONFIG, str(RECORD_FILE)}, path))
    return UpgradePlan(
        {path: _read_text(path) for path in order}, {path: changed[path] for path in order}, reasons, edited
    )


def _read_conf() -> Texts:
    if not Path(CONFIG).is_file():
        raise MeritError(f"{CONFIG}: not found; run merit in the folder that holds conf/")
    return {path.as_posix(): _read_text(path) for path in sorted(artifacts.CONF.rglob("*.yaml")) if path.is_file()}


def _read_text(path: str | Path) -> str:
    """Return a file's text with its original line endings; empty if it doesn't exist."""
    try:
        return Path(path).read_bytes().decode("utf-8") if Path(path).exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise MeritError(f"{path}: can't be read as UTF-8 text ({error}); correct it first") from error


def _add_reference() -> Texts:
    """Return the files of the package `reference` that are not here, and a pyproject.toml that trusts it."""
    missing = {path: text for path, text in files.read_reference().items() if not Path(path).exists()}
    if "reference" in trusted_packages.list_trusted_packages():
        return missing
    file = str(trusted_packages.PYPROJECT)
    text = _read_text(file)
    for pattern, replacement in TRUSTING.items():
        changed, count = re.subn(pattern, replacement, text, count=1)
        if count:
            return {**missing, file: changed}
    return {**missing, file: f'{text}\n[tool.merit]\ntrusted = ["reference"]\n'}


def _find_newer_files(*, with_reference: bool) -> tuple[Texts, list[str]]:
    """Return merit's files with a newer text, with the record, and the paths of those that the project edited."""
    if not RECORD_FILE.is_file():
        return {}, []
    name, recorded = _read_record()
    texts: Texts = {}
    digests, edited = dict(recorded), []
    for path, text in files.adapt_shipped_files(with_reference=with_reference).items():
        if not is_upgradable(path) or recorded.get(path) == hash_text(text):
            continue
        if _is_unedited(path, recorded):
            texts[path], digests[path] = text, hash_text(text)
        elif Path(path).exists() and _read_text(path) != text:
            edited.append(path)
    return ({**texts, str(RECORD_FILE): render_record(name, digests)} if texts else {}), edited


def _is_unedited(path: str, recorded: dict[str, str]) -> bool:
    """Return whether a file is as merit wrote it, or doesn't exist if merit never wrote it."""
    if path in recorded:
        return Path(path).exists() and hash_text(_read_text(path)) == recorded[path]
    return not Path(path).exists()


def _read_record() -> tuple[str, dict[str, str]]:
    try:
        content = json.loads(_read_text(RECORD_FILE))
        return str(content["name"]), {str(path): str(value) for path, value in content["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MeritError(f"{RECORD_FILE}: not what 'merit new' wrote; restore it from Git, or delete it") from error


def _diff_file(path: str, old: str, new: str) -> list[str]:
    lines = difflib.unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), f"{path} (found)", f"{path} (upgraded)"
    )
    return [line if line.endswith("\n") else line + "\n" for line in lines]
