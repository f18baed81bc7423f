"""The champion comes from Git: the dvc.lock of the branch that this one would merge into."""

import json
import shutil

import pytest


@pytest.fixture
def with_champion(project):
    """A project whose main has a champion, on a branch of its own."""
    project.commit("first champion", "dvc.lock", "params.yaml")
    project.run("git", "switch", "--quiet", "--create", "candidate")
    return project


def _champion_checks(project):
    report = json.loads(project.read("reports/gate.json"))
    return {check["name"]: check for check in report["checks"] if check["name"].startswith("champion")}


def test_the_champion_itself_passes_bit_for_bit(with_champion):
    done = with_champion.merit("gate")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bit for bit" in _champion_checks(with_champion)["champion"]["found"]


def test_a_candidate_is_compared_with_the_champion_on_the_same_rows(with_champion):
    done = with_champion.merit("run", "trainer.max_epochs=1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(_champion_checks(with_champion)) == {"champion: roc_auc"}


def test_a_worse_candidate_is_refused(with_champion):
    done = with_champion.merit("run", "optimizer.lr=0.0000001", "gate.floors.roc_auc=0")
    assert done.returncode == 1
    assert _champion_checks(with_champion)["champion: roc_auc"]["verdict"] == "fail"


def test_a_champion_that_nobody_has_is_inconclusive(with_champion):
    shutil.rmtree(with_champion.folder / ".dvc/cache")
    done = with_champion.merit("run", "trainer.max_epochs=1")
    assert done.returncode == 1
    assert _champion_checks(with_champion)["champion"]["verdict"] == "inconclusive"


def test_against_names_another_commit(with_champion):
    start = with_champion.run("git", "rev-list", "--max-parents=0", "HEAD").stdout.strip()
    assert with_champion.merit("gate", "--against", start).returncode == 0
    assert _champion_checks(with_champion)["champion"]["found"].startswith("no champion yet")


def test_against_nothing_known_is_broken(with_champion):
    done = with_champion.merit("gate", "--against", "no-such-branch")
    assert done.returncode == 2
    assert "no-such-branch" in done.stderr
