"""plan: what would change, and what may not be."""

from dataclasses import replace
from pathlib import Path

import pytest

from merit.deploy import apply_records, environments, main_branch
from merit.deploy.mlflow_alias import Alias
from merit.deploy.plan import Change, _compare_metrics, _diff_alias, as_json, plan, render_lines
from merit.errors import ConfigError, MeritError
from merit.registry.queries import list_history
from tests.unit.deploy.conftest import IMAGE

pytestmark = pytest.mark.usefixtures("target", "mlflow")


def refusal(lock, name="production") -> str:
    with pytest.raises(ConfigError) as error:
        plan(name, lock)
    return str(error.value)


def test_without_a_difference_there_is_one_line(repository, lock):
    made = plan("staging", lock)
    assert not made.differs
    assert render_lines(made) == ["staging: nothing on local; no difference"]


def test_a_plan_reads_like_a_diff(repository, lock, target, mlflow):
    target.runs["staging"] = {"version": "v1", "replicas": 1}
    mlflow["staging"] = "tiny@v1"
    repository.declare("staging", "version: v2\nreplicas: 2\n")
    made = plan("staging", lock)
    assert made.differs
    assert render_lines(made) == [
        "staging: tiny@v2 on local",
        "- alias staging in MLflow: tiny@v1",
        "+ alias staging in MLflow: tiny@v2",
        "- version: v1",
        "+ version: v2",
        "- replicas: 1",
        "+ replicas: 2",
        "  roc_auc: 0.61 -> 0.62 (+0.0100)",
    ]
    assert as_json(made)["changes"][1] == {"what": "version", "now": "v1", "declared": "v2"}


def test_inputs_are_checked_only_where_something_changes(repository, lock, target, mlflow, monkeypatch):
    checked = []
    monkeypatch.setattr(target, "check_inputs", lambda self: checked.append(1))
    plan("staging", lock)
    assert checked == []
    repository.declare("staging", "version: v1\n")
    plan("staging", lock)
    assert checked == [1]


def test_an_alias_that_can_not_be_set_is_a_difference_with_its_reason():
    problem = Alias("tiny@v1", "MLflow has no tiny@v1")
    (change,) = _diff_alias("staging", problem, "tiny@v1")
    assert (change.now, change.declared) == ("tiny@v1", "tiny@v1 (MLflow has no tiny@v1)")
    assert _diff_alias("staging", Alias("tiny@v1"), "tiny@v1") == []
    assert [each.declared for each in _diff_alias("staging", Alias("tiny@v1"), None)] == [None]


def test_a_metric_that_only_one_version_has_is_shown_without_a_difference(repository, lock):
    repository.version(4, metrics={"roc_auc": 0.7, "brier": 0.25})
    repository.version(5, metrics={"roc_auc": 0.6, "log_loss": 0.5})
    assert _compare_metrics("tiny", "v4", "v5") == {
        "roc_auc": (0.7, 0.6),
        "brier": (0.25, None),
        "log_loss": (None, 0.5),
    }
    made = plan("staging", lock)
    metrics = {"roc_auc": (0.7, 0.6), "brier": (0.25, None), "log_loss": (None, 0.123456)}
    change = Change("replicas", 1, {"a": None, "b": 2.5})
    assert render_lines(replace(made, changes=[change], metrics=metrics))[1:] == [
        "- replicas: 1",
        "+ replicas: a none, b 2.5",
        "  roc_auc: 0.7 -> 0.6 (-0.1000)",
        "  brier: 0.25 -> none",
        "  log_loss: none -> 0.1235",
    ]
    assert _compare_metrics("tiny", "v4", "v4") == _compare_metrics("tiny", "v4 and v5", "v5") == {}


def test_a_first_deploy_takes_nothing_away_and_hashes_are_not_shown(repository, lock, target, monkeypatch):
    monkeypatch.setattr(
        target, "describe_desired", lambda self: {"version": "v2", "replicas": 1, "settings": "548ffad86f26"}
    )
    repository.declare("staging", "version: v2\n")
    first = ["staging: tiny@v2 on local", "+ alias staging in MLflow: tiny@v2", "+ version: v2", "+ replicas: 1"]
    assert render_lines(plan("staging", lock)) == first
    target.runs["staging"] = {"version": "v2", "replicas": 1, "settings": "a00000000000"}
    told = "  settings: other ones of params.yaml under serve"
    assert render_lines(plan("staging", lock))[2:] == [told]


