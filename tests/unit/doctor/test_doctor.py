"""What the doctor finds, and what it comes to."""

import json
import os
import shutil
import sqlite3
import sys
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from merit import cli, doctor
from merit.config import lock as locks
from merit.config.schema import Lock
from merit.console.findings import Finding
from merit.doctor import check_tracking, dvc_remote, git_repository, machine
from merit.doctor.parallel_checks import run_within

Git = Callable[..., str]


def _one(found: Iterator[Finding]) -> Finding:
    (finding,) = found
    return finding


@pytest.mark.parametrize(
    ("states", "code", "last"),
    [
        (["ok", "note"], 0, "doctor: all that is needed is there"),
        (["ok", "missing"], 1, "doctor: 1 missing, 0 broken"),
        (["missing", "broken"], 2, "doctor: 1 missing, 1 broken"),
    ],
)
def test_the_worst_finding_decides(states: list[Any], code: int, last: str) -> None:
    found = [Finding("x", state, "y", "z") for state in states]
    assert doctor.compute_exit_code(found) == code
    assert doctor.render_lines(found)[-1] == last
    assert doctor.as_json(found)["exit_code"] == code


def test_a_finding_is_one_line_without_secrets() -> None:
    made = Finding("x", "ok", "http://me:pw@example.org\nis up")
    assert made.found == "http://***@example.org is up"


def test_a_check_that_hangs_is_given_up_and_one_that_fails_is_told() -> None:
    def hangs() -> Iterator[Finding]:
        yield Finding("slow", "ok", "begun")
        time.sleep(3)

    def fails() -> Iterator[Finding]:
        raise ZeroDivisionError("odd")
        yield

    began = time.monotonic()
    slow, late, odd = run_within(0.1, [("slow", hangs), ("odd", fails)])
    assert time.monotonic() - began < 2
    assert (slow.name, late.state, late.found) == ("slow", "missing", "no answer within 0.1 s")
    assert (odd.state, odd.found) == ("broken", "ZeroDivisionError: odd")


def test_the_command_prints_json_and_exits_by_the_worst(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "run_checks", lambda: [Finding("git", "missing", "no repository", "make one")])
    for arguments in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", ["merit", "doctor", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 1
    told, _, as_json = capsys.readouterr().out.partition("{")
    assert told == "MISSING  git  no repository; make one\ndoctor: 1 missing, 0 broken\n"
    assert json.loads("{" + as_json)["findings"] == [
        {"name": "git", "state": "missing", "found": "no repository", "do": "make one"}
    ]


def test_a_folder_without_configuration_is_broken_and_one_without_a_lock_lacks_it(conf: Path, lock: Lock) -> None:
    assert doctor._read_lock()[1].do == "'merit compose' writes it"
    Path("params.yaml").write_text("name: 3\n", encoding="utf-8")
    assert doctor._read_lock()[1].state == "broken"
    locks.write_lock(lock)
    assert doctor._read_lock() == (lock, Finding("configuration", "ok", "params.yaml of 'tiny' can be read"))
    shutil.rmtree(conf)
    assert doctor._read_lock()[1].do == "run merit in the folder that holds conf/"


def test_a_broken_file_of_conf_is_found_whoever_chose_it(conf: Path) -> None:
    good = _one(git_repository.check_conf_files())
    assert (good.state, good.found) == ("ok", f"{len(list(conf.rglob('*.yaml')))} files, without a fault")
    (conf / "trainer" / "gpu.yaml").write_text("defaults: [cpu]\nbatch: 1\nepochs: 2\n", encoding="utf-8")
    bad = _one(git_repository.check_conf_files())
    assert bad.state == "broken"
    assert bad.found.startswith("conf/trainer/gpu.yaml:2: trainer.batch: unknown key")
    assert bad.found.endswith(" and 1 more")
    shutil.rmtree(conf)
    assert list(git_repository.check_conf_files()) == []


