import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from merit import artifacts
from merit.cli import main
from merit.config import lock
from merit.config.compose import compose
from merit.config.schema import Lock
from merit.errors import MeritError, Refused
from merit.process import workspace_lock
from merit.sweep import adopt as room
from merit.sweep import record
from merit.sweep.adopt import adopt, collect_overrides, derive_experiment_name
from tests.support import sweep_folders
from tests.support.file_locks import is_locked

CONFIG = Path("conf/config.yaml")
FILE = Path("conf/experiment/mlp.yaml")
TWO = {"log_loss": "minimize", "train_seconds": "minimize"}
BEST = {"model": "mlp", "optimizer.lr": "1e-3", "model.hidden": "[32,16]"}
COMPOSED = ["model=mlp", "optimizer.lr=1e-3", "model.hidden=[32,16]", "trainer.max_epochs=2"]
Git = Callable[..., str]


def _best(number: int, told: dict[str, Any]) -> None:
    if number == 3:
        told.update(overrides=BEST, state="done", values={"log_loss": 0.4, "train_seconds": 5.0})


@cache
def _lock(*composed: str) -> str:
    return lock.render_lock(compose(composed))


def _made(git: Git, given: list[str], composed: list[str], **how: Any) -> record.Sweep:
    """Commit conf/, make a sweep of six trials whose best is 3, and return it."""
    Path(".gitignore").write_text("/sweeps/\n/.merit/\n", encoding="utf-8")
    artifacts.LOCK.write_text("# of main\n", encoding="utf-8")
    git("add", "--all")
    git("commit", "--quiet", "--message", "all")
    git("config", "user.name", "t")
    git("config", "user.email", "t@example.org")
    how |= {"overrides": given, "space": {}, "commit": git("rev-parse", "HEAD")}
    folder = sweep_folders.make(Path(), trials=6, edit=_best, **how)
    (folder / "trials/0003/params.yaml").write_text(_lock(*composed), encoding="utf-8")
    return record.read_sweep("mlp")


@pytest.fixture
def sweep(conf: Path, git_repo: Git) -> record.Sweep:
    """A sweep whose trial 3 is the best, in a repository whose conf/ is committed."""
    return _made(git_repo, ["sweep=mlp", "sweep.trials=6", "trainer.max_epochs=2"], COMPOSED)


def _conf() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in [*Path("conf").rglob("*.yaml"), artifacts.LOCK]}


def test_the_best_trial_becomes_the_experiment_that_conf_chooses_and_the_lock(sweep: record.Sweep) -> None:
    made = adopt(sweep)
    assert (made.trial.number, made.name, made.commit) == (3, "mlp", None)
    assert made.files == [FILE, CONFIG, artifacts.LOCK]
    trial = (sweep.folder / "trials/0003/params.yaml").read_text(encoding="utf-8")
    assert artifacts.LOCK.read_text(encoding="utf-8") == trial
    assert lock.diff_lock(compose()) == ""
    assert FILE.read_text(encoding="utf-8") == (
        "# @package _global_\n"
        "# yaml-language-server: $schema=../.schema/experiment.json\n"
        "# Trial 3 of the sweep mlp, one of 6: log_loss 0.4000 on the validation rows.\n"
        "defaults:\n"
        "  - override /model: mlp\n"
        "trainer:\n"
        "  max_epochs: 2\n"
        "optimizer:\n"
        "  lr: 0.001\n"
        "model:\n"
        "  hidden: [32, 16]\n"
    )


