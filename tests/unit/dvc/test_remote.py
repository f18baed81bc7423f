import json
import os
from pathlib import Path

import pytest

from merit import dvc
from merit.dvc import cache, remote
from merit.errors import MeritError, Refused
from tests.support import planted_outputs
from tests.support.planted_outputs import PATHS, REMOTE, Planted

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")

HASH = "0" * 32


def _refused(match: str) -> None:
    """Pull, and see that nothing is written but what is sound."""
    with pytest.raises(MeritError, match=match):
        dvc.pull()
    assert planted_outputs.escaped() == []


def test_what_the_lock_names_comes_from_the_remote(planted: Planted) -> None:
    md5 = planted.listing("manifest.json", "sub/x.json", store=REMOTE, content=b"{}")
    planted.lock({"path": "model", "md5": md5}, {"path": "data/x.csv", "md5": planted.put(b"rows", store=REMOTE)})
    assert dvc.pull() == 2
    assert sorted(path.name for path in Path("model").rglob("*") if path.is_file()) == ["manifest.json", "x.json"]
    assert Path("data/x.csv").read_bytes() == b"rows"
    Path("model/manifest.json").unlink()
    planted_outputs.empty(REMOTE)
    assert dvc.pull() == 2, "the cache has it"
    assert Path("model/manifest.json").read_bytes() == b"{}"


@pytest.mark.parametrize("path", PATHS)
def test_a_listing_of_the_remote_that_leads_elsewhere_is_refused_and_not_kept(planted: Planted, path: str) -> None:
    md5 = planted.listing("manifest.json", path, store=REMOTE)
    planted.lock({"path": "model", "md5": md5})
    _refused(r"^model \(\w+\.dir\): its listing names .*; nothing was written$")
    assert cache.find_file(md5) is None


def test_a_listing_of_the_remote_that_is_another_is_refused(planted: Planted) -> None:
    md5 = planted.listing("manifest.json", store=REMOTE)
    cache.locate_object(REMOTE, md5).write_text(json.dumps([{"md5": HASH, "relpath": "manifest.json"}]))
    planted.lock({"path": "model", "md5": md5})
    _refused("its listing is not what its hash says; nothing was written")


def test_a_listing_without_end_is_not_read_to_its_end(planted: Planted) -> None:
    md5 = planted.listing("manifest.json", store=REMOTE)
    os.truncate(cache.locate_object(REMOTE, md5), 10**12)
    planted.lock({"path": "model", "md5": md5})
    _refused(r"its listing is longer than 40,000,000 bytes")


def test_a_file_of_the_remote_that_is_not_what_its_name_says_is_not_kept(planted: Planted) -> None:
    md5 = planted.put(b"rows", store=REMOTE)
    cache.locate_object(REMOTE, md5).write_bytes(b"evil")
    planted.lock({"path": "data/x.csv", "md5": md5})
    _refused(r"^DVC's remote lacks data/x\.csv \(named by dvc\.lock\); 'dvc push' where it was made$")
    assert cache.find_file(md5) is None
    assert not Path("data/x.csv").exists()


def test_more_than_is_allowed_is_not_brought(planted: Planted) -> None:
    md5 = planted.huge(60, store=REMOTE)
    planted.lock({"path": "data/x.bin", "md5": md5})
    _refused(r"^data/x\.bin: names 60\.0 GB; at most 50 GB are allowed")
    assert cache.find_file(md5) is None


def test_more_files_than_are_allowed_are_not_brought(planted: Planted) -> None:
    Path("pyproject.toml").write_text("[tool.merit.outputs]\nfiles = 2\n")
    planted.lock({"path": "model", "md5": planted.listing("a", "b", "c", store=REMOTE)})
    _refused(r"^model \(\w+\.dir\): names more than 2 files")
    planted.lock(
        {"path": "model", "md5": planted.listing("a", store=REMOTE)},
        *({"path": f"data/{each}", "md5": planted.put(each.encode(), store=REMOTE)} for each in ("x", "y")),
    )
    _refused(r"names more than 2 files")


