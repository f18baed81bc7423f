"""Checks that the output of a batch does not overlap its input, also through links and patterns."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from merit.batch.output import Output
from merit.batch.sources import InputFiles
from merit.errors import MeritError


def check_overlap(files: InputFiles, output: Output) -> None:
    """Refuse an output that overlaps the input, with symbolic links resolved.

    Raises:
        MeritError: an input file would be overwritten, or the next run would read the output as input.
    """
    if files.storage_options or files.name.startswith("s3://"):
        return
    output_paths = [location.resolve() for location in (output.path, output.folder, output.rejected)]
    input_paths = [Path(path) for path in files.paths]
    if any(_overwrites_input(path, output.path, output_paths) for path in input_paths):
        raise MeritError(f"{output.path}: is or contains the input {files.name}; give another place")
    if _is_in_input(files.name, output, output_paths):
        raise MeritError(f"{output.path}: lies in the input {files.name}; give another place")


def _overwrites_input(path: Path, output_path: Path, output_paths: Sequence[Path]) -> bool:
    """Return whether an input file is an output file or lies in an output folder."""
    resolved_path = path.resolve()
    return any(resolved_path.is_relative_to(each) for each in output_paths) or (
        output_path.is_file() and output_path.samefile(path)
    )


def _is_in_input(name: str, output: Output, output_paths: Sequence[Path]) -> bool:
    """Return whether an output path lies in the input folder or matches the input pattern."""
    root = Path(name)
    if root.is_dir():
        return any(each.is_relative_to(root.resolve()) for each in output_paths)
    if root.is_file():
        return False
    first_wildcard = next(
        (location for location, part in enumerate(root.parts) if any(character in part for character in "*?[")), 0
    )
    base_folder, pattern = Path(*root.parts[:first_wildcard]).resolve(), root.parts[first_wildcard:]
    files = [output.path, output.get_part_path(0), output.rejected / output.get_part_path(0).name]
    return any(
        place.is_relative_to(base_folder) and _matches_pattern(place.relative_to(base_folder).parts, pattern)
        for place in (each.resolve() for each in files)
    )


def _matches_pattern(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Return whether the parts of a path match the parts of a pattern; `**` matches any number of folders."""
    if not pattern or not parts:
        return not parts and all(each == "**" for each in pattern)
    if pattern[0] == "**":
        return _matches_pattern(parts, pattern[1:]) or _matches_pattern(parts[1:], pattern)
    return fnmatchcase(parts[0], pattern[0]) and _matches_pattern(parts[1:], pattern[1:])
