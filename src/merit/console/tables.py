"""Tables on a terminal: side by side where every word fits, one block of `name: value` lines per row where not."""

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

WIDTH = 120
"""Columns of what nobody watches on a terminal: a log has no width of its own, and one folded to 80 is hard to read."""
LONGEST_WORD = 24
"""Characters of a word that are kept together; hashes and paths may be longer."""


def console() -> Console:
    """Return a console of the terminal's width, and of `WIDTH` columns elsewhere."""
    return Console(highlight=False, width=None if Console().is_terminal else WIDTH)


def show_phase(text: str) -> None:
    """Say on standard error what is being done now, where somebody watches it."""
    screen = Console(stderr=True, highlight=False)
    if screen.is_terminal:
        screen.print(f"{text} ...", style="dim", markup=False, soft_wrap=True)


def fit(table: Table, width: int) -> RenderableType:
    """Return a table whose columns have widths at which no word breaks, or its rows as blocks if there are none.

    Words past `LONGEST_WORD` characters may be folded, but for those of columns with `no_wrap`.

    Args:
        table: its cells are texts, with markup or without.
        width: columns of the screen.
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
    """Return the columns that a column needs at least, and those that it would like to have."""
    cells = [Measurement.get(screen, screen.options, each) for each in (column.header, *column.cells)]
    most = min(max(each.maximum for each in cells), column.max_width or screen.width)
    least = most if column.no_wrap else min(LONGEST_WORD, max(each.minimum for each in cells))
    return Measurement(max(1, least), max(1, least, most))


def _shares(needed: Sequence[Measurement], spare: int) -> list[int]:
    """Share what is left among the columns that would like more, evenly, the modest ones first."""
    widths = [each.minimum for each in needed]
    wishes = sorted(range(len(needed)), key=lambda number: needed[number].span)
    for done, number in enumerate(wishes):
        extra = min(needed[number].span, spare // (len(wishes) - done))
        widths[number] += extra
        spare -= extra
    return widths


def _blocks(table: Table) -> RenderableType:
    """Return each row as lines `name: value`, an empty line between rows; what is empty is left out."""
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
