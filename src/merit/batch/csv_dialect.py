"""Determines the CSV dialect of input files, and converts files to UTF-8 where Polars can't read them.

The dialect of the training file, which the signature records, is the default. A file whose header fits another
separator is read with that one, with a message to the user. It is refused if the training file had numbers such as
1.234,5, because the same digits may mean another number in another dialect.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from merit.batch.sources import InputFiles, translate_read_errors
from merit.errors import MeritError, Refused
from merit.reading.declaration import build_declaration
from merit.reading.dialect import Dialect, load_dialect
from merit.scoring.package import Package

SEPARATORS = (",", ";", "\t", "|")


def detect_dialect(
    files: InputFiles, package: Package, copy_folder: Path, show_line: Callable[[str], None]
) -> InputFiles:
    """Return CSV files with their dialect, and with UTF-8 copies where needed.

    Args:
        files: the input.
        package: the package whose signature records the dialect of the training file.
        copy_folder: a folder for the copies.
        show_line: reports a dialect that differs from training.

    Raises:
        MeritError: a file is not in the declared encoding, or is no text.
        Refused: the separator differs from training, and the format of numbers may differ too.
    """
    dialect = _choose_dialect(files, load_dialect(package.signature.get("csv")), package, show_line)
    source = replace(files, dialect=dialect)
    utf8_copies = {}
    for number, path in enumerate(files.paths):
        with translate_read_errors(path):
            text = source.open_text(path)
            if not text.is_polars_readable:
                target = copy_folder / f"{number}.csv"
                with target.open("wb") as handle:
                    handle.writelines(text.iterate_utf8())
                utf8_copies[path] = str(target)
    return replace(source, utf8_copies=utf8_copies)


def _choose_dialect(
    files: InputFiles, training_dialect: Dialect, package: Package, show_line: Callable[[str], None]
) -> Dialect:
    """Return the dialect by which the header of the first file has all input columns of the model."""
    path = files.paths[0]
    required = {each["name"] for each in package.inputs}
    with translate_read_errors(path):
        text = replace(files, dialect=training_dialect).open_text(path)
        if required <= set(text.read_header()):
            return training_dialect
        matching_dialects = [
            each for each in _generate_dialects(training_dialect) if _has_columns(text.read_header, each, required)
        ]
        if not matching_dialects:
            for _ in (
                text.iterate_utf8()
            ):  # a wrong encoding raises here; otherwise the contract reports the missing columns
                pass
            return training_dialect
    difference = _describe_difference(training_dialect, matching_dialects[0])
    if unusual_columns := [
        each["name"] for each in package.inputs if not build_declaration(each["name"], each).has_plain_numbers
    ]:
        raise Refused(
            f"{path}: {difference}; numbers such as '{unusual_columns[0]}' may be written otherwise too: write it as "
            "the training "
            "file was, or as Parquet; nothing was scored"
        )
    show_line(f"{path}: {difference}: read by its header")
    return matching_dialects[0]


def _generate_dialects(training_dialect: Dialect) -> Iterable[Dialect]:
    without_preamble = replace(training_dialect, skip_rows=0, comment=None)
    yield from (replace(training_dialect, separator=separator) for separator in SEPARATORS)
    yield from (
        replace(without_preamble, separator=separator) for separator in (training_dialect.separator, *SEPARATORS)
    )


def _has_columns(read_header: Callable[[Dialect], list[str]], dialect: Dialect, required: set[str]) -> bool:
    try:
        return required <= set(read_header(dialect))
    except MeritError:
        return False


def _describe_difference(training_dialect: Dialect, actual_dialect: Dialect) -> str:
    if training_dialect.separator != actual_dialect.separator:
        return (
            f"its fields are separated by {actual_dialect.separator!r}, those of the training file by "
            f"{training_dialect.separator!r}"
        )
    return "it begins with its header, and the training file with other lines"
