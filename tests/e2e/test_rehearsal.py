"""The workflows, run: what people and strangers do to a repository, and what its forge then shows. `make rehearse`."""

import html
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rehearse.bare import git
from rehearse.runs import Run
from rehearse.world import FORK, World

STALE = "the lock is fresh (if not, run 'merit compose' and commit params.yaml)"


def _edit(path: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        text = (folder / path).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{path}: {old!r}"
        (folder / path).write_text(text.replace(old, new), encoding="utf-8")

    return edit


def _size(old: str, new: str) -> Callable[[Path], None]:
    return _edit("conf/size/small.yaml", old, new)


def _slower(rate: str) -> Callable[[Path], None]:
    return _edit("conf/optimizer/adamw.yaml", "lr: 0.002", f"lr: {rate}")


def _state(world: World, pull: object, context: str = "merit/gate") -> str | None:
    status = world.status(pull, context)  # type: ignore[arg-type]
    return None if status is None else str(status["state"])


@pytest.fixture(scope="module")
def good(stage: World) -> dict[str, object]:
    return {}


def test_a_good_edit_passes_and_is_told_so(world: World, good: dict[str, object]) -> None:
    before = _remote(world)
    world.branch("good", _size("calibration: 0.5", "calibration: 0.4"), command="merit compose")
    pull = good["pull"] = world.open("good")
    assert _state(world, pull) == "success"
    (comment,) = world.comments(pull)
    assert "merit: pass" in comment
    run = world.last("pr")
    assert run.conclusion == "success"
    assert "Running stage" not in run.step("model;").log  # what the remote has is not computed again
    assert run.summary.startswith("## ")
    assert _remote(world) == before
    assert world.forge.refused == []


def test_a_second_push_updates_the_same_comment(world: World, good: dict[str, object]) -> None:
    pull = good["pull"]
    former = world.status(pull)
    world.branch("good", _size("calibration: 0.4", "calibration: 0.3"), command="merit compose")
    world.changed(pull)
    assert _state(world, pull) == "success"
    assert world.status(pull) != former
    (comment,) = world.forge.comments[pull.number]
    assert comment["edits"] == 1


def test_a_late_report_of_an_older_push_says_nothing(world: World, good: dict[str, object]) -> None:
    pull, told = good["pull"], len(world.forge.statuses)
    first = next(run for run in world.runs if run.workflow == "pr")
    world.completed(first)
    assert "its newer run reports" in world.last("report").log
    assert len(world.forge.statuses) == told
    assert len(world.comments(pull)) == 1


def test_a_comment_with_our_mark_by_another_hand_is_left_alone(world: World, good: dict[str, object]) -> None:
    pull = good["pull"]
    forged = world.forge.say(pull.number, "<!-- merit report -->\nmine", {"login": "stranger", "type": "User"})
    world.forge.comments[pull.number].insert(0, world.forge.comments[pull.number].pop())
    world.completed(world.last("pr"))
    assert forged["body"].endswith("mine")
    assert len(world.comments(pull)) == 1


def test_a_worse_model_is_refused_by_name(world: World) -> None:
    world.branch("worse", _slower("0.00000001"), command="merit compose && make repro && dvc push --quiet")
    pull = world.open("worse")
    status = world.status(pull)
    assert (status["state"], "champion" in status["description"]) == ("failure", True)
    (comment,) = world.comments(pull)
    assert "may not merge" in comment
    assert "champion: roc_auc" in html.unescape(comment)


def test_broken_data_is_refused_before_any_training(world: World) -> None:
    world.branch("data", _size("rows: {min: 20000", "rows: {min: 30000"), command="merit compose")
    pull = world.open("data")
    run = world.last("pr")
    assert [run.step(name).outcome for name in ("data", "model;", "model gate")] == ["failure", "skipped", "skipped"]
    assert _state(world, pull) == "failure"
    assert "contract" in world.comments(pull)[0]


def test_a_stale_lock_is_refused_with_the_command_to_run(world: World) -> None:
    world.branch("stale", _slower("0.0015"))
    pull = world.open("stale")
    assert "params.yaml is stale; run 'merit compose'" in world.last("pr").log
    assert world.status(pull)["state"] == "error"
    assert "run 'merit compose'" in world.status(pull)["description"]
    assert STALE in world.comments(pull)[0]


@pytest.fixture(scope="module")
def fork(stage: World) -> dict[str, object]:
    stage.forge.fork(FORK)
    return {}


def test_a_forks_pull_request_is_judged_on_the_sample_and_that_is_advice(world: World, fork: dict[str, object]) -> None:
    world.branch("kind", _size("calibration: 0.5", "calibration: 0.4"), command="merit compose", repository=FORK)
    pull = fork["pull"] = world.open("kind", author="stranger", repository=FORK)
    run = fork["run"] = world.last("pr")
    assert run.conclusion == "success", run.log
    assert run.step("a fork's").outcome == "success"
    assert run.step("dvc.lock").outcome == "skipped"
    assert "flights-sample" in run.log
    assert str(world.folder / "remote") not in run.log
    assert _state(world, pull) is None
    assert _state(world, pull, "merit/advisory") == "success"
    (comment,) = world.comments(pull)
    assert "> **Advisory.**" in comment


def _report(world: World, run: Run) -> Path:
    return world.forge.artifacts[run.id, "gate"] / "gate.json"


HOSTILE = {
    "ten megabytes": lambda text: text + " " * 10_000_000,
    "no JSON": lambda text: text[:-20],
    "no verdict": lambda text: json.dumps({**json.loads(text), "verdict": "merged"}),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_report_that_is_none_gets_no_success(world: World, fork: dict[str, object], kind: str) -> None:
    run, pull = fork["run"], fork["pull"]
    file = _report(world, run)
    whole = file.read_text(encoding="utf-8")
    try:
        file.write_text(HOSTILE[kind](whole), encoding="utf-8")
        world.completed(run)
    finally:
        file.write_text(whole, encoding="utf-8")
    assert _state(world, pull, "merit/advisory") == "error"
    assert "no verdict" in world.comments(pull)[0]


def test_a_reports_script_and_forged_commit_do_no_harm(world: World, fork: dict[str, object]) -> None:
    run, pull = fork["run"], fork["pull"]
    file = _report(world, run)
    whole = file.read_text(encoding="utf-8")
    report = json.loads(whole)
    report["candidate"]["commit"] = git(world.forge.place(), "rev-parse", "main")
    report["checks"][0].update(found="<script>alert(1)</script> @house/everyone", name="<img src=x onerror=alert(1)>")
    told = len(world.forge.statuses)
    try:
        file.write_text(json.dumps(report), encoding="utf-8")
        world.completed(run)
    finally:
        file.write_text(whole, encoding="utf-8")
    assert {each["sha"] for each in world.forge.statuses[told:]} == {pull.sha}
    (comment,) = world.comments(pull)
    assert "<script" not in comment
    assert "<img" not in comment


def test_a_forged_pass_of_a_run_that_failed_is_no_success(world: World, fork: dict[str, object]) -> None:
    run, pull = fork["run"], fork["pull"]
    world.completed(run, conclusion="failure")
    assert _state(world, pull, "merit/advisory") == "error"
    assert "\n## ⛔ merit: broken" in world.comments(pull)[0].partition("merit: pass")[0]
    assert _state(world, pull) is None


def test_yaml_that_names_code_is_refused_and_not_run(world: World, fork: dict[str, object]) -> None:
    def attack(folder: Path) -> None:
        text = f"_target_: os.system\ncommand: touch {world.folder}/harmed\n"
        (folder / "conf/model/mlp.yaml").write_text(text, encoding="utf-8")
        _edit("conf/config.yaml", "model: embedding_mlp", "model: mlp")(folder)

    world.branch("attack", attack, repository=FORK)
    pull = world.open("attack", author="stranger", repository=FORK)
    assert not (world.folder / "harmed").exists()
    assert "os.system" in world.last("pr").log
    assert _state(world, pull, "merit/advisory") == "error"


def test_a_forks_token_may_write_nothing(world: World, fork: dict[str, object]) -> None:
    token = world.forge.grant({"contents": "read"})
    for method, path in (("POST", f"statuses/{'0' * 40}"), ("POST", "issues/1/comments"), ("POST", "git/refs")):
        assert world.forge.answer(method, f"/repos/{world.forge.repository}/{path}", token, {}).status == 403
    assert world.forge.answer("GET", "/user", "guessed", None).status == 401
    world.forge.refused.clear()


def test_who_may_write_has_a_branch_locked_and_who_may_not_has_not(world: World) -> None:
    head = world.branch("browser", _slower("0.0015"))
    pull = world.open("browser")
    for login, association in (("reader", "NONE"), ("reader", "COLLABORATOR")):
        world.say_on(pull, login, "/lock", association)
        assert world.last("lock").conclusion == "failure"
        assert world.forge.refresh(pull)
        assert pull.sha == head
    world.say_on(pull, "writer", "/lock", "COLLABORATOR")
    assert world.last("lock").conclusion == "success", world.last("lock").log
    world.changed(pull)
    changed = git(world.forge.place(), "diff", "--name-only", head, pull.sha).splitlines()
    assert changed == ["dvc.lock", "params.yaml"]
    assert _state(world, pull) == "success"
    assert len(world.comments(pull)) == 1


def test_a_lock_for_a_commit_that_is_no_longer_the_tip_is_not_committed(world: World) -> None:
    from merit.ci import api_commits
    from merit.errors import Refused
    from merit.github import GitHubApi

    head = world.branch("moving", _slower("0.0016"))
    tip = world.branch("moving", lambda _: None)
    api = GitHubApi(world.forge.url, world.forge.repository, world.forge.grant({"contents": "write"}))
    made = api_commits.create_commit(api, head, {"params.yaml": "a: 1\n"}, "late")
    with pytest.raises(Refused, match="moving: was pushed to while its lock was computed"):
        api_commits.fast_forward(api, "moving", made)
    assert git(world.forge.place(), "rev-parse", "moving") == tip


def test_the_best_of_a_sweep_that_passes_opens_a_pull_request(world: World) -> None:
    sweep = {"name": "calmer", "overrides": "gate.calibration=0.45 optimizer.lr=0.0018; gate.floors.roc_auc=0.99"}
    run = world.dispatch("train.yml", "writer", sweep)
    assert run.conclusion == "success", run.log
    pull = world.forge.pulls[-1]
    assert (pull.title, pull.head, pull.base) == ("Train calmer", "train/calmer", "main")
    assert "trial-1 **chosen** | pass" in pull.body
    assert "trial-2 | refused" in pull.body
    changed = git(world.forge.place(), "diff", "--name-only", "main", pull.sha).splitlines()
    assert changed == ["conf/config.yaml", "conf/experiment/calmer.yaml", "dvc.lock", "params.yaml"]
    again = world.dispatch("train.yml", "writer", {**sweep, "overrides": "model=nosuch"})
    assert again.conclusion == "failure"


def test_no_run_left_its_token_in_a_clone(world: World) -> None:
    configs = list((world.folder / "runs").rglob("work/.git/config"))
    assert configs
    assert not [file for file in configs if "AUTHORIZATION" in file.read_text(encoding="utf-8")]


def _remote(world: World) -> set[str]:
    return {file.name for file in (world.folder / "remote").rglob("*")}
