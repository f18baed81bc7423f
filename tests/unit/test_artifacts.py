import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from merit import artifacts
from merit.data.split import PARTS
from merit.errors import MeritError
from merit.packaging.bento_files import BENTOFILE, read_bentofile
from merit.project.files import SHIPPED_PATHS
from merit.signing.verification import PUBLIC_KEY_SUFFIX, SIGNATURE_SUFFIX
from merit.tracking.run_facts import REQUIREMENTS_LOCK
from tests.conftest import ROOT


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_written_file_takes_its_place_and_leaves_nothing_else(workdir: Path) -> None:
    artifacts.write_text(Path("a/b/file.txt"), "hällo\n")
    assert Path("a/b/file.txt").read_bytes() == "hällo\n".encode()
    assert _names(Path("a/b")) == ["file.txt"]


def test_a_written_file_can_be_read_by_others_than_its_owner(workdir: Path) -> None:
    artifacts.write_text(Path("file.txt"), "x")
    assert Path("file.txt").stat().st_mode & 0o777 == 0o644


def test_an_exception_in_the_block_leaves_the_old_file_and_no_other(workdir: Path) -> None:
    Path("file.txt").write_text("old")
    with pytest.raises(ZeroDivisionError), artifacts.write_atomically(Path("file.txt")) as aside:
        aside.write_text("half")
        _ = 1 / 0
    assert Path("file.txt").read_text() == "old"
    assert _names(workdir) == ["file.txt"]


def test_an_interruption_in_the_block_leaves_the_old_file(workdir: Path) -> None:
    Path("file.txt").write_text("old")
    with pytest.raises(KeyboardInterrupt), artifacts.write_atomically(Path("file.txt")) as aside:
        aside.write_text("half")
        raise KeyboardInterrupt
    assert Path("file.txt").read_text() == "old"
    assert _names(workdir) == ["file.txt"]


def test_a_full_disk_is_told_in_one_line_and_the_old_file_stands(workdir: Path) -> None:
    Path("file.txt").write_text("old")
    with pytest.raises(MeritError) as caught, artifacts.write_atomically(Path("file.txt")) as aside:
        aside.write_text("half")
        raise OSError(28, "No space left on device")
    assert caught.value.exit_code == 2
    assert str(caught.value) == (
        "file.txt: can't be written: No space left on device; free space or fix its permissions, then run again"
    )
    assert Path("file.txt").read_text() == "old"
    assert _names(workdir) == ["file.txt"]


def test_a_folder_that_can_not_be_made_is_told_in_one_line(workdir: Path) -> None:
    Path("reports").write_text("a file where a folder should be")
    with pytest.raises(MeritError, match=r"^reports/x\.json: can't be written: .*; free space or fix"):
        artifacts.write_json(Path("reports/x.json"), {})
    assert Path("reports").read_text() == "a file where a folder should be"


