import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from merit import dvc
from merit.dvc import cache, restore
from merit.errors import MeritError
from tests.support import planted_outputs
from tests.support.planted_outputs import REMOTE, Planted

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")

STAGES = {
    "ingest": {"cmd": "ingest", "params": ["seed"], "outs": ["data/x.csv"]},
    "train": {"cmd": "train", "params": ["lr"], "deps": ["data/x.csv", "code.txt"], "outs": ["data/w"]},
    "package": {"cmd": "package", "deps": ["data/w"], "outs": ["model"]},
}


@pytest.fixture
def locked(planted: Planted) -> Iterator[Callable[[], tuple[list[str], list[str]]]]:
    """A clone of a project of three stages, whose remote has all; gives what brings it: its lines, what is stale."""
    rows, weights = planted.put(b"rows", store=REMOTE), planted.put(b"weights", store=REMOTE)
    model = planted.listing("manifest.json", "w", store=REMOTE, content=b"{}")
    Path("code.txt").write_text("code")
    Path("params.yaml").write_text("seed: 7\nlr: 0.5\n")
    outs = {"ingest": ("data/x.csv", rows), "train": ("data/w", weights), "package": ("model", model)}
    deps = {"train": {"data/x.csv": rows, "code.txt": planted.put(b"code")}, "package": {"data/w": weights}}
    params = {"ingest": {"seed": 7}, "train": {"lr": 0.5}}
    stages: dict[str, Any] = {}
    for name, (path, md5) in outs.items():
        stages[name] = {"cmd": name, "outs": [{"path": path, "hash": "md5", "md5": md5}]}
        if name in deps:
            stages[name]["deps"] = [{"path": each, "hash": "md5", "md5": own} for each, own in deps[name].items()]
        if name in params:
            stages[name]["params"] = {"params.yaml": params[name]}
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}))
    Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))

    def bring() -> tuple[list[str], list[str]]:
        lines: list[str] = []
        with dvc.open_repository("test") as repo:
            restore.restore_current(repo, lines.append)
            return lines, sorted(repo.status())

    yield bring
    assert planted_outputs.escaped() in ([], ["model"])


Bring = Callable[[], tuple[list[str], list[str]]]


def test_a_clone_gets_what_the_lock_names_and_nothing_is_stale(locked: Bring) -> None:
    assert locked() == (["pulled:  data/w, data/x.csv, model (named by dvc.lock)"], [])
    assert Path("model/manifest.json").read_bytes() == b"{}"
    assert locked() == ([], [])


def test_of_a_changed_stage_and_those_after_it_nothing_is_brought(locked: Bring) -> None:
    Path("params.yaml").write_text("seed: 7\nlr: 0.25\n")
    lines, stale = locked()
    assert lines == ["pulled:  data/x.csv (named by dvc.lock)"]
    assert "ingest" not in stale
    assert not Path("data/w").exists()
    assert not Path("model").exists()


@pytest.mark.parametrize("change", ["seed: 8\nlr: 0.5\n", "lr: 0.5\n"])
def test_where_the_first_stage_changed_the_remote_is_not_even_asked(locked: Bring, change: str) -> None:
    Path("params.yaml").write_text(change)
    planted_outputs.empty(REMOTE)
    assert locked()[0] == []


def test_changed_code_and_a_changed_command_count_too(locked: Bring) -> None:
    Path("code.txt").write_text("other")
    assert locked()[0] == ["pulled:  data/x.csv (named by dvc.lock)"]
    Path("dvc.yaml").write_text(Path("dvc.yaml").read_text().replace("cmd: ingest", "cmd: other"))
    planted_outputs.empty(cache.DEFAULT_CACHE)
    assert locked()[0] == []


def test_a_lock_that_contradicts_itself_is_not_taken_further_than_it_agrees(locked: Bring, planted: Planted) -> None:
    text = yaml.safe_load(Path("dvc.lock").read_text())
    text["stages"]["ingest"]["outs"][0]["md5"] = planted.put(b"other rows", store=REMOTE)
    Path("dvc.lock").write_text(yaml.safe_dump(text))
    assert locked()[0] == ["pulled:  data/x.csv (named by dvc.lock)"]


def test_what_the_remote_lacks_is_told(locked: Bring) -> None:
    for file in REMOTE.rglob("*.dir"):
        file.unlink()
    lines, stale = locked()
    assert lines == [
        "note:    DVC's remote lacks model (named by dvc.lock); computed here",
        "pulled:  data/w, data/x.csv (named by dvc.lock)",
    ]
    assert stale == ["package"]


def test_without_a_remote_that_is_one_line(locked: Bring) -> None:
    Path(".dvc/config").write_text("")
    lines, _ = locked()
    assert lines == [
        "note:    data/w, data/x.csv, model (named by dvc.lock): not in DVC's cache, and DVC has no remote here; name "
        "one by 'dvc remote add -d'; computed here"
    ]


def test_what_the_cache_has_is_not_asked_for(locked: Bring) -> None:
    locked()
    Path("model/manifest.json").unlink()
    planted_outputs.empty(REMOTE)
    assert locked() == ([], ["package"])
    shutil.rmtree("model")
    assert locked() == ([], []), "what is gone as a whole is put there again"


def test_a_remote_whose_driver_is_not_installed_is_told(locked: Bring) -> None:
    locked()
    shutil.rmtree("model")
    config = Path(".dvc/config")
    config.write_text(config.read_text().replace("../storage", "oss://bucket/path"))
    with pytest.raises(MeritError, match=r"DVC's remote can't be used \(oss is supported, but requires 'dvc-oss'"):
        locked()


def test_a_listing_that_leads_elsewhere_stops_it(locked: Bring, planted: Planted) -> None:
    text = yaml.safe_load(Path("dvc.lock").read_text())
    text["stages"]["package"]["outs"][0]["md5"] = planted.listing("../.venv/x.pth", store=REMOTE)
    Path("dvc.lock").write_text(yaml.safe_dump(text))
    with pytest.raises(MeritError, match=r"its listing names '../\.venv/x\.pth'"):
        locked()


def test_what_is_here_already_is_not_written_over(locked: Bring) -> None:
    Path("data").mkdir()
    Path("data/x.csv").write_bytes(b"mine")
    lines, stale = locked()
    assert lines == ["pulled:  data/w, data/x.csv, model (named by dvc.lock)"]
    assert Path("data/x.csv").read_bytes() == b"mine"
    assert "ingest" in stale
