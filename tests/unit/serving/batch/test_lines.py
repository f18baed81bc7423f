import gzip
from pathlib import Path

import pytest

from merit.errors import MeritError
from merit.serving.batch import lines, sources
from tests.unit.serving.batch.conftest import Run


def test_a_line_that_breaks_off_is_refused_before_anything_is_scored(run: Run) -> None:
    Path("in.csv").write_text("shop,kind,weight,size,note\nnorth,1,0.5,1,x\nnorth,1,0.5\n")
    with pytest.raises(MeritError, match=r"^in\.csv: line 3 has 3 fields, the header has 5; mend or remove that line"):
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
        '"a"b,c\n',
    ],
)
def test_lines_that_are_whole_pass(workdir: Path, text: str) -> None:
    Path("in.csv").write_bytes(f"a,b\n{text}".encode())
    lines.check(sources.opened("in.csv"))


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
        lines.check(sources.opened("in.csv.gz"))


def test_a_compressed_file_that_breaks_off_is_told_in_a_line(workdir: Path) -> None:
    Path("in.csv.gz").write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 1000)[:-12])
    with pytest.raises(MeritError, match=r"^in\.csv\.gz: can't be read: "):
        lines.check(sources.opened("in.csv.gz"))
