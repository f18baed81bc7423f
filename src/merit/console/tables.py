"""Prints tables on a terminal: in columns if every word fits, else each row as a block of `name: value` lines."""

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

WIDTH = 120
"""Width in characters if the output is not a terminal: rich would fold to 80, which makes logs hard to read."""
LONGEST_WORD = 24
"""Longer words, such as hashes and paths, may be wrapped after this many characters."""


def console() -> Console:
    """Return a console with the terminal's width, or `WIDTH` if the output is not a terminal."""
    return Console(highlight=False, width=None if Console().is_terminal else WIDTH)


def show_phase(text: str) -> None:
    """Print the current step on standard error, if that is a terminal."""
    screen = Console(stderr=True, highlight=False)
    if screen.is_terminal:
        screen.print(f"{text} ...", style="dim", markup=False, soft_wrap=True)


def fit(table: Table, width: int) -> RenderableType:
    """Return the table with column widths at which no word breaks, or its rows as blocks if it doesn't fit.

    Words longer than `LONGEST_WORD` may be wrapped, except in columns with `no_wrap`.

    Args:
        table: the table; its cells are text, with or without markup.
        width: the screen's width in characters.
    """
    screen = Console(width=10_000)
    for column in table.columns:
        column.width = None
    needed = [_range(column, screen) for column in table.columns]
    frame = Measurement.get(screen, screen.options, table).maximum - sum(each.maximum for each in needed)
    spare = width - frame - sum(each.minimum for each in needed)
    if spare < 0:
        return _blocks(table)
    for column, size in zip(table.columns, _shares(needed, spare), strict=True):
        column.width, column.min_width, column.overflow = size, None, "fold"
    return table


def _range(column: Column, screen: Console) -> Measurement:
    """Return a column's minimum and preferred width in characters."""
    cells = [Measurement.get(screen, screen.options, each) for each in (column.header, *column.cells)]
    most = min(max(each.maximum for each in cells), column.max_width or screen.width)
    least = most if column.no_wrap else min(LONGEST_WORD, max(each.minimum for each in cells))
    return Measurement(max(1, least), max(1, least, most))


def _shares(needed: Sequence[Measurement], spare: int) -> list[int]:
    """Return the column widths, with the spare width shared evenly among columns that want more than their minimum.

    Columns that want least come first, so the space that they leave goes to the others.
    """
    widths = [each.minimum for each in needed]
    wishes = sorted(range(len(needed)), key=lambda number: needed[number].span)
    for done, number in enumerate(wishes):
        extra = min(needed[number].span, spare // (len(wishes) - done))
        widths[number] += extra
        spare -= extra
    return widths


def _blocks(table: Table) -> RenderableType:
    """Return each row as lines `name: value`, with an empty line between rows; empty cells are left out."""
    names = [_text(column.header) for column in table.columns]
    blocks: list[RenderableType] = [_text(table.title)] if table.title else []
    for number, row in enumerate(zip(*(column.cells for column in table.columns), strict=True)):
        if number and (cells := list(row)) and _text(cells[0]).plain:
            blocks.append(Text())
        for name, cell in zip(names, row, strict=True):
            if (value := _text(cell)).plain:
                blocks.append(Text.assemble(name, ": ", value) if name.plain else value)
    return Group(*blocks)


def _text(cell: RenderableType) -> Text:
    return cell if isinstance(cell, Text) else Text.from_markup(str(cell))
