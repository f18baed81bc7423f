"""Each way to keep runs has its own keys, and there is no way to keep none."""

from collections.abc import Callable
from pathlib import Path

import pytest

from merit.config.compose import compose
from merit.config.schema import Lock
from merit.errors import ConfigError, MeritError
from merit.mlflow import store


def test_each_choice_composes_and_writes_no_key_of_another(conf: Path) -> None:
    assert compose([]).tracking.model_dump() == {"to": "mlflow", "uri": "sqlite:///mlflow.db", "experiment": "flights"}
    assert compose(["tracking=csv"]).tracking.model_dump() == {"to": "csv", "experiment": "flights"}
    assert compose(["tracking=wandb", "tracking.mode=online"]).tracking.model_dump() == {
        "to": "wandb",
        "mode": "online",
        "experiment": "flights",
    }


def test_a_lock_of_before_is_one_of_mlflow(lock: Lock) -> None:
    assert lock.tracking.to == "mlflow"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["tracking=none"], "no choice 'none'; did you mean"),
        (["tracking.mode=offline"], "tracking.mode: is a key of wandb, and tracking.to is mlflow; remove it"),
        (["tracking=csv", "tracking.uri=x"], "tracking.uri: is a key of mlflow, and tracking.to is csv; remove it"),
        (["tracking=wandb", "tracking.mode=null"], "tracking.mode: is missing; wandb needs it"),
        (["tracking=wandb", "tracking.mode=shared"], "found 'shared'; allowed: 'offline' or 'online'"),
        (["tracking.to=none"], "found 'none'; allowed: 'mlflow', 'wandb' or 'csv'"),
        (["tracking=csv", "tracking.experiment=../out"], "tracking.experiment: names a folder in runs/; allowed: "),
        (["tracking.folder=x"], "unknown key"),
        (["tracking.uri=sqlite:///../x.db"], "tracking.uri: found path '../x.db'"),
        (["tracking.uri=sqlite:////var/x.db"], "tracking.uri: found path '/var/x.db'"),
        (["tracking.uri=sqlite:///.git/x.db"], "tracking.uri: found path '.git/x.db', which is hidden"),
        (["tracking.uri=sqlite:///%2e%2e/x.db"], "tracking.uri: found 'sqlite:///%2e%2e/x.db'"),
        (["tracking.uri='sqlite:///file:x.db?mode=rwc'"], "tracking.uri: found 'sqlite:///file:x.db?mode=rwc'"),
        (["tracking.uri=sqlite:///dvc"], "tracking.uri: found 'sqlite:///dvc'"),
        (["tracking.uri=sqlite+pysqlite:///x.db"], "tracking.uri: found 'sqlite+pysqlite:///x.db'"),
        (["tracking.uri=file:///var/x"], "tracking.uri: found 'file:///var/x'"),
        (["tracking.uri=elsewhere"], "tracking.uri: found 'elsewhere'"),
        (["tracking.uri='postgresql://h/d?passfile=/x'"], "tracking.uri: the url has the parameter 'passfile'"),
        (["tracking.uri=postgresql://me:secret@h/d"], "tracking.uri: holds a password"),
        (["tracking.uri=https://me:secret@h"], "tracking.uri: holds a password"),
        (["tracking.uri=https://token@h"], "tracking.uri: holds a password"),
        (["tracking.uri='http://[::1'"], "tracking.uri: found 'http://[::1'"),
        (["tracking.uri=http://h:99999"], "tracking.uri: found 'http://h:99999'"),
        (["serve.telemetry.endpoint=file:///etc/passwd"], "serve.telemetry.endpoint: is not an address over HTTP"),
        (["serve.telemetry.endpoint=http://me:secret@h"], "serve.telemetry.endpoint: is not an address over HTTP"),
        (["serve.telemetry.endpoint='http://h/?token=x'"], "serve.telemetry.endpoint: is not an address over HTTP"),
    ],
)
def test_what_does_not_fit_is_refused(conf: Path, given: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(given)
    assert told in " ".join(caught.value.problems) or told.split(";", maxsplit=1)[0] in str(caught.value)


def test_what_keeps_no_versions_says_so_in_one_line(make_lock: Callable[..., Lock], lock: Lock) -> None:
    other = make_lock(lambda values: values.update(tracking={"to": "csv", "experiment": "tiny"})).tracking
    assert store.has_registry(lock.tracking)
    assert not store.has_registry(other)
    with pytest.raises(MeritError, match=r"^tracking\.to: found 'csv', which keeps runs but no registry of models"):
        store.open_store(other)


def test_a_version_is_not_shown_where_nothing_keeps_versions(make_lock: Callable[..., Lock]) -> None:
    from merit.registry import mlflow

    other = make_lock(lambda values: values.update(tracking={"to": "csv", "experiment": "tiny"}))
    assert mlflow.project_to_mlflow(other, None) is None