def test_a_table_that_another_clone_would_lack_is_missing(git_repo: Git, lock: Lock) -> None:
    git_repo("commit", "--quiet", "--allow-empty", "--message", "begin")
    Path("source.parquet").write_text("rows")
    missing = _one(git_repository.check_source(lock))
    assert (missing.state, missing.do) == ("missing", "another clone can't run without it")
    assert missing.found.startswith("source.parquet is neither in Git nor tracked by DVC")
    git_repo("add", ".")
    git_repo("commit", "--quiet", "--message", "table")
    assert _one(git_repository.check_source(lock)).found == "source.parquet: in Git, or tracked by DVC"
    assert list(git_repository.check_source(None)) == []


def test_packages_that_are_not_the_locked_ones_are_named(workdir: Path) -> None:
    assert _one(machine.check_packages()).found == "no requirements.lock"
    Path("requirements.lock").write_text("# made\nclick==0.1\nno-such-package==1.0\n", encoding="utf-8")
    found = _one(machine.check_packages())
    assert found.state == "missing"
    assert "no-such-package none, not 1.0" in found.found
    assert found.do == "'make install' brings the locked ones"


def test_another_python_and_a_full_disk_are_told(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 1))
    assert _one(machine.check_python()).state == "broken"
    full = namedtuple("full", ["total", "used", "free"])(100, 99, 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    assert _one(machine.check_disk()).state == "missing"


def test_programs_that_nothing_set_up_needs_are_only_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert [_one(machine.check_engines()).state, _one(machine.check_haproxy()).state] == ["note", "note"]


def _signing(**how: Any) -> Any:
    return SimpleNamespace(release=SimpleNamespace(signing=SimpleNamespace(**how)))


def test_the_keys_of_signing_are_looked_for(workdir: Path, monkeypatch: pytest.MonkeyPatch, lock: Lock) -> None:
    assert _one(machine.check_signing(None)).state == "note"
    assert _one(machine.check_signing(_signing(method="keyless"))).state == "ok"
    by_key = _signing(method="key", public_key="signing.pub")
    public, private = machine.check_signing(by_key)
    assert (public.state, private.state) == ("missing", "note")
    Path("signing.pub").write_text("k", encoding="utf-8")
    Path("signing.key").write_text("k", encoding="utf-8")
    monkeypatch.setenv("MERIT_SIGNING_KEY", "signing.key")
    Path("signing.key").chmod(0o644)
    assert _one(machine.check_signing(by_key)).found == "others may read the private key"
    Path("signing.key").chmod(0o600)
    assert _one(machine.check_signing(by_key)).state == "ok"


def test_a_repository_is_followed_from_nothing_to_a_main(
    git_repo: Git, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    assert _one(git_repository.check_git()).found == "user.name and user.email not set"
    git_repo("config", "user.name", "t")
    git_repo("config", "user.email", "t@example.org")
    assert _one(git_repository.check_git()).found == "no commit yet"
    git_repo("commit", "--quiet", "--allow-empty", "--message", "x")
    assert _one(git_repository.check_git()).state == "ok"
    git_repo("branch", "--move", "trunk")
    assert _one(git_repository.check_git()).found == "no branch main, here or at origin"


def test_no_repository_is_told(workdir: Path) -> None:
    assert _one(git_repository.check_git()).found == "this is no repository"


def test_a_remote_is_asked_and_its_password_is_not_shown(git_repo: Git, tmp_path: Path) -> None:
    assert _one(git_repository.check_origin()).state == "note"
    git_repo("init", "--quiet", "--bare", str(tmp_path / "bare.git"))
    git_repo("remote", "add", "origin", str(tmp_path / "bare.git"))
    assert _one(git_repository.check_origin()).state == "ok"
    git_repo("remote", "set-url", "origin", "http://me:hunter22@127.0.0.1:1/x")
    found = _one(git_repository.check_origin())
    assert found.state == "missing"
    assert "hunter22" not in str(found)


def test_without_lfs_there_is_nothing_to_tell_of_it(git_repo: Git) -> None:
    assert list(git_repository.check_lfs()) == []
    Path(".gitattributes").write_text("*.txt text\n", encoding="utf-8")
    git_repo("add", ".gitattributes")
    assert list(git_repository.check_lfs()) == []


def _tracking(make_lock: Callable[..., Lock], **tracking: str) -> Finding:
    edited = make_lock(lambda values: values.update(tracking={"experiment": "tiny", **tracking}))
    return _one(check_tracking(edited))


def test_what_keeps_runs_is_looked_at(
    workdir: Path, make_lock: Callable[..., Lock], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _tracking(make_lock, to="csv").found == "CSV files in runs/tiny/"
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert _tracking(make_lock, to="wandb", mode="offline").state == "ok"
    assert _tracking(make_lock, to="wandb", mode="online").found == "WANDB_API_KEY is not set"
    assert _tracking(make_lock, uri="sqlite:///mlflow.db").found == "mlflow.db is made by the first run"
    Path("mlflow.db").write_bytes(b"not a database" * 100)
    assert _tracking(make_lock, uri="sqlite:///mlflow.db").state == "broken"
    with sqlite3.connect("new.db") as database:
        database.execute("CREATE TABLE runs (id)")
    assert _tracking(make_lock, uri="sqlite:///new.db").found == "new.db holds 0 runs"
    with closing(sqlite3.connect("new.db")) as database, database:
        database.execute("INSERT INTO runs VALUES (1)")
    assert _tracking(make_lock, uri="sqlite:///new.db").found == "new.db holds 1 run"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter22@127.0.0.1:1")  # YAML may hold no password
    down = _tracking(make_lock, uri="sqlite:///new.db")
    assert down.state == "missing"
    assert down.found.startswith("http://***@127.0.0.1:1 does not answer (")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+psycopg://me:hunter22@127.0.0.1:1/x")
    down = _tracking(make_lock, uri="sqlite:///new.db")
    assert down.state == "missing"
    assert "hunter22" not in str(down)


def test_data_without_a_remote_is_missing_once_others_need_it(git_repo: Git) -> None:
    from dvc.repo import Repo

    assert _one(dvc_remote.check_remote()).found == "DVC is not set up here"
    Repo.init().close()
    assert _one(dvc_remote.check_remote()).state == "note"
    Path("dvc.lock").write_text("schema: '2.0'\nstages: {}\n", encoding="utf-8")
    git_repo("add", "--force", "dvc.lock")
    assert _one(dvc_remote.check_remote()).state == "note"  # nobody gets it from here
    git_repo("remote", "add", "origin", "elsewhere")
    assert _one(dvc_remote.check_remote()).state == "missing"


def test_a_remote_in_a_folder_is_looked_into(git_repo: Git, tmp_path: Path) -> None:
    from dvc.repo import Repo

    Repo.init().close()
    config = "[core]\n    remote = storage\n    analytics = false\n['remote \"storage\"']\n    url = {}\n"
    Path(".dvc/config").write_text(config.format(tmp_path / "store"), encoding="utf-8")
    reached, data = dvc_remote.check_remote()
    assert (reached.state, data.found) == ("ok", "no dvc.lock yet")
    Path(".dvc/config").write_text(config.format("/no/such/mount/for/dvc"), encoding="utf-8")
    assert _one(dvc_remote.check_remote()).found == "no folder /no/such/mount/for/dvc"
    Path(".dvc/config").write_text("[core]\n    remote = other\n", encoding="utf-8")
    assert _one(dvc_remote.check_remote()).state == "broken"
    Path(".dvc/config").write_text("[core\n", encoding="utf-8")
    assert _one(dvc_remote.check_remote()).state == "broken"


def test_environment_is_left_as_it_was(workdir: Path) -> None:
    before = dict(os.environ)
    list(git_repository.check_origin())
    assert dict(os.environ) == before