def test_an_alias_that_was_moved_by_hand_is_a_difference(repository, lock, target, mlflow):
    target.runs["staging"] = {"version": "v1", "replicas": 1}
    mlflow["staging"] = "tiny@v3"
    repository.declare("staging", "version: v1\n")
    assert [each.what for each in plan("staging", lock).changes] == ["alias staging in MLflow"]


def test_an_unknown_version_is_refused(repository, lock):
    repository.declare("staging", "replicas: 1\nversion: v4\n")
    said = refusal(lock, "staging")
    assert said.startswith("conf/environment/staging.yaml:2: version: tiny@v4 does not exist")
    assert said.endswith("allowed: v1, v2, v3")


def test_an_image_that_is_not_the_release_s_is_refused(repository, lock):
    repository.release(1)
    repository.declare("staging", f"version: v1\nimage: {IMAGE[:-1]}0\n")
    assert refusal(lock, "staging").startswith("conf/environment/staging.yaml:2: image: ")
    repository.declare("staging", f"version: v1\nimage: {IMAGE}\n")
    assert plan("staging", lock).differs


def test_an_image_without_a_release_and_images_where_none_is_named_are_refused(repository, lock):
    repository.declare("staging", f"version: v1\nimage: {IMAGE}\n")
    assert "tiny@v1 has no image on record; 'merit release tiny@v1'" in refusal(lock, "staging").replace(
        "allowed: null; ", ""
    )
    repository.declare("staging", "version: v1\ntarget: kubernetes\n")
    assert "the target kubernetes runs images" in refusal(lock, "staging")


def test_a_version_whose_gate_did_not_pass_is_refused(repository, lock):
    repository.version(4, verdict="fail")
    repository.declare("staging", "version: v4\n")
    assert "tiny@v4 has the gate's verdict 'fail'" in refusal(lock, "staging")


def test_what_can_not_be_is_refused_by_the_plan_with_its_line(repository, lock):
    repository.declare("production", "version: v1\n")
    repository.declare("staging", "version: v1\nreplicas: 17\ndemands: {after: staging}\nlocal:\n  port: 3200\n")
    with pytest.raises(ConfigError) as error:
        plan("staging", lock)
    said = "\n".join(error.value.problems)
    for words in (
        "staging.yaml:2",
        "at most 16 with the target local",
        "staging.yaml:3",
        "staging can't come after itself",
        "staging.yaml:5",
        "3200 is that of",
        "production.yaml:2 too",
    ):
        assert words in said
    repository.declare("production", "version: null\n")
    repository.declare("staging", "version: v1\nlocal:\n  port: 3200\n")
    assert plan("staging", lock).differs


def test_a_missing_signature_is_refused_where_one_is_demanded(repository, lock):
    repository.declare("staging", "version: v1\ndemands: {signature: true}\n")
    assert "tiny@v1 is not signed" in refusal(lock, "staging")


def test_an_environment_that_skips_staging_is_refused(repository, lock):
    repository.declare("production", "version: v2\ndemands: {after: staging}\n")
    assert "conf/environment/production.yaml:1: version: tiny@v2 skips staging" in refusal(lock)
    repository.declare("staging", "version: v2\n")
    assert "after staging: tiny@v2 was there" in plan("production", lock).met_requirements[0]


def test_a_branch_that_promotes_both_at_once_skips_staging(repository, lock):
    repository.git("switch", "--quiet", "--create", "both")
    repository.declare("staging", "version: v2\n")
    repository.declare("production", "version: v2\ndemands: {after: staging}\n")
    assert "skips staging" in refusal(lock)


def test_a_version_must_soak_as_long_as_is_asked(repository, lock, monkeypatch):
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2024-01-01T00:00:00Z")
    repository.declare("staging", "version: v1\n")
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2024-01-01T10:00:00Z")
    repository.declare("staging", "version: v2\n")
    monkeypatch.delenv("GIT_COMMITTER_DATE")
    repository.declare("production", "version: v1\ndemands: {after: staging, soak_hours: 12}\n")
    assert "tiny@v1 has been in staging for 10.0 hours" in refusal(lock)
    repository.declare("production", "version: v1\ndemands: {after: staging, soak_hours: 10}\n")
    assert plan("production", lock).met_requirements == ["after staging for 10 hours: tiny@v1 was there for 10.0 hours"]
    latest, soaked, first = main_branch.iter_periods("staging")
    assert [each.version for each in (latest, soaked, first)] == ["v2", "v1", None]
    assert (latest.until, soaked.until, first.until) == (None, latest.since, soaked.since)
    repository.git("branch", "--quiet", "-m", "trunk")
    with pytest.raises(MeritError, match=r"^git: there is no branch main, here or at origin; 'git fetch origin main'"):
        plan("production", lock)