def test_what_is_nowhere_is_told(planted: Planted) -> None:
    planted.lock({"path": "model", "md5": f"{HASH}.dir"}, {"path": "data/x.csv", "md5": HASH})
    _refused(r"^DVC's remote lacks data/x\.csv, model \(named by dvc\.lock\); 'dvc push' where it was made")


def test_without_a_remote_that_is_told(planted: Planted) -> None:
    Path(".dvc/config").write_text("")
    planted.lock({"path": "model", "md5": f"{HASH}.dir"})
    with pytest.raises(
        remote.RemoteUnreachable, match=r"^model \(named by dvc\.lock\): not in DVC's cache.+'merit run' c"
    ):
        dvc.pull()


def test_a_remote_that_can_not_be_asked_is_told(planted: Planted) -> None:
    Path(".dvc/config.local").write_text("['remote \"storage\"']\n    url = https://127.0.0.1:1/x\n")
    planted.lock({"path": "data/x.csv", "md5": HASH})
    with pytest.raises(
        remote.RemoteUnreachable, match=r"^data/x\.csv \(named by dvc\.lock\): DVC's remote can't be reached"
    ):
        dvc.pull()


def test_without_a_lock_there_is_nothing_to_pull(planted: Planted) -> None:
    _refused(r"^dvc\.lock: names no outputs; 'merit run' makes them")


def test_what_is_here_and_in_no_cache_is_not_lost(planted: Planted) -> None:
    planted.lock({"path": "data/x.csv", "md5": planted.put(b"rows")})
    Path("data").mkdir()
    Path("data/x.csv").write_bytes(b"mine")
    with pytest.raises(Refused, match=r"^x\.csv: changed here, and in no cache; move or remove it"):
        dvc.pull()
    assert Path("data/x.csv").read_bytes() == b"mine"


def test_an_output_of_a_commit_is_fetched_whole_or_a_file_of_it(planted: Planted, tmp_path: Path) -> None:
    md5 = planted.listing("manifest.json", "sub/x.json", store=REMOTE, content=b"{}")
    planted.lock({"path": "model", "md5": md5}, {"path": "data/x.csv", "md5": planted.put(b"rows")})
    commit = planted.commit()
    dvc.copy_output(commit, Path("model"), tmp_path / "there/model")
    dvc.copy_output(commit, Path("model/sub/x.json"), tmp_path / "there/one.json")
    dvc.copy_output(commit, Path("data/x.csv"), tmp_path / "there/x.csv")
    assert (tmp_path / "there/model/sub/x.json").read_bytes() == (tmp_path / "there/one.json").read_bytes() == b"{}"
    assert (tmp_path / "there/x.csv").read_bytes() == b"rows"
    assert not Path("model").exists()
    for name in ("model/none", "none", "data"):
        with pytest.raises(MeritError, match=r"has no none|names no (none|data)"):
            dvc.copy_output(commit, Path(name), tmp_path / "nowhere")


def test_a_file_of_the_cache_that_was_changed_is_not_fetched(planted: Planted, tmp_path: Path) -> None:
    md5 = planted.put(b"rows")
    planted.lock({"path": "data/x.csv", "md5": md5})
    commit = planted.commit()
    cache.locate_object(cache.DEFAULT_CACHE, md5).write_bytes(b"evil")
    with pytest.raises(MeritError, match=r"is not what its name says; delete it, then 'merit pull' brings it again"):
        dvc.copy_output(commit, Path("data/x.csv"), tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_a_folder_goes_to_the_remote_only_with_all_its_files(planted: Planted) -> None:
    md5, file = planted.listing("manifest.json"), planted.put(b"evil")
    planted.lock({"path": "model", "md5": md5})
    with dvc.open_repository("test") as repo:
        assert remote.push_objects(repo, {md5, file}) == 2
        assert remote.push_objects(repo, {md5, file}) == 0
    assert cache.locate_object(REMOTE, md5).is_file()
    other = planted.listing("manifest.json", content=b"other")
    missing = planted.put(b"other")
    cache.locate_object(cache.DEFAULT_CACHE, missing).unlink()
    with dvc.open_repository("test") as repo:
        remote.push_objects(repo, {other, missing})
    assert not cache.locate_object(REMOTE, other).exists()