def test_a_read_only_folder_is_told_in_one_line(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(artifacts.tempfile, "mkdtemp", refuse)
    with pytest.raises(MeritError, match=r"^x\.json: can't be written: Permission denied; .*permissions"):
        artifacts.write_json(Path("x.json"), {})


def test_a_block_that_writes_nothing_is_refused_and_the_old_file_stands(workdir: Path) -> None:
    Path("file.txt").write_text("old")
    with pytest.raises(MeritError, match=r"file\.txt: can't be written"), artifacts.write_atomically(Path("file.txt")):
        pass
    assert Path("file.txt").read_text() == "old"


def test_a_folder_takes_the_place_of_the_former_with_none_of_its_files(workdir: Path) -> None:
    for name in ("first", "second"):
        with artifacts.write_atomically(Path("model")) as aside:
            aside.mkdir()
            (aside / name).write_text(name)
    assert _names(Path("model")) == ["second"]
    assert _names(workdir) == ["model"]
    assert Path("model").stat().st_mode & 0o777 == 0o755


def test_an_exception_while_a_folder_is_filled_leaves_the_old_folder(workdir: Path) -> None:
    Path("model").mkdir()
    Path("model/first").write_text("first")
    with pytest.raises(ZeroDivisionError), artifacts.write_atomically(Path("model")) as aside:
        aside.mkdir()
        (aside / "second").write_text("half")
        _ = 1 / 0
    assert _names(Path("model")) == ["first"]
    assert _names(workdir) == ["model"]


def test_a_folder_that_can_not_be_put_in_its_place_leaves_the_old_folder(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("model").mkdir()
    Path("model/first").write_text("first")
    replace = Path.replace

    def refuse_at_the_last_step(self: Path, target: Path) -> Path:
        if Path(target) == Path("model") and not self.joinpath("first").exists():
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse_at_the_last_step)
    with pytest.raises(MeritError, match="model: can't be written"), artifacts.write_atomically(Path("model")) as aside:
        aside.mkdir()
        (aside / "second").write_text("second")
    assert _names(workdir) == ["model"]
    assert _names(Path("model")) == ["first"]


def test_a_file_is_on_the_disk_before_it_takes_its_place(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: seen.append(Path("file.txt").exists()) or fsync(handle))
    artifacts.write_text(Path("file.txt"), "x")
    assert seen == [False]


def test_json_is_the_same_text_each_time_and_keeps_its_letters(workdir: Path) -> None:
    artifacts.write_json(Path("x.json"), {"b": 1, "a": ["ü"]})
    assert Path("x.json").read_text(encoding="utf-8") == '{\n  "b": 1,\n  "a": [\n    "ü"\n  ]\n}\n'
    assert artifacts.read_json(Path("x.json"), "evaluate") == {"b": 1, "a": ["ü"]}


def test_nan_is_never_written_as_json(workdir: Path) -> None:
    Path("x.json").write_text("{}\n")
    with pytest.raises(ValueError, match="JSON"):
        artifacts.write_json(Path("x.json"), {"a": float("nan")})
    assert Path("x.json").read_text() == "{}\n"


def test_a_missing_file_is_told_with_the_command_that_makes_it(workdir: Path) -> None:
    with pytest.raises(MeritError) as caught:
        artifacts.require_path(Path("reports/metrics.json"), "evaluate")
    assert caught.value.exit_code == 2
    assert str(caught.value) == (
        "reports/metrics.json: not found; 'merit evaluate' makes it, 'merit run' makes everything"
    )


@pytest.mark.parametrize("path", ["model", "model/manifest.json", "data/raw.parquet"])
def test_a_missing_file_that_the_lock_of_outputs_names_can_be_pulled(workdir: Path, path: str) -> None:
    artifacts.DVC_LOCK.write_text("stages:\n  x:\n    outs:\n    - path: data/raw.parquet\n    - path: model\n")
    said = f"{path}: not found; 'merit pull' brings what dvc.lock names, 'merit run' makes it"
    for each in (Path(path), Path.cwd() / path):
        with pytest.raises(MeritError) as caught:
            artifacts.require_path(each, "run")
        assert str(caught.value).endswith(said)
    with pytest.raises(MeritError, match=r"^reports/gate\.json: not found; 'merit gate' makes it"):
        artifacts.require_path(artifacts.GATE_REPORT, "gate")


@pytest.mark.parametrize("read", [artifacts.read_json, artifacts.read_table])
def test_reading_a_missing_file_names_the_stage_that_makes_it(workdir: Path, read: object) -> None:
    with pytest.raises(MeritError, match=r"^x: not found; 'merit ingest' makes it"):
        read(Path("x"), "ingest")  # type: ignore[operator]


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe", b"{'a': 1}"])
def test_a_damaged_json_file_is_told_with_the_command_that_makes_it(workdir: Path, content: bytes) -> None:
    Path("x.json").write_bytes(content)
    with pytest.raises(MeritError, match=r"^x\.json: can't be read as JSON \(.+\); make it again with 'merit gate'$"):
        artifacts.read_json(Path("x.json"), "gate")


def test_a_damaged_parquet_file_is_told_in_one_line(workdir: Path) -> None:
    Path("x.parquet").write_bytes(b"PAR1 and no more than PAR1")
    with pytest.raises(MeritError) as caught:
        artifacts.read_table(Path("x.parquet"), "ingest")
    assert str(caught.value).startswith("x.parquet: can't be read as Parquet (")
    assert str(caught.value).endswith("make it again with 'merit ingest'")
    assert "\n" not in str(caught.value)


def test_a_truncated_parquet_file_is_refused(workdir: Path, table: pl.DataFrame) -> None:
    table.write_parquet("x.parquet")
    whole = Path("x.parquet").read_bytes()
    Path("x.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MeritError, match=r"^x\.parquet: is cut off; make it again with"):
        artifacts.read_table(Path("x.parquet"), "ingest")


def test_a_table_is_read_as_it_was_written(workdir: Path, table: pl.DataFrame) -> None:
    table.write_parquet("x.parquet")
    assert artifacts.read_table(Path("x.parquet"), "ingest").equals(table)


def test_the_digest_of_a_package_is_that_of_its_manifest(workdir: Path) -> None:
    Path("model").mkdir()
    Path("model/manifest.json").write_bytes(b"abc")
    known = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert artifacts.hash_package(Path("model")) == known
    Path("model/other").write_text("not part of the manifest")
    assert artifacts.hash_package(Path("model")) == known
    Path("model/manifest.json").write_bytes(b"abd")
    assert artifacts.hash_package(Path("model")) != known


def test_each_part_has_a_file_of_its_own() -> None:
    files = {artifacts.part_path(name).as_posix() for name in ("train", "validation", "test")}
    assert files == {f"data/features/{name}.safetensors" for name in ("train", "validation", "test")}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is empty, not a Parquet file"),
        (b"PA", "is no Parquet file"),
        (b"a,b\n1,2\n", "is no Parquet file"),
        (b"PAR1 and then nothing", "is cut off"),
        (None, "is a folder, not a Parquet file; remove it"),
    ],
)
def test_what_is_no_parquet_file_is_told_in_our_words(workdir: Path, content: bytes | None, fault: str) -> None:
    artifacts.RAW.parent.mkdir()
    if content is None:
        artifacts.RAW.mkdir()
    else:
        artifacts.RAW.write_bytes(content)
    with pytest.raises(MeritError) as caught:
        artifacts.read_table(artifacts.RAW, "ingest")
    assert str(caught.value) == f"data/raw.parquet: {fault}; make it again with 'merit ingest'"


