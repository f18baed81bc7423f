from pathlib import Path

import pytest

from merit.batch import formats
from merit.errors import MeritError


@pytest.mark.parametrize(
    ("name", "ending"), [("a.PARQUET", ".parquet"), ("a.csv.gz", ".csv.gz"), ("a.tsv", ".tsv"), ("a.gz", ""), ("a", "")]
)
def test_the_ending_of_a_name_is_known_however_it_is_written(name: str, ending: str) -> None:
    assert formats.get_ending(name) == ending


def test_a_file_without_a_known_ending_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    for name, content, kind in (("a.csv", b"PAR1", "csv"), ("b", b"PAR1rest", "parquet"), ("c.txt", b"x,y", "csv")):
        (tmp_path / name).write_bytes(content)
        assert formats.detect_format(tmp_path / name) == kind


def test_an_ending_of_another_format_is_refused_unread(tmp_path: Path) -> None:
    with pytest.raises(MeritError, match=r"IN: found '.*a\.xlsx'; allowed: a Parquet or CSV file"):
        formats.detect_format(tmp_path / "a.xlsx")


def test_files_of_two_formats_are_refused() -> None:
    assert formats.get_common_format("in/", ["a.csv", "b.tsv"]) == "csv"
    with pytest.raises(MeritError, match=r"in/: holds Parquet and CSV files; name one kind, such as 'in/\*\.parquet'"):
        formats.get_common_format("in/", ["a.csv", "b.parquet"])
