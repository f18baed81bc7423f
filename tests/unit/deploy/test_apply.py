"""apply: main's file becomes what runs, once, and that is recorded."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from merit import git
from merit.deploy import apply_records, environments
from merit.deploy.apply import apply
from merit.deploy.mlflow_alias import Alias
from merit.deploy.plan import plan
from merit.deploy.status import render_rows, status
from merit.deploy.targets import registry
from merit.errors import ConfigError, MeritError, Refused
from merit.process import workspace_lock


def probe(*_: object) -> None:
    """Nothing is asked."""


@pytest.fixture
def staging(repository, target, mlflow):
    repository.declare("staging", "version: v1\n")
    return repository


def test_what_main_declares_runs_and_is_recorded_once(staging, lock, target, mlflow):
    made = apply("staging", lock, probe)
    assert made.actions == ["runs v1", "alias staging: none -> tiny@v1"]
    assert made.record_tag == "tiny@v1#staging#1"
    assert (target.runs["staging"]["version"], mlflow["staging"]) == ("v1", "tiny@v1")
    before = staging.git("for-each-ref")
    assert apply("staging", lock, probe).record_tag is None
    assert staging.git("for-each-ref") == before


def test_a_record_whose_message_is_not_merits_has_no_values(staging, lock):
    for place, message in enumerate(("x", "x\n\na: [", "x\n\n- a", "x\n\ncommit: a"), 1):
        staging.git("tag", "--annotate", "--message", message, f"tiny@v1#staging#{place}")
    records = apply_records.read_records("tiny", "staging")
    assert [(each.number, each.told) for each in records] == [(4, {"commit": "a"}), (3, {}), (2, {}), (1, {})]


def test_a_record_whose_name_another_apply_took_is_made_again_and_not_for_ever(staging, lock, monkeypatch):
    declared = environments.read_environment("staging")
    answers, tried = iter([False, True, False, False, False]), []
    monkeypatch.setattr(git, "push_tag", lambda name: tried.append(name) or next(answers))
    assert apply_records.write_record("tiny", declared, "HEAD", ["a"]) == "tiny@v1#staging#1"
    with pytest.raises(MeritError, match="other applies record at the same time"):
        apply_records.write_record("tiny", declared, "HEAD", ["a"])
    assert tried == ["tiny@v1#staging#1"] * 2 + ["tiny@v1#staging#2"] * 3
    (record,) = apply_records.read_records("tiny", "staging")
    file = f"sha256:{hashlib.sha256(declared.file.path.read_bytes()).hexdigest()}"
    assert record.told == {"commit": "HEAD", "image": None, "package": None, "file": file, "done": ["a"]}


def test_nothing_is_recorded_of_an_environment_that_never_served_and_its_end_is_once(repository, lock, target, mlflow):
    assert apply("staging", lock, probe).record_tag is None
    repository.declare("staging", "version: v1\n")
    apply("staging", lock, probe)
    repository.declare("staging", "version: null\n")
    target.runs.clear()  # somebody took it down by hand
    mlflow.clear()
    assert apply("staging", lock, probe).record_tag == "tiny@v1#staging!#2"
    assert apply("staging", lock, probe).record_tag is None


@pytest.mark.parametrize(
    ("entry", "state"),
    [
        ({}, "healthy"),
        ({"healthy": False}, "not healthy"),
        ({"actual": {}}, "nothing runs"),
        ({"differs": True}, "healthy, differs: see 'merit plan'"),
        ({"actual": {}, "differs": True, "error": "it can't be read"}, "it can't be read"),
    ],
)
def test_the_state_of_an_environment_is_told_in_words(entry, state):
    known = {"environment": "staging", "declared": {"version": "v1"}, "actual": {"version": "v1", "replicas": 2},
             "alias": None, "since": None, "healthy": True, "differs": False, "error": None}  # fmt: skip
    (row,) = render_rows([known | entry])
    assert row == ["staging", "v1", "nothing" if entry.get("actual") == {} else "v1, x2", "none", "", state]


def test_drift_is_healed_and_that_is_recorded_as_well(staging, lock, target, mlflow):
    apply("staging", lock, probe)
    mlflow["staging"] = "tiny@v3"
    made = apply("staging", lock, probe)
    assert (made.actions, made.record_tag) == (["alias staging: tiny@v3 -> tiny@v1"], "tiny@v1#staging#2")


def test_an_apply_that_was_killed_before_it_was_recorded_is_recorded_by_the_next(staging, lock, target, mlflow):
    target.runs["staging"], mlflow["staging"] = {"version": "v1", "replicas": 1}, "tiny@v1"
    assert apply("staging", lock, probe).record_tag == "tiny@v1#staging#1"


def test_what_is_not_merged_is_not_applied(staging, lock):
    staging.declare("staging", "version: v2\n", commit=False)
    with pytest.raises(Refused, match="is not what main says"):
        apply("staging", lock, probe)
    staging.git("switch", "--quiet", "--create", "branch")
    staging.commit()
    with pytest.raises(Refused, match="is not what main says"):
        apply("staging", lock, probe)


def test_a_checkout_that_is_older_than_main_undoes_no_rollback(staging, lock, target, tmp_path):
    remote = tmp_path / "remote.git"
    subprocess.run(["git", "clone", "--quiet", "--bare", ".", remote], check=True)
    staging.git("remote", "add", "origin", str(remote))
    other = tmp_path / "other"
    subprocess.run(["git", "clone", "--quiet", remote, other], check=True)
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    (other / "conf/environment/staging.yaml").write_text("version: v3\n")
    subprocess.run(["git", *who, "-C", other, "commit", "--quiet", "--all", "--message", "back"], check=True)
    subprocess.run(["git", "-C", other, "push", "--quiet"], check=True)
    with pytest.raises(Refused, match="git pull"):
        apply("staging", lock, probe)
    assert target.runs == {}
    staging.git("pull", "--quiet", "--ff-only", "origin", "main")
    assert apply("staging", lock, probe).record_tag == "tiny@v3#staging#1"
    pushed = subprocess.run(["git", "-C", remote, "tag"], check=True, capture_output=True, text=True).stdout
    assert "tiny@v3#staging#1" in pushed


def test_a_file_that_is_not_utf8_is_told_by_its_line(staging, lock, target):
    Path("conf/environment/staging.yaml").write_bytes(b"version: v1 # caf\xe9\n")
    staging.commit()
    with pytest.raises(ConfigError, match=r"staging\.yaml:1: a byte that is not UTF-8"):
        apply("staging", lock, probe)


def test_an_origin_that_is_gone_is_told_and_nothing_changes(staging, lock, target, monkeypatch):
    monkeypatch.setattr("merit.git.RETRY_WAITS_S", ())
    staging.git("remote", "add", "origin", str(Path("gone").absolute()))
    with pytest.raises(MeritError, match="what main says now is not known, so nothing was changed"):
        apply("staging", lock, probe)
    assert target.runs == {}


def test_a_number_that_another_clone_took_is_not_taken_again(staging, lock, target, tmp_path):
    remote, clone = tmp_path / "remote.git", Path("clone")
    subprocess.run(["git", "clone", "--quiet", "--bare", ".", remote], check=True)
    staging.git("remote", "add", "origin", str(remote))
    apply("staging", lock, probe)
    staging.git("tag", "--delete", "tiny@v1#staging#1")
    target.runs.clear()
    assert apply("staging", lock, probe).record_tag == "tiny@v1#staging#2"
    shutil.rmtree(clone, ignore_errors=True)


def test_what_does_not_come_up_is_not_recorded_and_the_alias_stays(staging, lock, target, mlflow):
    target.refuses = True
    with pytest.raises(Refused, match="does not come up"):
        apply("staging", lock, probe)
    assert (apply_records.read_records("tiny", "staging"), mlflow) == ([], {})


def test_a_tag_that_was_made_anew_of_another_package_is_a_difference_until_it_is_applied(staging, lock, target, mlflow):
    apply("staging", lock, probe)
    staging.git("tag", "--delete", "tiny@v1")
    staging.version(1, package="sha256:" + "9" * 64)
    (change,) = plan("staging", lock).changes
    assert change.what == "package of v1, whose tag was created again"
    assert (change.now, change.declared) == ("sha256:" + "1" * 64, "sha256:" + "9" * 64)
    assert apply("staging", lock, probe).record_tag == "tiny@v1#staging#2"
    assert plan("staging", lock).changes == []


def test_whom_git_does_not_know_is_told_before_anything_is_switched(staging, lock, target):
    staging.git("config", "--unset", "user.email")
    staging.git("config", "user.useConfigOnly", "true")
    with pytest.raises(MeritError, match=r"^git tag: Git doesn't know who you are; set user\.name and user\.email"):
        apply("staging", lock, probe)
    assert target.runs == {}


def test_what_was_applied_and_could_not_be_recorded_is_told_and_recorded_by_the_next(
    staging, lock, target, monkeypatch
):
    def down(name):
        raise MeritError("git push: no answer")

    with monkeypatch.context() as patched:
        patched.setattr("merit.git.push_tag", down)
        said = r"^staging: applied, but not recorded: git push: no answer; 'merit apply staging' again$"
        with pytest.raises(MeritError, match=said):
            apply("staging", lock, probe)
        with pytest.raises(MeritError, match=r"^staging: not recorded: git push: no answer"):
            apply("staging", lock, probe)
    assert target.runs["staging"]["version"] == "v1"
    assert apply("staging", lock, probe).record_tag == "tiny@v1#staging#1"


def test_without_mlflow_the_rest_is_done_and_what_is_left_is_told(staging, lock, target, monkeypatch):
    monkeypatch.setattr("merit.deploy.mlflow_alias.read_alias", lambda *_: Alias(None, "MLflow is empty; rebuild it"))
    made = apply("staging", lock, probe)
    assert (made.record_tag, made.remaining) == (
        "tiny@v1#staging#1",
        "the alias 'staging' is not set: MLflow is empty; rebuild it",
    )
    assert apply("staging", lock, probe).record_tag is None


def test_an_environment_that_is_taken_down_is_recorded(staging, lock, mlflow):
    apply("staging", lock, probe)
    staging.declare("staging", "version: null\n")
    made = apply("staging", lock, probe)
    assert made.record_tag == "tiny@v1#staging!#2"
    assert mlflow == {}
    assert apply("staging", lock, probe).record_tag is None


def test_another_apply_at_the_same_time_is_told_to_wait(staging, lock):
    with workspace_lock.lock_environment("staging"), pytest.raises(MeritError, match="another apply of staging"):
        apply("staging", lock, probe)


def test_status_shows_both_sides_of_every_environment(staging, lock):
    staging.declare("production", "version: v9\n")
    apply("staging", lock, probe)
    wrong, right = status(lock)
    assert "tiny@v9 does not exist" in wrong["error"]
    assert right["declared"] == right["actual"] == {"version": "v1", "replicas": 1}
    assert (right["healthy"], right["differs"], right["applied"]["name"]) == (True, False, "tiny@v1#staging#1")
    assert render_rows([right])[0][:3] == ["staging", "v1, x1", "v1, x1"]


def test_what_can_not_be_read_is_not_healthy(staging, lock, monkeypatch):
    def fail(desired):
        raise MeritError("no answer")

    monkeypatch.setattr(registry, "create_target", fail)
    for found in status(lock):
        assert (found["healthy"], found["actual"], found["error"]) == (False, None, "no answer")


def test_status_shows_what_runs_also_where_the_declared_version_has_lost_its_tag(staging, lock):
    apply("staging", lock, probe)
    staging.git("tag", "--delete", "tiny@v1")
    _, found = status(lock)
    assert "tiny@v1 does not exist" in found["error"]
    assert found["declared"] == found["actual"] == {"version": "v1", "replicas": 1}
    assert render_rows([found])[0][:4] == ["staging", "v1, x1", "v1, x1", "tiny@v1"]
    assert "tiny@v1 does not exist" in render_rows([found])[0][5]


def test_status_shows_what_runs_also_where_the_file_can_not_be_read(staging, lock):
    apply("staging", lock, probe)
    staging.declare("staging", "version: [\n")
    _, found = status(lock)
    assert found["error"]
    assert render_rows([found])[0][1:3] == ["unknown", "v1, x1"]
