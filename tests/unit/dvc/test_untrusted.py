import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from merit import artifacts, dvc
from merit.ci import lock
from merit.dvc import cache
from merit.errors import MeritError
from tests.support import planted_outputs
from tests.support.planted_outputs import PATHS, REMOTE, Planted

FOLDER = Path("handed")
STORE = FOLDER / cache.DEFAULT_CACHE


def _package(planted: Planted, manifest: Any = None, **more: bytes) -> str:
    """Put a package into what is handed over; return its hash."""
    Path("file").write_bytes(b"graph")
    told = {"files": {"model.onnx": artifacts.hash_file(Path("file"))}} if manifest is None else manifest
    files = {"model.onnx": b"graph", "manifest.json": json.dumps(told).encode(), **more}
    entries = [{"md5": planted.put(content, store=STORE), "relpath": name} for name, content in files.items()]
    return planted.put(json.dumps(entries).encode(), ".dir", STORE)


def _hand(*outs: dict[str, Any]) -> None:
    """Write the dvc.lock that is handed over."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"package": {"outs": list(outs)}}}))


def _refused(match: str) -> None:
    """Push, and see that neither the cache nor the remote took anything."""
    with pytest.raises(MeritError, match=match):
        lock.push_outputs(FOLDER)
    assert planted_outputs.escaped() == []
    assert not cache.DEFAULT_CACHE.exists()
    assert not any(path.is_file() for path in REMOTE.rglob("*"))


def test_what_the_lock_names_is_taken_and_nothing_else(planted: Planted) -> None:
    other = planted.put(b"other", store=STORE)
    _hand({"path": "model", "md5": _package(planted)}, {"path": "data/x", "md5": planted.put(b"rows", store=STORE)})
    assert lock.push_outputs(FOLDER) == "4 of 4 objects were new to the remote"
    assert lock.push_outputs(FOLDER) == "0 of 4 objects were new to the remote"
    assert cache.find_file(other) is None
    assert not Path("dvc.lock").exists(), "what the other job wrote is read, and never put beside main's"


def test_what_the_remote_has_already_need_not_be_handed_over(planted: Planted) -> None:
    _hand({"path": "data/x", "md5": planted.put(b"rows", store=REMOTE)}, {"path": "model", "md5": "0" * 32 + ".dir"})
    assert lock.push_outputs(FOLDER) == "0 of 2 objects were new to the remote"


@pytest.mark.parametrize("path", PATHS)
def test_a_listing_that_leads_elsewhere_is_not_taken(planted: Planted, path: str) -> None:
    _hand({"path": "data", "md5": planted.listing("ok", path, store=STORE)})
    _refused(r"^data \(\w+\.dir\): its listing names .*; nothing was written")


@pytest.mark.parametrize("name", ["rows", "listing"])
def test_an_output_that_is_not_what_its_name_says_is_not_taken(planted: Planted, name: str) -> None:
    md5 = planted.put(b"rows", store=STORE) if name == "rows" else planted.listing("ok", store=STORE)
    _hand({"path": "data", "md5": md5})
    with cache.locate_object(STORE, md5).open("ab") as handle:
        handle.write(b" ")
    _refused("is not what its (name|hash) says; nothing was")


@pytest.mark.parametrize(
    ("manifest", "more"),
    [
        (None, {"extra.json": b"{}"}),
        ({"files": {}}, {}),
        ({"files": {"model.onnx": "0" * 64}}, {}),
        ({"files": {"gone.json": "0" * 64}}, {}),
        ({"files": 3}, {}),
        ([], {}),
        (None, {"model.onnx": b"another graph"}),
        (None, {"manifest.json": b"{"}),
    ],
)
def test_a_package_that_is_not_what_its_manifest_says_is_not_taken(
    planted: Planted, manifest: Any, more: dict[str, bytes]
) -> None:
    _hand({"path": "model", "md5": _package(planted, manifest, **more)})
    _refused(r"^model: \S+ is not what its manifest says; nothing was pushed")


def test_a_link_is_not_followed(planted: Planted) -> None:
    Path("secret").write_bytes(b"rows")
    md5 = planted.put(b"rows", store=STORE)
    cache.locate_object(STORE, md5).unlink()
    cache.locate_object(STORE, md5).symlink_to(Path("secret").absolute())
    _hand({"path": "data/x", "md5": md5})
    _refused("is a link; nothing was pushed")


def test_more_than_is_allowed_is_not_taken(planted: Planted) -> None:
    _hand({"path": "data/x", "md5": planted.huge(60, STORE)})
    _refused(r"names 60\.0 GB; at most 50 GB are allowed")


@pytest.mark.parametrize(
    ("out", "match"),
    [
        ({"path": "../x", "md5": "0" * 32}, "its output '../x' leads elsewhere"),
        ({"path": "x", "md5": "../../config.local"}, "its output 'x' has an invalid hash"),
    ],
)
def test_a_lock_that_names_what_no_output_may_be_is_neither_pushed_nor_committed(
    planted: Planted, out: dict[str, Any], match: str
) -> None:
    _hand(out)
    _refused(match)
    with pytest.raises(MeritError, match=match):
        lock.check_locks({"params.yaml": "model: {}", "dvc.lock": (FOLDER / "dvc.lock").read_text()})


def test_without_a_remote_nothing_is_pushed(planted: Planted) -> None:
    Path(".dvc/config").write_text("")
    _hand({"path": "data/x", "md5": planted.put(b"rows", store=STORE)})
    assert lock.push_outputs(FOLDER) == "no remote of DVC's is configured: nothing pushed"
    assert dvc.read_outputs() is None