def test_adopting_again_changes_nothing(sweep: record.Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    write, locked = lock.write_lock, []
    monkeypatch.setattr(
        lock, "write_lock", lambda made: (locked.append(is_locked(workspace_lock.RUN_LOCK)), write(made))
    )
    adopt(sweep)
    assert locked == [True]  # no run reads params.yaml meanwhile
    before = _conf()
    adopt(sweep)
    assert _conf() == before


def test_without_a_branch_the_commands_that_make_one_are_told(sweep: record.Sweep) -> None:
    done = CliRunner().invoke(main, ["sweep", "adopt"])
    assert done.exit_code == 0, done.output
    assert "conf/experiment/mlp.yaml: trial 3 of sweep mlp, log_loss 0.4000 on the validation rows" in done.output
    files = "conf/experiment/mlp.yaml conf/config.yaml params.yaml"
    assert f"git switch --create sweep/mlp && git add {files}" in done.output
    assert f"git commit --message 'Adopt trial 3 of the sweep mlp: log_loss 0.4000' -- {files}" in done.output
    assert "git push --set-upstream origin sweep/mlp" in done.output


def test_what_is_committed_already_needs_no_commands_and_its_commit_is_no_other_code(
    sweep: record.Sweep, git_repo: Git
) -> None:
    adopt(sweep)
    git_repo("add", "--all")
    git_repo("commit", "--quiet", "--message", "adopted")
    again = CliRunner().invoke(main, ["sweep", "adopt"])
    assert again.exit_code == 0, again.output
    assert "chosen, locked and committed already, so nothing changed" in again.output
    assert "next:    merit run\n" in again.output
    assert not re.search("git|other code", again.output)
    Path("own.py").write_text("pass\n", encoding="utf-8")
    git_repo("add", "own.py")
    git_repo("commit", "--quiet", "--message", "code")
    assert "other code is checked out" in CliRunner().invoke(main, ["sweep", "adopt"]).output


def test_a_branch_has_one_commit_of_these_files_and_nothing_else_that_was_staged(
    sweep: record.Sweep, git_repo: Git
) -> None:
    Path("other.txt").write_text("x", encoding="utf-8")
    git_repo("add", "other.txt")
    done = CliRunner().invoke(main, ["sweep", "adopt", "3", "--sweep", "mlp", "--name", "wide", "--branch"])
    assert done.exit_code == 0, done.output
    assert git_repo("branch", "--show-current") == "sweep/wide"
    assert git_repo("rev-list", "--count", "main..HEAD") == "1"
    changed = git_repo("diff", "--name-only", "main", "HEAD").splitlines()
    assert sorted(changed) == ["conf/config.yaml", "conf/experiment/wide.yaml", "params.yaml"]
    assert git_repo("status", "--porcelain") == "A  other.txt"
    assert "git commit --message 'Adopt" not in done.output


def test_the_experiment_that_was_active_stays_its_base(conf: Path, git_repo: Git) -> None:
    text = CONFIG.read_text(encoding="utf-8").replace("- experiment: null", "- experiment: flights_delay")
    CONFIG.write_text(text, encoding="utf-8")
    sweep = _made(git_repo, [], ["model=linear", "optimizer.lr=0.01"])
    trial = record.Trial(**{**vars(sweep.trials[3]), "overrides": {"model": "linear", "optimizer.lr": "0.01"}})
    adopt(record.Sweep(**{**vars(sweep), "trials": [trial]}), 3)
    written = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    assert written["defaults"] == ["flights_delay", {"override /model": "linear"}, "_self_"]
    assert compose().data.target.task == "regression"
    assert compose().optimizer.lr == 0.01


def test_a_sweep_from_before_an_experiment_was_adopted_does_not_build_on_it(sweep: record.Sweep, git_repo: Git) -> None:
    wide = Path("conf/experiment/wide.yaml")
    wide.write_text("# @package _global_\nmodel:\n  dropout: 0.5\n", encoding="utf-8")
    CONFIG.write_text(
        CONFIG.read_text(encoding="utf-8").replace("- experiment: null", "- experiment: wide"), encoding="utf-8"
    )
    git_repo("add", "--all")
    git_repo("commit", "--quiet", "--message", "wide")
    adopt(sweep)
    assert yaml.safe_load(FILE.read_text(encoding="utf-8"))["defaults"] == [{"override /model": "mlp"}]
    trial = (sweep.folder / "trials/0003/params.yaml").read_text(encoding="utf-8")
    assert artifacts.LOCK.read_text(encoding="utf-8") == trial


def test_a_conf_that_does_not_take_the_trial_any_more_is_told_with_what_to_check_out(
    sweep: record.Sweep, git_repo: Git
) -> None:
    Path("conf/model/mlp.yaml").unlink()
    git_repo("commit", "--quiet", "--all", "--message", "no mlp")
    with pytest.raises(Refused, match=r"trial 3 of sweep mlp: conf/ doesn't take .*; it ran at [0-9a-f]{7}: check"):
        adopt(sweep)
    assert not FILE.exists()


def test_an_experiment_on_the_command_line_is_its_base(sweep: record.Sweep) -> None:
    given = record.Sweep(**{**vars(sweep), "overrides": ["experiment=sample", "+seed=3", "hydra.x=1"]})
    assert collect_overrides(given, sweep.trials[3])[:2] == ["experiment=sample", "seed=3"]


def test_a_key_that_was_taken_away_can_not_be_adopted(sweep: record.Sweep) -> None:
    given = record.Sweep(**{**vars(sweep), "overrides": ["~optimizer.fused"]})
    with pytest.raises(MeritError, match=r"found '~optimizer\.fused'; a file can't delete a key"):
        adopt(given)


def test_a_conf_that_says_something_else_now_is_refused_and_stays(sweep: record.Sweep, git_repo: Git) -> None:
    file = Path("conf/trainer/cpu.yaml")
    file.write_text(file.read_text(encoding="utf-8").replace("patience: 3", "patience: 2"), encoding="utf-8")
    git_repo("commit", "--quiet", "--all", "--message", "patience")
    before = _conf()
    with pytest.raises(Refused, match=r"trial 3 of sweep mlp: .* trainer\.patience was 3, is 2; it ran at [0-9a-f]{7}"):
        adopt(sweep)
    assert _conf() == before
    assert not FILE.exists()


@pytest.mark.parametrize("name", ["conf/trainer/cpu.yaml", "conf/config.yaml", "conf/model/new.yaml"])
def test_a_conf_that_was_edited_is_refused(sweep: record.Sweep, name: str) -> None:
    with Path(name).open("a", encoding="utf-8") as handle:
        handle.write("# edited\n")
    with pytest.raises(MeritError, match=f"conf/: {name}: not committed; commit or stash it"):
        adopt(sweep)


def test_a_file_that_says_something_else_is_never_written_over(sweep: record.Sweep) -> None:
    FILE.write_text("# mine\n", encoding="utf-8")
    with pytest.raises(MeritError, match=r"mlp\.yaml: exists already with other content; give another name"):
        adopt(sweep)
    assert FILE.read_text(encoding="utf-8") == "# mine\n"


def test_trials_without_weights_or_of_no_such_number_are_refused(sweep: record.Sweep) -> None:
    with pytest.raises(Refused, match="trial 4 of sweep mlp is pruned; only one that is done has weights"):
        adopt(sweep, 4)
    with pytest.raises(MeritError, match="trial: found 99; sweep mlp has 0 to 5"):
        adopt(sweep, 99)


def test_a_sweep_in_which_no_trial_is_done_has_nothing_to_adopt(sweep: record.Sweep) -> None:
    with pytest.raises(Refused, match="none of its 1 trials is done"):
        adopt(record.Sweep(**{**vars(sweep), "trials": [sweep.trials[4]]}))


def test_with_several_objectives_a_trial_of_the_front_must_be_named(conf: Path, git_repo: Git) -> None:
    sweep = _made(git_repo, ["trainer.max_epochs=2"], COMPOSED, objectives=TWO)
    assert [trial.number for trial in sweep.find_front()] == [3]
    with pytest.raises(MeritError, match=r"2 objectives \(log_loss, train_seconds\), .* one of its front: 3:"):
        adopt(sweep)
    with pytest.raises(Refused, match="trial 0 of sweep mlp is not on the front: another is better; allowed: 3"):
        adopt(sweep, 0)
    assert adopt(sweep, 3).trial.number == 3


def test_where_a_trials_run_is_kept_may_differ(sweep: record.Sweep) -> None:
    (sweep.folder / "trials/0003/params.yaml").write_text(_lock(*COMPOSED, "tracking=csv"), encoding="utf-8")
    adopt(sweep)
    assert artifacts.LOCK.read_text(encoding="utf-8") == _lock(*COMPOSED)


@pytest.mark.parametrize(("count", "more"), [(1, ""), (5, ""), (7, " and 2 more")])
def test_the_first_five_keys_of_another_lock_are_told(
    workdir: Path, make_lock: Callable[..., Lock], count: int, more: str
) -> None:
    changes = {"batch_size": 4, "max_epochs": 4, "patience": 4, "threads": 4, "precision": "16-mixed",
               "schedule": "cosine", "monitor": "roc_auc"}  # fmt: skip
    other = make_lock(lambda values: values["trainer"].update(list(changes.items())[:count]))
    told: Any = SimpleNamespace(folder=Path(), name="mlp", commit="c" * 40, number=3)
    artifacts.write_text(Path("trials/0003/params.yaml"), lock.render_lock(make_lock()))
    with pytest.raises(Refused) as caught:
        room._refuse_other_lock(told, told, other)
    message = str(caught.value)
    assert message.startswith("trial 3 of sweep mlp: conf/ doesn't say what it was trained by: trainer.")
    assert message.endswith(f"{more}; it ran at ccccccc: check that out, or run the sweep again")
    assert (" more; " in message) is (count > 5)
    assert message.count(" was ") == min(count, 5) + 1  # "what it was trained by"


def test_a_trial_whose_lock_is_gone_is_refused(sweep: record.Sweep) -> None:
    (sweep.folder / "trials/0003/params.yaml").unlink()
    with pytest.raises(MeritError, match=r"trials/0003/params\.yaml: not found"):
        adopt(sweep)
    assert not FILE.exists()


def test_a_branch_that_is_there_is_refused_before_anything_is_written(sweep: record.Sweep, git_repo: Git) -> None:
    git_repo("branch", "sweep/mlp")
    with pytest.raises(MeritError, match="sweep/mlp: there is a branch of that name"):
        adopt(sweep, branch=True)
    assert not FILE.exists()


def test_a_commit_that_a_hook_refuses_leaves_no_branch(sweep: record.Sweep, git_repo: Git) -> None:
    hook = Path(".git/hooks/pre-commit")
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    hook.chmod(0o755)
    with pytest.raises(MeritError, match="git commit: refused"):
        adopt(sweep, branch=True)
    assert git_repo("branch", "--show-current") == "main"
    assert git_repo("branch", "--list", "sweep/*") == ""


def test_without_a_commit_there_is_nothing_to_change(conf: Path, git_repo: Git) -> None:
    sweep_folders.make(Path(), trials=3)
    with pytest.raises(MeritError, match=r"conf/config\.yaml: Git has no commit of it here"):
        adopt(record.read_sweep("mlp"))


def test_no_sweep_is_told_in_one_line(workdir: Path) -> None:
    done = CliRunner().invoke(main, ["sweep", "adopt"])
    assert done.exit_code == 2
    assert len(done.output.splitlines()) == 1


@pytest.mark.parametrize(
    ("sweep", "name"),
    [
        ("mlp", "mlp"),
        ("2026-01-05_10-00", "sweep-2026-01-05_10-00"),
        ("Größe 1", "gr-e-1"),
        ("x" * 60, "x" * 41),
        ("?", "sweep"),
    ],
)
def test_an_experiments_name_is_made_of_the_sweeps(sweep: str, name: str) -> None:
    assert derive_experiment_name(sweep) == name


def test_a_bad_name_is_refused(sweep: record.Sweep) -> None:
    with pytest.raises(MeritError, match=r"name: found '\.\./x'; allowed"):
        adopt(sweep, name="../x")
    shutil.rmtree("sweeps")
