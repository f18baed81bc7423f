import gzip
from pathlib import Path
from typing import Any

import pytest

from merit.config.components import targets
from merit.data.infer.layout import detect_layout
from merit.errors import MeritError

ROWS = "1,2,3\n4,5,6\n" * 10


def _layout(text: str | bytes) -> tuple[dict[str, Any], list[str]]:
    """Return what was found of a file, once it has been read so, with the columns a, b and c."""
    Path("table.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    found = detect_layout(Path("table.csv"))
    return found.settings, found.notes


def _columns(settings: dict[str, Any]) -> list[str]:
    component = {"_target_": "merit.data.sources.Csv", "path": "table.csv", **settings}
    names: list[str] = targets.build_component(component).read().columns
    return names


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        (f"a,b,c\n{ROWS}", {}),
        (f"\ufeffa,b,c\n{ROWS}", {}),
        (f"\n\na,b,c\n{ROWS}", {}),
        (f"a,b,c\n{ROWS}\n\n", {}),
        (f"a,b,c\n{ROWS}".replace("\n", "\r\n"), {}),
        (f"a,b,c\n{ROWS}".replace(",", ";"), {"separator": ";"}),
        (f"a,b,c\n{ROWS}".replace(",", "\t"), {"separator": "\t"}),
        ("a;b;c\n" + "1,5;2,5;3,5\n" * 9, {"separator": ";"}),
        (f"# of 2024\n# in mg\na,b,c\n{ROWS}", {"comment": "#"}),
        (f"Report of 2024\n\na,b,c\n{ROWS}", {"skip_rows": 2}),
        (f"Report,,\nof,2024,\na,b,c\n{ROWS}", {"skip_rows": 1}),
        (f"sep=;\na,b,c\n{ROWS}".replace(",", ";"), {"separator": ";", "skip_rows": 1}),
        (f"Rows: 1,234\nBy: x\na,b,c\n{ROWS}", {"skip_rows": 2}),
        (gzip.compress(f"a,b,c\n{ROWS}".encode(), mtime=0), {}),
        (f"a,b,c\n{ROWS}".encode("utf-16"), {}),
        (f"a,b,c\n{ROWS}".encode("utf-16-le"), {"encoding": "utf-16-le"}),
    ],
)
def test_a_file_is_read_as_it_is_laid_out(workdir: Path, text: str | bytes, settings: dict[str, Any]) -> None:
    found, _ = _layout(text)
    assert found == settings
    assert _columns(found)[-1] in {"c", ""}


def test_lines_that_are_left_out_before_the_header_are_told(workdir: Path) -> None:
    _, notes = _layout(f"# of 2024\n# in mg\na,b,c\n{ROWS}")
    assert notes == ["lines before the header 'a,b,c' are left out: 2"]


def test_a_header_may_begin_with_the_mark_of_a_comment(workdir: Path) -> None:
    settings, _ = _layout("#a,b,c\n" + ROWS)
    assert (settings, _columns(settings)) == ({}, ["#a", "b", "c"])


def test_text_in_an_old_encoding_is_read_and_told_by_a_word_of_it(workdir: Path) -> None:
    settings, notes = _layout("name,x\nZürich,1\n".encode("latin-1"))
    assert settings == {"encoding": "windows-1252"}
    assert notes[0].startswith("its text is not UTF-8: taken for windows-1252, in which 'Zürich' stands there")


def test_text_in_no_encoding_that_is_read_is_told_how_to_become_so(workdir: Path) -> None:
    with pytest.raises(MeritError, match=r"its text is neither UTF-8 nor windows-1252 \(byte 0x.*write it in UTF-8"):
        _layout("name,x\n東京,1\n大阪,2\n".encode("shift-jis"))


def test_blanks_separate_fields_where_nothing_else_does(workdir: Path) -> None:
    assert _layout(f"a b c\n{ROWS}".replace(",", " "))[0] == {"separator": " "}
    assert _layout("full name,b\n" + "John Smith,2\n" * 9)[0] == {}


@pytest.mark.parametrize("text", ["5.1,3.5,setosa\n4.9,3.0,setosa\n", "7\n8\n"])
def test_a_first_line_that_holds_values_is_told(workdir: Path, text: str) -> None:
    _, notes = _layout(text)
    assert notes == [f"the first line seems to be a row, not names of columns: '{text.splitlines()[0]}'"]


@pytest.mark.parametrize("header", ["name,2019,2020", ",0,1", 'a,"b\nc",d', "x1,y2,z3"])
def test_a_header_may_hold_years_and_counts_and_go_over_lines(workdir: Path, header: str) -> None:
    assert _layout(f"{header}\n{ROWS}") == ({}, [])
