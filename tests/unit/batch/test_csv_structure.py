import gzip
from pathlib import Path

import pytest

from merit.batch import csv_structure, sources
from merit.errors import MeritError
from tests.unit.batch.conftest import Run


def test_a_line_that_breaks_off_is_refused_before_anything_is_scored(run: Run) -> None:
    Path("in.csv").write_text("shop,kind,weight,size,note\nnorth,1,0.5,1,x\nnorth,1,0.5\n")
    message = r"^in\.csv: line 3 has 3 fields, the header has 5; correct or remove that line"
    with pytest.raises(MeritError, match=message):
        run("in.csv")
    assert not Path("out").exists()


def test_a_line_with_too_many_fields_is_refused_also_where_they_are_not_kept(run: Run) -> None:
    Path("in.csv").write_text("shop,kind,size,weight\nnorth,1,,0.5,7\n")
    with pytest.raises(MeritError, match=r"^in\.csv: line 2 has 5 fields, the header has 4"):
        run("in.csv", keep=())


@pytest.mark.parametrize(
    "text",
    [
        "1,2\n",
        "1,\n",
        ",\n",
        "\n",
        '"1,5",2\n',
        '"1\n,\n",2\r\n',
        '"a""b,",2\n',
        'a"b,c"d\n',
        "1,2",
        '1,"2"\r\n\r\n',
        f'"{"x,y" * 100_000}",2\n',
        '"a",b\u2028c\x0bd\re\n',
        '"",""\n',
        'a "b" c,d\n',
        '"a,""b",c\n',
    ],
)
def test_lines_that_are_whole_pass(workdir: Path, text: str) -> None:
    Path("in.csv").write_bytes(f"a,b\n{text}".encode())
    csv_structure.check_lines(sources.open_files("in.csv"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('"1,2"\n', "line 2 has 1 field,"),
        ('1,"x\ny"\n1\n', "line 4 has 1 field,"),
        ('1,2\n1,"2\n3,4\n', "line 3 opens a quote that is not closed"),
        ('1,"2",3\n', "line 2 has 3 fields"),
        ('"1"\n', "line 2 has 1 field,"),
    ],
)
def test_quotes_hold_fields_and_lines_together(workdir: Path, text: str, told: str) -> None:
    Path("in.csv.gz").write_bytes(gzip.compress(f"a,b\n{text}".encode()))
    with pytest.raises(MeritError, match=rf"^in\.csv\.gz: {told}"):
        csv_structure.check_lines(sources.open_files("in.csv.gz"))


def test_a_compressed_file_that_breaks_off_is_told_in_a_line(workdir: Path) -> None:
    Path("in.csv.gz").write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 1000)[:-12])
    with pytest.raises(MeritError, match=r"^in\.csv\.gz: can't be read: "):
        csv_structure.check_lines(sources.open_files("in.csv.gz"))


@pytest.mark.parametrize("end", ["", "\r"])
def test_lines_that_end_with_cr_alone_are_refused_and_not_taken_for_a_header_without_rows(run: Run, end: str) -> None:
    Path("in.csv").write_bytes(f"shop,kind,weight,size,note\rnorth,1,0.5,1,x\rsouth,1,0.5,1,y{end}".encode())
    with pytest.raises(MeritError, match=r"^in\.csv: its lines end with CR alone; allowed: LF, or CR and LF; write it"):
        run("in.csv")
    assert not Path("out").exists()


def test_a_cr_in_a_quoted_name_is_part_of_it(workdir: Path) -> None:
    Path("in.csv").write_bytes(b'"a\rb",c\r\n1,2\r\n')
    csv_structure.check_lines(sources.open_files("in.csv"))


def test_a_csv_that_names_a_column_twice_is_refused_as_parquet_and_sql_are(run: Run) -> None:
    Path("in.csv").write_text('\ufeffshop,kind,weight,size,"shop"\nnorth,1,0.5,1,south\n')
    with pytest.raises(MeritError, match=r"^in\.csv: the header names 'shop' more than once; give each column a name"):
        run("in.csv")
    assert not Path("out").exists()


def test_of_several_files_each_header_is_looked_at(run: Run) -> None:
    Path("a.csv").write_text("shop,kind,weight,size\nnorth,1,0.5,1\n")
    Path("b.csv").write_text("shop,kind,weight,kind\nnorth,1,0.5,1\n")
    with pytest.raises(MeritError, match=r"^b\.csv: the header names 'kind' more than once"):
        run("*.csv")


@pytest.mark.parametrize("text", ['5" x,1\n2,3\n5" y,4\n', '"5" x,1\n', '1,"5" x\n', '1,5" x\n2,5" y\n'])
def test_a_quote_inside_a_field_is_told_with_its_line_and_what_to_do(workdir: Path, text: str) -> None:
    Path("in.csv").write_text(f"a,b\n{text}")
    with pytest.raises(MeritError, match=r"^in\.csv: line 2 has a quote inside a field; put the whole field in quotes"):
        csv_structure.check_lines(sources.open_files("in.csv"))


def test_a_comma_between_quotes_inside_a_field_parts_it_as_polars_reads_it(workdir: Path) -> None:
    Path("in.csv").write_text('a,b\nsay "hi, you" ok,1\n')
    with pytest.raises(MeritError, match=r"^in\.csv: line 2 has 3 fields, the header has 2"):
        csv_structure.check_lines(sources.open_files("in.csv"))
