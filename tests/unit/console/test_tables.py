import pytest
from rich.console import Console
from rich.table import Table

from merit.console.tables import fit_table


def _render(width: int, **no_wrap: bool) -> str:
    table = Table("version", "roc_auc", "environments", "image")
    table.columns[0].no_wrap = no_wrap.get("version", False)
    table.add_row("flights@v1", "0.6767", "staging, production", "[green]registry/flights@sha256:abcdef0[/]")
    table.add_row("flights@v2", "0.6768", "", "none")
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(fit_table(table, width))
    return capture.get()


@pytest.mark.parametrize("width", [70, 80, 120])
def test_no_word_breaks_in_a_table_that_fits(width: int) -> None:
    shown = _render(width)
    assert "┃" in shown
    assert all(word in shown for word in ("flights@v1", "0.6767", "staging,", "production", "environments"))
    assert max(map(len, shown.splitlines())) <= width


@pytest.mark.parametrize("width", [40, 60])
def test_a_table_that_does_not_fit_becomes_a_block_per_row_without_empty_values(width: int) -> None:
    lines = [line.rstrip() for line in _render(width).splitlines()]
    assert lines[:3] == ["version: flights@v1", "roc_auc: 0.6767", "environments: staging, production"]
    assert lines[-3:] == ["version: flights@v2", "roc_auc: 0.6768", "image: none"]


def test_a_column_that_may_not_wrap_is_whole_however_long() -> None:
    table = Table("name", "what")
    table.columns[0].no_wrap = True
    table.add_row("a" * 40, "some words that wrap")
    console = Console(width=64, color_system=None)
    with console.capture() as capture:
        console.print(fit_table(table, 64))
    assert "a" * 40 in capture.get()
