"""Determines the CSV dialect of input files, and converts files to UTF-8 where Polars can't read them.

The dialect of the training file, which the signature records, is the default. A file whose header fits another
separator is read with that one, with a message to the user. It is refused if the training file had numbers such as
1.234,5, because the same digits may mean another number in another dialect.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from merit.batch.sources import Files, faults
from merit.errors import MeritError, Refused
from merit.reading.declaration import declared
from merit.reading.dialect import Dialect, dialect_of
from merit.scoring.package import Package

SEPARATORS = (",", ";", "\t", "|")


def laid_out(files: Files, package: Package, room: Path, say: Callable[[str], None]) -> Files:
    """Return CSV files with their dialect, and with UTF-8 copies where needed.

    Args:
        files: the input.
        package: the package whose signature records the dialect of the training file.
        room: a folder for the copies.
        say: reports a dialect that differs from training.

    Raises:
        MeritError: a file is not in the declared encoding, or is no text.
        Refused: the separator differs from training, and the format of numbers may differ too.
    """
    dialect = _dialect(files, dialect_of(package.signature.get("csv")), package, say)
    source = replace(files, dialect=dialect)
    plain = {}
    for number, path in enumerate(files.paths):
        with faults(path):
            text = source.text(path)
            if not text.is_plain:
                target = room / f"{number}.csv"
                with target.open("wb") as handle:
                    handle.writelines(text.recoded())
                plain[path] = str(target)
    return replace(source, plain=plain)


def _dialect(files: Files, trained: Dialect, package: Package, say: Callable[[str], None]) -> Dialect:
    """Return the dialect by which the header of the first file has all input columns of the model."""
    path = files.paths[0]
    needed = {each["name"] for each in package.inputs}
    with faults(path):
        text = replace(files, dialect=trained).text(path)
        if needed <= set(text.header()):
            return trained
        others = [each for each in _others(trained) if _has(text.header, each, needed)]
        if not others:
            for _ in text.recoded():  # a wrong encoding raises here; otherwise the contract reports the missing columns
                pass
            return trained
    differs = _difference(trained, others[0])
    if odd := [each["name"] for each in package.inputs if not declared(each["name"], each).is_plain]:
        raise Refused(
            f"{path}: {differs}; numbers such as '{odd[0]}' may be written otherwise too: write it as the training "
            "file was, or as Parquet; nothing was scored"
        )
    say(f"{path}: {differs}: read by its header")
    return others[0]


def _others(trained: Dialect) -> Iterable[Dialect]:
    plain = replace(trained, skip_rows=0, comment=None)
    yield from (replace(trained, separator=separator) for separator in SEPARATORS)
    yield from (replace(plain, separator=separator) for separator in (trained.separator, *SEPARATORS))


def _has(header: Callable[[Dialect], list[str]], dialect: Dialect, needed: set[str]) -> bool:
    try:
        return needed <= set(header(dialect))
    except MeritError:
        return False


def _difference(trained: Dialect, actual: Dialect) -> str:
    if trained.separator != actual.separator:
        return f"its fields are separated by {actual.separator!r}, those of the training file by {trained.separator!r}"
    return "it begins with its header, and the training file with other lines"
