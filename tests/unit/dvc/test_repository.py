import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from merit import dvc
from merit.dvc import cache, repository
from merit.errors import MeritError
from tests.support import planted_outputs
from tests.support.planted_outputs import PATHS, Planted

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")

HASH = "0" * 32


def _refused(match: str) -> None:
    with pytest.raises(MeritError, match=match), dvc.open_repository("test"):
        pass
    assert planted_outputs.escaped() == []


def test_a_sound_project_is_opened(planted: Planted) -> None:
    planted.lock({"path": "model", "md5": planted.listing("a.json", "b/c.csv")}, {"path": "data/x.csv", "md5": HASH})
    with repository.open_checked() as opened:
        assert [stage.name for stage in opened.index.stages] == ["package"]


@pytest.mark.parametrize("path", PATHS)
def test_a_listing_in_the_cache_that_leads_elsewhere_is_refused(planted: Planted, path: str) -> None:
    planted.lock({"path": "model", "md5": planted.listing("manifest.json", path)})
    _refused(r"its listing names .*; nothing was written; it is .*\.dir: delete it if dvc\.lock is as it should be")


def test_a_listing_in_the_cache_that_was_changed_is_refused(planted: Planted) -> None:
    md5 = planted.listing("manifest.json")
    planted.lock({"path": "model", "md5": md5})
    with repository.open_checked():
        pass
    cache.locate_object(cache.DEFAULT_CACHE, md5).write_text(json.dumps([{"md5": HASH, "relpath": "other.json"}]))
    _refused("its listing is not what its hash says")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("../x", "lies outside of the project"),
        ("/merit-escaped", "lies outside of the project"),
        ("s3://bucket/x", "lies outside of the project|not supported|dvc-s3"),
        ("remote://storage/x", "lies outside of the project"),
        ("data/../../x", "lies outside of the project"),
        (".venv/x", "is hidden"),
        (".git/hooks/post-checkout", "is hidden|is ignored by"),
        (".dvc/cache", "is hidden|is ignored by"),
        ("conf/gate/x.yaml", "lies in conf/"),
        ("sitecustomize.py", "is code or settings"),
    ],
)
def test_an_output_that_leads_elsewhere_is_refused(planted: Planted, path: str, reason: str) -> None:
    planted.lock({"path": path, "md5": HASH})
    _refused(rf"^package: its output .* ({reason})|^test: .* is ignored by")


@pytest.mark.parametrize("kind", ["metrics", "plots"])
def test_so_is_a_metric_or_a_plot_that_does(planted: Planted, kind: str) -> None:
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"package": {"cmd": "true", kind: ["../x.json"]}}}))
    _refused("^package: its output '../x.json' lies outside of the project")


@pytest.mark.parametrize("path", ["../x", "/etc/hostname", "https://127.0.0.1:1/x", ".git/config", ".dvc/config.local"])
def test_a_dependency_that_is_no_file_of_the_project_is_refused(planted: Planted, path: str) -> None:
    planted.lock({"path": "model", "md5": HASH}, deps=[path])
    _refused("^package: its dependency .* is not a file of the project; data from elsewhere is what data.source")


def test_parameters_of_a_file_outside_are_refused(planted: Planted) -> None:
    planted.lock({"path": "model", "md5": HASH}, params=[{"../secret.yaml": ["key"]}])
    _refused("^package: its dependency '../secret.yaml' is not a file of the project")


def test_another_folder_to_work_in_is_refused(planted: Planted) -> None:
    Path("sub").mkdir()
    planted.lock({"path": "model", "md5": HASH}, wdir="sub")
    _refused("^package: has a wdir")


@pytest.mark.parametrize(
    ("out", "reason"),
    [
        ({"md5": "../../../../etc/passwd"}, "has an invalid hash in dvc.lock"),
        ({"md5": "..passwd"}, "has an invalid hash in dvc.lock"),
        ({"md5": HASH, "hash": None}, "has a hash of DVC 2"),
        ({"files": [{"md5": HASH, "relpath": "../../.venv/x.pth"}]}, "has its files listed in dvc.lock"),
    ],
)
def test_what_dvc_lock_says_of_an_output_is_a_hash_and_no_more(
    planted: Planted, out: dict[str, Any], reason: str
) -> None:
    planted.lock({"path": "model", **out})
    text = yaml.safe_load(Path("dvc.lock").read_text())
    if "hash" in out:
        del text["stages"]["package"]["outs"][0]["hash"]
        Path("dvc.lock").write_text(yaml.safe_dump(text))
    _refused(f"^package: its output 'model' {reason}")


