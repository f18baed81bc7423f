"""promote, plan, apply, status as they are called: what they print, and their exit codes."""

import json

import pytest
from click.testing import CliRunner

from merit import cli
from merit.config import lock as locks
from merit.deploy.mlflow_alias import Alias


@pytest.fixture
def call(repository, lock, target, mlflow, monkeypatch):
    """Call merit in the repository: exit code, standard output, standard error."""
    monkeypatch.setattr(locks, "read_lock", lambda *_: lock)

    def called(*args: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(cli.main, args)
        return done.exit_code, done.stdout, done.stderr

    return called


def test_apply_does_not_say_no_difference_while_an_alias_is_left(repository, call, monkeypatch):
    repository.declare("staging", "version: v1\n")
    monkeypatch.setattr("merit.deploy.mlflow_alias.read_alias", lambda *_: Alias(None, "MLflow is empty; rebuild it"))
    assert call("apply", "staging")[0] == 0
    assert call("apply", "staging") == (
        0,
        "staging: what serves is as declared\n",
        "left:    the alias 'staging' is not set: MLflow is empty; rebuild it\n",
    )
    assert call("plan", "staging")[0] == 1


def test_apply_says_no_difference_where_there_is_none(repository, call):
    repository.declare("staging", "version: v1\n")
    assert call("apply", "staging")[0] == 0
    assert call("apply", "staging") == (0, "staging: no difference\n", "")
    assert call("plan", "staging")[0] == 0


def test_apply_and_status_say_where_to_call(repository, call, target, monkeypatch):
    repository.declare("staging", "version: v1\n")
    monkeypatch.setattr(
        target, "describe_desired", lambda self: {"version": "v1", "port": 3100} if self._told.version else {}
    )
    assert "call:    http://127.0.0.1:3100/predict\n" in call("apply", "staging")[1]
    assert call("apply", "staging") == (0, "staging: no difference\ncall:    http://127.0.0.1:3100/predict\n", "")
    code, out, _ = call("status")
    assert (code, out.splitlines()[-1]) == (0, "call staging: http://127.0.0.1:3100/predict")
    assert "call production" not in out


def test_plan_and_status_print_json(repository, call):
    repository.declare("staging", "version: v1\n")
    code, out, _ = call("plan", "staging", "--json")
    planned = json.loads(out)
    assert (code, planned["environment"]) == (1, "staging")
    assert planned["changes"][0]["declared"] == "tiny@v1"
    code, out, _ = call("status", "--json")
    (found,) = (each for each in json.loads(out) if each["environment"] == "staging")
    assert (code, found["differs"]) == (1, True)
