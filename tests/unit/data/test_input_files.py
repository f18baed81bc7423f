"""The files that the source reads: what another clone would have of them, and what is to be done about the others."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from merit.config.schema import Lock
from merit.data import input_files
from merit.dvc import cache

Git = Callable[..., str]
SQL = {"_target_": "merit.data.sources.Sql", "url": "sqlite:///shop.db?mode=ro", "query": "SELECT 1"}


@pytest.fixture
def committed(git_repo: Git, workdir: Path) -> Git:
    """A repository with a first commit, and the table that the lock's source reads beside it."""
    Path(".gitignore").write_text("/ignored/\n")
    git_repo("add", ".")
    git_repo("commit", "--quiet", "--message", "begin")
    Path("source.parquet").write_text("rows")
    return git_repo


def _found(lock: Lock) -> list[str]:
    return [str(each) for each in input_files.find_missing_inputs(lock)]


def _of(make_lock: Callable[..., Lock], source: dict[str, str]) -> Lock:
    return make_lock(lambda values: values["data"].update(source=source))


def test_a_table_that_git_has_not_is_told_with_the_command_and_one_that_it_has_is_not(
    committed: Git, lock: Lock
) -> None:
    assert _found(lock) == ["source.parquet is neither in Git nor tracked by DVC; git add source.parquet, then commit"]
    committed("add", "source.parquet")
    assert len(_found(lock)) == 1
    committed("commit", "--quiet", "--message", "table")
    assert _found(lock) == []
    Path("source.parquet").write_text("other rows")
    assert _found(lock) == ["source.parquet is not as it is committed; git add source.parquet, then commit"]


def test_a_large_table_is_dvcs_to_keep(committed: Git, lock: Lock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_files, "MAX_GIT_BYTES", 4)
    assert _found(lock) == [
        "source.parquet is neither in Git nor tracked by DVC; dvc add source.parquet && git add source.parquet.dvc "
        ".gitignore, then commit"
    ]


def test_a_table_that_dvc_tracks_is_there_once_its_file_is_committed_and_as_long_as_it_is_the_same(
    committed: Git, lock: Lock
) -> None:
    Path("source.parquet.dvc").write_text(f"outs:\n- md5: {cache.hash_file(Path('source.parquet'))}\n")
    Path(".gitignore").write_text("/source.parquet\n")
    assert "is tracked by DVC, but source.parquet.dvc is not committed; dvc add source.parquet &&" in _found(lock)[0]
    committed("add", ".")
    committed("commit", "--quiet", "--message", "table")
    assert _found(lock) == []
    Path("source.parquet").write_text("other rows")
    assert "is not what source.parquet.dvc names; dvc add source.parquet &&" in _found(lock)[0]
    Path("source.parquet").unlink()
    assert _found(lock) == []


def test_a_table_in_a_folder_that_dvc_tracks_is_that_folders(committed: Git, make_lock: Callable[..., Lock]) -> None:
    lock = _of(make_lock, {"_target_": "merit.data.sources.Csv", "path": "tables/deep/a.csv"})
    Path("tables/deep").mkdir(parents=True)
    Path("tables/deep/a.csv").write_text("x")
    Path("tables.dvc").write_text(f"outs:\n- md5: {cache.hash_folder(Path('tables'))}\n")
    committed("add", "tables.dvc")
    committed("commit", "--quiet", "--message", "tables")
    assert _found(lock) == []
    Path("tables/deep/a.csv").write_text("y")
    assert _found(lock) == [
        "tables/deep/a.csv is not what tables.dvc names; dvc add tables && git add tables.dvc .gitignore, then commit"
    ]


def test_a_database_in_a_file_is_such_a_file_and_one_on_a_server_is_none(
    committed: Git, make_lock: Callable[..., Lock]
) -> None:
    assert input_files.list_source_files(_of(make_lock, SQL)) == [Path("shop.db")]
    server = SQL | {"url": "postgresql+psycopg://me@127.0.0.1/shop"}
    assert input_files.list_source_files(_of(make_lock, server)) == []


def test_files_of_an_installed_package_are_not_the_projects(
    committed: Git, make_lock: Callable[..., Lock], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Path(yaml.__file__)

    class Packaged:
        def files(self) -> list[Path]:
            return [file]

    lock = _of(make_lock, {"_target_": "packaged.Packaged"})
    monkeypatch.setattr(input_files.targets, "build_component", lambda _: Packaged())
    assert _found(lock) == []
    monkeypatch.chdir(file.parents[4])
    assert input_files.list_source_files(lock) == []  # as where the environment lies in the project


def test_without_a_repository_nobody_else_has_anything(workdir: Path, lock: Lock) -> None:
    assert _found(lock) == []