def test_an_output_that_dvc_is_not_to_cache_is_looked_at_all_the_same(planted: Planted) -> None:
    out = {"path": "model", "md5": planted.listing("../.venv/x.pth")}
    planted.lock(out, yaml_outs=[{"model": {"cache": False}}])
    _refused("its listing names '../.venv/x.pth'")


def test_two_stages_with_one_output_are_refused(planted: Planted) -> None:
    stages = {name: {"cmd": "true", "outs": [path]} for name, path in {"a": "model", "b": "Model/x"}.items()}
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    _refused("^model: is the output of two stages, or lies in one of another")


def test_an_output_that_git_tracks_is_refused(planted: Planted) -> None:
    Path("docs").mkdir()
    Path("docs/guide.md").write_text("x")
    planted.lock({"path": "docs", "md5": planted.listing("guide.md")})
    planted.commit()
    _refused(r"^docs/guide\.md: Git tracks it, but it is an output of DVC's")


@pytest.mark.parametrize(
    ("link", "target", "named"),
    [("model", ".git/hooks", "model"), ("data", ".venv", "data"), ("model/sub", "../.git", "model/sub"),
     ("model/sub/x", "../../.venv/x.pth", "model/sub/x")],
)  # fmt: skip
def test_a_link_on_the_way_to_an_output_is_refused(planted: Planted, link: str, target: str, named: str) -> None:
    planted.lock({"path": "model", "md5": planted.listing("sub/x")}, {"path": "data/x.csv", "md5": HASH})
    Path(link).parent.mkdir(parents=True, exist_ok=True)
    Path(link).symlink_to(target)
    match = rf"^{named}: is a link, and the output .* would be written through it"
    with pytest.raises(MeritError, match=match), repository.open_checked():
        pass


def test_a_file_may_be_a_link_into_the_cache(planted: Planted) -> None:
    md5 = planted.put(b"rows")
    planted.lock({"path": "data/x.csv", "md5": md5})
    Path("data").mkdir()
    Path("data/x.csv").symlink_to(cache.locate_object(cache.DEFAULT_CACHE, md5).absolute())
    with repository.open_checked():
        pass


@pytest.mark.parametrize("name", ["dvc.yaml", "dvc.lock", "table.csv.dvc"])
def test_what_dvc_reads_is_no_link(planted: Planted, name: str) -> None:
    Path("elsewhere").write_text("stages: {}\n")
    Path(name).symlink_to("elsewhere")
    _refused(rf"^{name}: is a link; it must be a plain file")


def test_a_table_that_was_added_is_allowed(planted: Planted) -> None:
    Path("tables").mkdir()
    out = {"path": "orders.csv", "md5": planted.put(b"a\n1\n"), "size": 4, "hash": "md5"}
    Path("tables/orders.csv.dvc").write_text(yaml.safe_dump({"outs": [out]}))
    Path("tables/.gitignore").write_text("/orders.csv\n")
    planted.commit()
    with repository.open_checked() as opened:
        assert [repository.get_output_path(out, opened) for out in opened.index.outs] == ["tables/orders.csv"]


@pytest.mark.parametrize(
    "values",
    [
        {"deps": [{"path": "data", "repo": {"url": "https://127.0.0.1:1/x"}}], "outs": [{"path": "x.csv"}]},
        {"deps": [{"path": "https://127.0.0.1:1/x", "fs_config": {"a": "b"}}], "outs": [{"path": "x.csv"}]},
        {"frozen": True, "outs": [{"path": "x.csv"}]},
        {"wdir": "..", "outs": [{"path": "x.csv"}]},
        {"outs": [{"path": "x.csv", "fs_config": {"configpath": "x"}}]},
        {"outs": [{"path": "x.csv", "files": [{"relpath": "../x", "md5": HASH}]}]},
        {"outs": [{"path": "x.csv", "remote": "other"}]},
        {"cmd": "touch x", "outs": [{"path": "x.csv"}]},
        {"outs": ["x.csv"]},
        {"outs": [{"path": "x.csv"}], "meta": "x" * 200_000},
        {"outs": 3},
        ["x"],
        None,
    ],
)
def test_an_import_or_another_file_than_dvc_add_writes_is_refused(planted: Planted, values: Any) -> None:
    Path("x.csv.dvc").write_text(yaml.safe_dump(values))
    _refused(r"^x\.csv\.dvc: (has .*, and only what 'dvc add' writes is allowed|no file of 'dvc add'|longer)")
    planted.commit()
    _refused(r"^x\.csv\.dvc: ")


