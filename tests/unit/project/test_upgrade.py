import json
import os
import sys
import tomllib
from pathlib import Path

import pytest

from merit import cli
from merit.errors import MeritError
from merit.project import files
from merit.project import upgrade as upgrades
from merit.project.new import RECORD_FILE, hash_text, render_record
from merit.project.upgrade import plan_upgrade
from tests.conftest import ROOT

FLIGHTS = Path("conf/data/flights.yaml")
CONFIG = Path("conf/config.yaml")


@pytest.fixture
def old(conf: Path) -> Path:
    """The repository's conf/ as it was in form 1."""
    for path, line in ((CONFIG, "form: 3"), (FLIGHTS, "  by: time")):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [each for each in lines if not each.startswith(line)]
        assert len(kept) == len(lines) - 1
        path.write_text("".join(kept), encoding="utf-8")
    return conf


@pytest.fixture
def given(conf: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A project of an earlier merit: what that gave stands there, and this merit gives what the dict says."""
    earlier = {"Makefile": "old\n", ".ci/run": "#!/bin/sh\nold\n", "dvc.yaml": "same\n"}
    for path, text in earlier.items():
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text(text, encoding="utf-8")
    RECORD_FILE.write_text(
        render_record("shop", {path: hash_text(text) for path, text in earlier.items()}), encoding="utf-8"
    )
    now = {**earlier, "Makefile": "new\n", ".ci/run": "#!/bin/sh\nnew\n", "conf/model/mlp.yaml": "never\n"}
    monkeypatch.setattr(files, "adapt_shipped_files", lambda **_: now)
    return now


def _call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str]:
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")
    monkeypatch.setattr(sys, "argv", ["merit", "upgrade", *args])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out + err


@pytest.mark.parametrize("args", [[], ["--check"]])
def test_the_difference_is_shown_and_nothing_is_written(
    old: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], args: list[str]
) -> None:
    before = {path: path.read_bytes() for path in old.rglob("*.yaml")}
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    code, printed = _call(monkeypatch, capsys, *args)
    assert code == 1
    assert "--- conf/data/flights.yaml (found)\n+++ conf/data/flights.yaml (upgraded)\n" in printed
    assert "\n+  by: time\n" in printed
    assert printed.endswith(
        "why:     data.split says by what it splits: by time, or by lot\n"
        "why:     networks are classes of merit.models.networks, and the library knows no table\n"
        "next:    'merit upgrade --yes' does it\n"
    )
    assert {path: path.read_bytes() for path in old.rglob("*.yaml")} == before


def test_it_is_done_on_request_and_a_second_time_there_is_nothing_to_do(
    old: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed = _call(monkeypatch, capsys, "--yes")
    assert code == 0
    assert printed.endswith("conf/data/flights.yaml written\nconf/config.yaml written\nnext:    'merit run'\n")
    assert "  by: time\n" in FLIGHTS.read_text(encoding="utf-8")
    times = {path: path.stat().st_mtime_ns for path in old.rglob("*.yaml")}
    assert _call(monkeypatch, capsys, "--yes") == (0, "up to date: nothing to upgrade\n")
    assert {path: path.stat().st_mtime_ns for path in old.rglob("*.yaml")} == times


@pytest.mark.parametrize(("answer", "code"), [(True, 0), (False, 1)])
def test_at_a_terminal_it_asks(
    old: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: bool, code: int
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.confirm", lambda _: answer)
    assert _call(monkeypatch, capsys)[0] == code
    assert ("  by: time\n" in FLIGHTS.read_text(encoding="utf-8")) is answer


def test_doing_it_and_not_doing_it_exclude_each_other(
    old: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed = _call(monkeypatch, capsys, "--yes", "--check")
    assert (code, "--yes and --check exclude each other" in printed) == (2, True)


def test_an_upgraded_conf_composes(old: Path) -> None:
    from merit.config.compose import compose

    plan_upgrade().apply()
    assert compose().data.split.by == "time"


@pytest.mark.parametrize(
    ("pyproject", "trusted"),
    [
        ("", ["reference"]),
        ("[tool.merit]\ntrusted = [] # ours\n", ["reference"]),
        ('[tool.merit] # ours\nroots = ["/srv"]\n', ["reference"]),
        ('[tool.merit]\ntrusted = [\n  "mine",\n]\n', ["reference", "mine"]),
    ],
)
def test_a_project_whose_source_left_the_library_gets_its_package_and_trusts_it(
    conf: Path, monkeypatch: pytest.MonkeyPatch, pyproject: str, trusted: list[str]
) -> None:
    from merit.config.compose import compose

    FLIGHTS.write_text(FLIGHTS.read_text().replace("reference.flights.Flights", "merit.data.sources.Flights"))
    CONFIG.write_text(CONFIG.read_text().replace("form: 3", "form: 2"))
    Path("reference").unlink()
    Path("mine.py").touch()
    Path("pyproject.toml").write_text(pyproject)
    monkeypatch.setattr(files, "_read_shipped", files._read_from_disk)  # edits count before they are committed
    plan_upgrade().apply()
    assert tomllib.loads(Path("pyproject.toml").read_text())["tool"]["merit"]["trusted"] == trusted
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(ROOT)])
    for name in [name for name in sys.modules if name.partition(".")[0] == "reference"]:
        monkeypatch.delitem(sys.modules, name)
    composed = compose()
    assert (composed.data.source.target, list(composed.code)) == ("reference.flights.Flights", ["reference"])
    assert plan_upgrade().after == {}


def test_a_project_that_names_no_such_source_gets_nothing_of_it(old: Path) -> None:
    FLIGHTS.unlink()
    Path("conf/data/digits.yaml").unlink()
    Path("reference").unlink()
    assert [path for path in plan_upgrade().after if not path.startswith("conf/")] == []


def test_the_present_conf_needs_no_upgrade(conf: Path) -> None:
    assert plan_upgrade().after == {}


def test_the_form_is_written_last_so_that_an_upgrade_cut_short_is_found_unfinished(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str) -> None:
        raise MeritError(f"{path}: can't be written")

    with monkeypatch.context() as patched, pytest.raises(MeritError, match="flights"):
        patched.setattr(upgrades, "write_file", full)
        plan_upgrade().apply()
    assert list(plan_upgrade().after) == [str(FLIGHTS), str(CONFIG)]


def test_what_merit_gave_and_nobody_edited_is_renewed(given: dict[str, str]) -> None:
    planned = plan_upgrade()
    assert list(planned.after) == [".ci/run", "Makefile", ".merit-project.json"]
    planned.apply()
    assert Path("Makefile").read_text() == "new\n"
    assert os.access(".ci/run", os.X_OK)
    assert json.loads(RECORD_FILE.read_text())["files"]["Makefile"] == hash_text("new\n")
    assert plan_upgrade().after == {}


def test_what_was_edited_is_kept_and_told(
    given: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("Makefile").write_text("mine\n")
    code, printed = _call(monkeypatch, capsys, "--yes")
    assert code == 0
    assert "Makefile: kept, for it was edited here; this merit has another\n" in printed
    assert Path("Makefile").read_text() == "mine\n"
    assert list(plan_upgrade().after) == []


@pytest.mark.parametrize(
    ("path", "step"), [("requirements.lock", "'make install', then 'merit run'"), ("Makefile", "'merit run'")]
)
def test_new_packages_are_to_be_installed_before_the_next_run(
    given: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], path: str, step: str
) -> None:
    given[path] = "newest\n"
    assert _call(monkeypatch, capsys, "--yes")[1].endswith(f".merit-project.json written\nnext:    {step}\n")


def test_what_was_deleted_stays_away_and_what_is_new_comes(given: dict[str, str]) -> None:
    Path("Makefile").unlink()
    given["bentofile.yaml"] = "added\n"
    planned = plan_upgrade()
    assert (list(planned.after), planned.edited) == ([".ci/run", "bentofile.yaml", ".merit-project.json"], [])


def test_the_users_own_file_in_the_place_of_a_new_one_is_kept(given: dict[str, str]) -> None:
    Path("bentofile.yaml").write_text("mine\n")
    given["bentofile.yaml"] = "added\n"
    planned = plan_upgrade()
    assert "bentofile.yaml" not in planned.after
    assert planned.edited == ["bentofile.yaml"]


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "x"}', '{"name": "x", "files": []}'])
def test_a_record_that_is_none_is_told(conf: Path, text: str) -> None:
    RECORD_FILE.write_text(text)
    with pytest.raises(MeritError, match=r"^\.merit-project\.json: not what 'merit new' wrote; restore it from Git"):
        plan_upgrade()


def test_outside_a_project_there_is_nothing_to_upgrade(workdir: Path) -> None:
    with pytest.raises(MeritError, match=r"^conf/config\.yaml: not found; run merit in the folder that holds conf/$"):
        plan_upgrade()


def test_a_file_that_is_not_text_is_told(conf: Path) -> None:
    FLIGHTS.write_bytes(b"\xff\xfe")
    with pytest.raises(MeritError, match=r"^conf/data/flights\.yaml: can't be read as UTF-8 text"):
        plan_upgrade()