def test_another_models_time_in_staging_counts_for_nothing(repository, lock, tmp_path):
    params = Path("params.yaml")
    params.write_text("name: former\n")
    repository.declare("staging", "version: v2\n")
    repository.declare("production", "version: v2\ndemands: {after: staging}\n")
    assert "tiny@v2 skips staging" in refusal(lock)
    params.write_text("name: tiny\nseed: 0\n")
    repository.git("switch", "--quiet", "--create", "work")
    repository.commit("the model is called tiny")
    repository.git("switch", "--quiet", "main")
    repository.commit("main goes on")
    repository.git("merge", "--quiet", "--no-ff", "-m", "merge", "work")
    merge = repository.git("rev-parse", "HEAD")
    params.write_text("name: tiny\nseed: 1\n")
    repository.commit("another seed")
    assert [(each.model, each.version, each.commit == merge) for each in main_branch.iter_periods("staging")][:2] == [
        ("tiny", "v2", True),
        ("former", "v2", False),
    ]
    assert plan("production", lock).met_requirements == ["after staging: tiny@v2 was there for 0.0 hours"]


def test_a_tag_that_main_does_not_back_is_no_version_to_serve(repository, lock):
    repository.git("switch", "--quiet", "--create", "work")
    repository.commit("not merged")
    repository.version(4)
    repository.git("switch", "--quiet", "main")
    repository.version(5, dvc="b" * 32 + ".dir")
    repository.declare("staging", "version: v4\n")
    assert "tiny@v4: its commit " in refusal(lock, "staging")
    assert " is not on main; allowed: a version that main has locked" in refusal(lock, "staging")
    repository.declare("staging", "version: v5\n")
    assert " names another package than its tag; allowed: a version that main has locked" in refusal(lock, "staging")


def test_the_way_back_is_open_to_what_was_applied_before(repository, lock):
    repository.declare("production", "version: v1\n")
    apply_records.write_record("tiny", environments.read_environment("production"), "HEAD", [])
    repository.declare("production", "version: v1\ndemands: {after: staging, soak_hours: 99}\n")
    assert plan("production", lock).met_requirements == [
        "after staging for 99 hours: tiny@v1 was applied to production before"
    ]


def test_a_clone_that_was_cut_off_says_how_to_bring_what_was_not_fetched(repository, lock, tmp_path, monkeypatch):
    repository.declare("staging", "version: v2\n")
    repository.declare("production", "version: v2\ndemands: {after: staging, soak_hours: 2}\n")
    told = ["clone", "--quiet", "--depth=1", "--no-tags", f"file://{Path.cwd()}", str(tmp_path / "cut")]
    repository.git(*told)
    monkeypatch.chdir(tmp_path / "cut")
    assert "none here: 'git fetch --unshallow --tags' brings those that are there" in refusal(lock, "staging")
    repository.version(2)
    said = refusal(lock)
    assert "main's history is cut off here, so how long tiny@v2 was in staging can't be told" in said
    assert "'git fetch --unshallow --tags' brings it" in said
    with pytest.raises(MeritError, match="main's history is cut off here; 'git fetch --unshallow --tags' brings it"):
        list_history("tiny", "staging")


def test_where_there_is_an_origin_its_tags_may_only_not_be_here(repository, lock):
    for number in (1, 2, 3):
        repository.git("tag", "--delete", f"tiny@v{number}")
    repository.declare("staging", "version: v2\n")
    assert refusal(lock, "staging").endswith("allowed: none yet: 'merit register' on main makes the first")
    repository.git("remote", "add", "origin", "gone")
    assert "none here: 'git fetch --tags' brings those that are there" in refusal(lock, "staging")


def test_a_canary_is_held_to_the_same(repository, lock):
    repository.declare("staging", "version: v1\n")
    text = "version: v1\ndemands: {after: staging}\ntraffic:\n  canary: {version: v2, share: 0.1}\n"
    repository.declare("production", text)
    assert refusal(lock).startswith("conf/environment/production.yaml:4: traffic.canary.version: tiny@v2 skips staging")