def test_an_import_below_is_refused_without_git_too(planted: Planted) -> None:
    shutil.rmtree(".git")
    Path(".dvc/config.local").write_text("[core]\n    no_scm = true\n")
    Path("tables").mkdir()
    dep = {"path": "data", "repo": {"url": "https://127.0.0.1:1/x"}}
    Path("tables/x.csv.dvc").write_text(yaml.safe_dump({"deps": [dep], "outs": [{"path": "x.csv"}]}))
    match = r"^tables/x\.csv\.dvc: an import; bring the file, then 'dvc add' it"
    with pytest.raises(MeritError, match=match), repository.open_checked():
        pass


def test_an_added_file_that_leads_elsewhere_is_refused(planted: Planted) -> None:
    Path("x.dvc").write_text(yaml.safe_dump({"outs": [{"path": "../.venv/x", "md5": HASH, "hash": "md5"}]}))
    _refused(r"^x\.dvc: its output '../\.venv/x' lies outside of the project")


def test_more_than_pyproject_allows_is_refused(planted: Planted) -> None:
    planted.lock({"path": "data/x.bin", "md5": planted.huge(60)}, {"path": "model", "md5": planted.listing("a", "b")})
    _refused(r"^dvc\.lock: names 60\.0 GB; at most 50 GB are allowed, tool\.merit\.outputs\.gigabytes in pyproject")
    Path("pyproject.toml").write_text("[tool.merit.outputs]\ngigabytes = 100\n")
    with repository.open_checked():
        pass
    Path("pyproject.toml").write_text("[tool.merit.outputs]\ngigabytes = 100\nfiles = 2\n")
    _refused(r"^dvc\.lock: names more than 2 files")


@pytest.mark.parametrize("text", ["files = 0", "files = 'many'", "gigabytes = true", "bytes = 3", "files = -1"])
def test_a_bound_that_is_none_is_refused(planted: Planted, text: str) -> None:
    Path("pyproject.toml").write_text(f"[tool.merit.outputs]\n{text}\n")
    _refused(r"^pyproject\.toml: tool\.merit\.outputs")


def test_settings_are_checked_before_dvc_reads_them(planted: Planted) -> None:
    Path(".dvc/config").write_text("[core]\nsite_cache_dir = here\n")
    _refused(r"^\.dvc/config: core\.site_cache_dir: not allowed")
    assert not Path("here").exists()


@pytest.fixture
def remembered(planted: Planted) -> Callable[..., Any]:
    """What DVC remembers of a stage's run once a test has written it; None if it takes it for none of the stage."""
    from dvc.stage.cache import _get_cache_hash

    planted.lock({"path": "model", "md5": planted.listing("a.json")})

    def remember(md5: str, path: str = "model", **more: Any) -> Any:
        entry = {"cmd": "true", "outs": [{"path": path, "hash": "md5", "md5": md5, **more}]}
        key = _get_cache_hash({"cmd": "true", "outs": [{"path": "model"}]}, key=True)
        folder = Path(".dvc/cache/runs", key[:2], key)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run").write_text(yaml.safe_dump(entry))
        with repository.open_checked() as opened:
            return opened.stage_cache._load_cache(key, "run")

    return remember


def test_a_run_that_dvc_remembers_is_of_the_stage_and_its_listing_is_checked(
    planted: Planted, remembered: Callable[..., Any]
) -> None:
    assert remembered(planted.listing("b.json"))["outs"][0]["path"] == "model"
    assert remembered(HASH, path=".venv") is None
    assert remembered("../../x") is None
    assert remembered(HASH, files=[{"relpath": "../x", "md5": HASH}]) is None
    assert remembered(HASH, hash=None) is None
    with pytest.raises(MeritError, match=r"its listing names '../x', which leads elsewhere"):
        remembered(planted.listing("../x"))


def test_a_lock_that_is_too_long_is_refused_before_it_is_read(planted: Planted) -> None:
    planted.lock({"path": "model", "md5": HASH})
    os.truncate("dvc.lock", 20_000_000)
    _refused(r"^dvc\.lock: longer than 16,000,000 bytes")
