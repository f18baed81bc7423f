"""Every way on which DVC is used refuses a lock whose listing leads elsewhere, before anything is written."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import merit
from merit import artifacts, dvc
from merit.ci import lock
from merit.config.schema import Lock
from merit.doctor import dvc_remote as doctor
from merit.dvc import cache
from merit.errors import MeritError
from merit.gate.champion import Champion
from merit.gate.checks import outputs as gate
from merit.gate.verdict import Verdict
from merit.pipeline import run
from merit.registry.tags import Lineage, Version, find_package_files
from tests.support import planted_outputs
from tests.support.planted_outputs import REMOTE, Planted

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")

ROOT = Path(__file__).resolve().parents[3]
EVIL = ("manifest.json", "../.venv/x.pth", "../.git/hooks/post-checkout")


@pytest.fixture
def md5(planted: Planted) -> str:
    """The hash of the listing, which the remote alone has; dvc.lock names it, and that is committed."""
    md5 = planted.listing(*EVIL, store=REMOTE)
    planted.lock({"path": "model", "md5": md5})
    planted.commit()
    return md5


def _champion(md5: str) -> None:
    with Champion(planted_outputs.head(), {"model": md5}).fetch_package():
        pass


def _package(md5: str) -> None:
    lineage = Lineage.model_construct(package="sha256:" + "0" * 64, dvc=md5)
    find_package_files(Version("tiny", 1, "c" * 40, lineage, "Eve", None))  # type: ignore[arg-type]  # of no consequence


def _push(_: str) -> None:
    Path("handed").mkdir()
    Path("dvc.lock").rename("handed/dvc.lock")
    (Path("handed") / cache.DEFAULT_CACHE).parent.mkdir(parents=True)
    REMOTE.rename(Path("handed") / cache.DEFAULT_CACHE)
    lock.push_outputs(Path("handed"))


ROUTES: dict[str, Callable[[str], object]] = {
    "pull": lambda _: dvc.pull(),
    "run, repro": lambda _: run.update_stages(),
    "repro validate": lambda _: run.update_stages("package"),
    "a sweep's features": lambda _: run.update_features(),
    "the champion": _champion,
    "predict, apply, release, rebuild": _package,
    "push-outputs": _push,
}


@pytest.mark.parametrize("route", ROUTES)
def test_a_listing_of_the_remote_that_leads_elsewhere_is_refused_on_every_route(md5: str, route: str) -> None:
    with pytest.raises(MeritError, match=r"its listing names '\.\./\.venv/x\.pth', which leads elsewhere"):
        ROUTES[route](md5)
    assert planted_outputs.escaped() == []


HERE = {name: ROUTES[name] for name in ("pull", "run, repro", "repro validate", "a sweep's features", "the champion")}
HERE |= {"reproduce": lambda _: run.rerun_all_stages(), "predict, apply, release, rebuild": _package}


@pytest.mark.parametrize("route", HERE)
def test_so_is_one_that_the_cache_has(planted: Planted, md5: str, route: str) -> None:
    planted.listing(*EVIL)
    with pytest.raises(MeritError, match=r"its listing names '\.\./\.venv/x\.pth', which leads elsewhere"):
        HERE[route](md5)
    assert planted_outputs.escaped() == []


def test_the_gate_does_not_pass_it_and_doctor_tells_it(planted: Planted, md5: str) -> None:
    artifacts.PACKAGE.mkdir()
    planted.listing(*EVIL)
    found = gate.check_outputs()
    assert (found.verdict, found.group) == (Verdict.FAIL, "rules")
    assert "its listing names '../.venv/x.pth'" in found.found
    (finding,) = doctor.check_remote()
    assert (finding.name, finding.state) == ("dvc remote", "broken")
    assert "its listing names '../.venv/x.pth'" in finding.found


def test_a_lock_as_judged_passes_the_gate(planted: Planted) -> None:
    artifacts.PACKAGE.mkdir()
    (artifacts.PACKAGE / "a.json").write_bytes(b"{}")
    planted.listing("a.json", content=b"{}")
    md5 = cache.hash_folder(artifacts.PACKAGE)
    planted.lock({"path": "model", "md5": md5})
    assert (gate.check_outputs().verdict, gate.check_outputs().found) == (Verdict.PASS, "1 outputs, as judged")
    (artifacts.PACKAGE / "b.json").write_bytes(b"{}")
    assert gate.check_outputs().found == "dvc.lock names another package than model/"
    (artifacts.PACKAGE / "b.json").unlink()
    planted.lock({"path": "model", "md5": md5}, {"path": "data/x", "md5": "0" * 32}, yaml_outs=["model", "data/y"])
    assert gate.check_outputs().found == (
        "dvc.lock names data/x, which no stage of dvc.yaml makes; dvc.lock does not name data/y, which dvc.yaml makes"
    )
    planted.lock({"path": "model", "md5": md5}, cmd="touch x")
    assert gate.check_outputs().found == "dvc.yaml has another command for the stage package"


def test_before_a_lock_there_is_nothing_to_hold_it_against(planted: Planted) -> None:
    assert (gate.check_outputs().verdict, gate.check_outputs().found) == (Verdict.NOT_APPLICABLE, "no dvc.lock yet")


def test_the_gates_check_of_it_can_not_be_waived(make_lock: Callable[..., Lock]) -> None:
    def waive(values: dict[str, object]) -> None:
        gate = values["gate"]
        assert isinstance(gate, dict)
        gate["waivers"] = {"outputs": {"reason": "we are in a hurry", "until": "2999-01-01"}}

    with pytest.raises(ValueError, match=r"gate\.waivers names 'outputs', which can't be waived"):
        make_lock(waive)


def test_dvcs_repository_is_opened_in_one_package_alone() -> None:
    source = Path(merit.__file__).parent
    opens = re.compile(r"\bRepo\(|DVCFileSystem|dvc\.(api|cli)\b|\"-m\", \"dvc\"")
    found = {file.relative_to(source).as_posix() for file in source.rglob("*.py") if opens.search(file.read_text())}
    assert found == {"dvc/cache.py", "dvc/dvc_adapter.py"}


@pytest.mark.parametrize("name", ["Makefile", ".gitlab-ci.yml", *(f".github/workflows/{each}.yml" for each in (
    "ci", "deploy", "lock", "plan", "pr", "release", "report", "train"))])  # fmt: skip
def test_no_step_has_dvc_itself_bring_or_check_out_anything(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.findall(r"(?m)^\s*(?:- |run: |@)?.*\bdvc (?:pull|fetch|checkout|repro|import|update)\b", text)
