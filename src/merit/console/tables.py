"""Prints tables on a terminal: in columns if every word fits, else each row as a block of `name: value` lines."""

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

DEFAULT_WIDTH = 120
"""Width in characters if the output is not a terminal: rich would fold to 80, which makes logs hard to read."""
MAX_WORD_CHARACTERS = 24
"""Longer words, such as hashes and paths, may be wrapped after this many characters."""


def create_console() -> Console:
    """Return a console with the terminal's width, or `DEFAULT_WIDTH` if the output is not a terminal."""
    return Console(highlight=False, width=None if Console().is_terminal else DEFAULT_WIDTH)


def fit_table(table: Table, width: int) -> RenderableType:
    """Return the table with column widths at which no word breaks, or its rows as blocks if it doesn't fit.

    Words longer than `MAX_WORD_CHARACTERS` may be wrapped, except in columns with `no_wrap`.

    Args:
        table: the table; its cells are text, with or without markup.
        width: the screen's width in characters.
    """
    screen = Console(width=10_000)
    for column in table.columns:
        column.width = None
    ranges = [_measure_column(column, screen) for column in table.columns]
    frame_width = Measurement.get(screen, screen.options, table).maximum - sum(each.maximum for each in ranges)
    spare_width = width - frame_width - sum(each.minimum for each in ranges)
    if spare_width < 0:
        return _format_blocks(table)
    for column, column_width in zip(table.columns, _share_width(ranges, spare_width), strict=True):
        column.width, column.min_width, column.overflow = column_width, None, "fold"
    return table


def _measure_column(column: Column, screen: Console) -> Measurement:
    """Return a column's minimum and preferred width in characters."""
    cells = [Measurement.get(screen, screen.options, each) for each in (column.header, *column.cells)]
    maximum = min(max(each.maximum for each in cells), column.max_width or screen.width)
    minimum = maximum if column.no_wrap else min(MAX_WORD_CHARACTERS, max(each.minimum for each in cells))
    return Measurement(max(1, minimum), max(1, minimum, maximum))


def _share_width(ranges: Sequence[Measurement], spare_width: int) -> list[int]:
    """Return the column widths, with the spare width shared evenly among columns that want more than their minimum.

    Columns that want least come first, so the space that they leave goes to the others.
    """
    widths = [each.minimum for each in ranges]
    order = sorted(range(len(ranges)), key=lambda number: ranges[number].span)
    for served_count, number in enumerate(order):
        extra = min(ranges[number].span, spare_width // (len(order) - served_count))
        widths[number] += extra
        spare_width -= extra
    return widths


def _format_blocks(table: Table) -> RenderableType:
    """Return each row as lines `name: value`, with an empty line between rows; empty cells are left out."""
    names = [_to_text(column.header) for column in table.columns]
    blocks: list[RenderableType] = [_to_text(table.title)] if table.title else []
    for number, row in enumerate(zip(*(column.cells for column in table.columns), strict=True)):
        if number and (cells := list(row)) and _to_text(cells[0]).plain:
            blocks.append(Text())
        for name, cell in zip(names, row, strict=True):
            if (value := _to_text(cell)).plain:
                blocks.append(Text.assemble(name, ": ", value) if name.plain else value)
    return Group(*blocks)


def _to_text(cell: RenderableType) -> Text:
    return cell if isinstance(cell, Text) else Text.from_markup(str(cell))
