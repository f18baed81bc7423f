"""Files of text as the training file was: read in its dialect, which the signature has, and recoded where Polars can't.

A file that its header shows to be separated otherwise is read so, and a person is told. Where numbers were written in a
way of their own, such as 1.234,5, it is refused: the same digits may mean another number there.
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
    """Return files of text with the dialect that they are read in, in UTF-8.

    Args:
        files: as they are.
        package: whose signature says how the training file was laid out.
        room: a folder for what is recoded.
        say: is told of files that are laid out otherwise.

    Raises:
        MeritError: one is in another encoding than is declared, or no file of text.
        Refused: they are separated otherwise, and numbers may be written otherwise too.
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
    """Return the dialect by which the header of the first file has the columns that the model takes."""
    path = files.paths[0]
    needed = {each["name"] for each in package.inputs}
    with faults(path):
        text = replace(files, dialect=trained).text(path)
        if needed <= set(text.header()):
            return trained
        others = [each for each in _others(trained) if _has(text.header, each, needed)]
        if not others:
            for _ in text.recoded():  # whose encoding may be why; else the contract says which columns are missing
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
