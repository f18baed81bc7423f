"""Reads a delimited text file as a table of text, once each of its lines is checked."""

from dataclasses import replace

import polars as pl

from merit.reading import lines
from merit.reading.textfile import TextFile, unquote_name


def read_text_table(file: TextFile) -> pl.DataFrame:
    """Return the table with every field as text, and empty fields as missing.

    Raises:
        MeritError: the kind, the encoding or the number of fields in a line is wrong.
        polars.exceptions.PolarsError: Polars can't parse its lines.
    """
    if not file.is_polars_readable:
        recoded = replace(file.dialect, encoding="utf-8")
        return read_text_table(TextFile(file.name, recoded, b"".join(file.iterate_utf8())))
    lines.check_lines(file)
    assert not callable(file.source)
    return pl.read_csv(
        file.source,
        separator=file.dialect.separator,
        infer_schema=False,
        null_values=[""],
        skip_lines=file.header_offset,
        with_column_names=lambda names: [unquote_name(name) for name in names],
    )
