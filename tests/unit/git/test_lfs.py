"""A pointer of Git LFS is not data, whoever is about to read it."""

from pathlib import Path

import pytest

from merit.config.compose import hash_source
from merit.data.infer.opened import open_source
from merit.errors import MeritError
from merit.git import lfs

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 12345\n"


@pytest.mark.parametrize("kind", ["Csv", "Parquet"])
def test_a_source_does_not_read_a_pointer(workdir: Path, kind: str) -> None:
    Path("rows").write_text(POINTER, encoding="utf-8")
    with pytest.raises(MeritError) as caught:
        hash_source({"_target_": f"merit.data.sources.{kind}", "path": "rows"})
    assert str(caught.value) == (
        "data.source: 'rows': found a pointer of Git LFS, not the data; 'git lfs pull' brings it (Debian: git-lfs)"
    )


def test_nothing_is_inferred_from_a_pointer(workdir: Path) -> None:
    Path("rows.csv").write_text(POINTER, encoding="utf-8")
    with pytest.raises(MeritError, match=r"^rows\.csv: found a pointer of Git LFS, not the data; 'git lfs pull'"):
        open_source("rows.csv", None, None)


def test_a_table_that_begins_like_one_is_a_table(workdir: Path) -> None:
    Path("rows.csv").write_text("version https,n\n1,2\n", encoding="utf-8")
    assert not lfs.is_pointer(Path("rows.csv"))