def _list_paths(stage: dict[str, Any]) -> Iterator[str]:
    for kind in ("deps", "outs", "metrics", "plots"):
        for entry in stage.get(kind, []):
            yield entry if isinstance(entry, str) else next(iter(entry))


def test_the_files_of_the_stages_are_those_that_artifacts_names() -> None:
    """dvc.yaml is data, which DVC reads and a project edits: it can't import, so it is held to the list."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    paths = {path for stage in stages.values() for path in _list_paths(stage)}
    code = {path for path in paths if path.startswith("src/")}
    named = {value.as_posix() for value in vars(artifacts).values() if isinstance(value, Path)}
    named |= {artifacts.part_path(part).as_posix() for part in PARTS}
    assert paths - code - named == set()
    assert [path for path in sorted(code) if not (ROOT / path).exists()] == []


def test_a_bento_and_a_project_hold_the_files_that_merit_looks_for_by_name() -> None:
    """bentofile.yaml and SHIPPED_PATHS, to which another test holds pyproject's force-include, name the same files."""
    include, requirements = read_bentofile(ROOT)
    package = artifacts.PACKAGE.as_posix()
    data = {each for each in include if not each.startswith("src/")}
    assert data == {f"{package}/**", package + SIGNATURE_SUFFIX, package + PUBLIC_KEY_SUFFIX}
    looked_for = {BENTOFILE.as_posix(), artifacts.CONF.as_posix(), requirements, str(REQUIREMENTS_LOCK), "dvc.yaml"}
    assert looked_for <= set(SHIPPED_PATHS)
    assert [path for path in SHIPPED_PATHS if not (ROOT / path).exists()] == []
