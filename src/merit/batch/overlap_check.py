"""Checks that the output of a batch does not overlap its input, also through links and patterns."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from merit.batch.output import Output
from merit.batch.sources import Files
from merit.errors import MeritError


def check(files: Files, output: Output) -> None:
    """Refuse an output that overlaps the input, with symbolic links resolved.

    Raises:
        MeritError: an input file would be overwritten, or the next run would read the output as input.
    """
    if files.storage or files.name.startswith("s3://"):
        return
    written = [place.resolve() for place in (output.path, output.folder, output.rejected)]
    read = [Path(path) for path in files.paths]
    if any(_is_hit(path, output.path, written) for path in read):
        raise MeritError(f"{output.path}: is or contains the input {files.name}; give another place")
    if _is_among(files.name, output, written):
        raise MeritError(f"{output.path}: lies in the input {files.name}; give another place")


def _is_hit(path: Path, place: Path, written: Sequence[Path]) -> bool:
    """Return whether an input file is an output file or lies in an output folder."""
    found = path.resolve()
    return any(found.is_relative_to(each) for each in written) or (place.is_file() and place.samefile(path))


def _is_among(name: str, output: Output, written: Sequence[Path]) -> bool:
    """Return whether an output path lies in the input folder or matches the input pattern."""
    root = Path(name)
    if root.is_dir():
        return any(each.is_relative_to(root.resolve()) for each in written)
    if root.is_file():
        return False
    plain = next((place for place, part in enumerate(root.parts) if any(sign in part for sign in "*?[")), 0)
    base, pattern = Path(*root.parts[:plain]).resolve(), root.parts[plain:]
    files = [output.path, output.part(0), output.rejected / output.part(0).name]
    return any(
        place.is_relative_to(base) and _matches(place.relative_to(base).parts, pattern)
        for place in (each.resolve() for each in files)
    )


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Return whether the parts of a path match the parts of a pattern; `**` matches any number of folders."""
    if not pattern or not parts:
        return not parts and all(each == "**" for each in pattern)
    if pattern[0] == "**":
        return _matches(parts, pattern[1:]) or _matches(parts[1:], pattern)
    return fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])
