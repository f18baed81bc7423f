from typing import Any

import msgspec
import pytest

from merit.config.schema import Lock
from merit.config.schema import serve as schema
from merit.errors import MeritError
from merit.serving import settings


def test_what_the_lock_says_arrives_whole(lock: Lock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERIT_SERVE", lock.serve.environment()["MERIT_SERVE"])
    assert msgspec.to_builtins(settings.read()) == lock.serve.model_dump()


@pytest.mark.parametrize(
    ("told", "read"),
    [
        (schema.Serve, settings.Settings),
        (schema.Auth, settings.Auth),
        (schema.PredictionLog, settings.PredictionLog),
        (schema.Telemetry, settings.Telemetry),
    ],
)
def test_the_fields_and_their_defaults_are_those_of_the_schema(told: Any, read: Any) -> None:
    assert list(told.model_fields) == list(read.__struct_fields__)
    defaults = {name: each.default for name, each in told.model_fields.items() if not each.is_required()}
    made = read()
    plain = {name: value.model_dump() if hasattr(value, "model_dump") else value for name, value in defaults.items()}
    assert {name: msgspec.to_builtins(getattr(made, name)) for name in defaults} == plain


def test_nothing_in_it_means_something_to_a_shell(lock: Lock) -> None:
    log = lock.serve.log.model_copy(update={"folder": "it's $HOME"})
    told = lock.serve.model_copy(update={"log": log}).environment()["MERIT_SERVE"]
    assert "'" not in told
    assert "$" not in told
    assert msgspec.json.decode(told)["log"]["folder"] == "it's $HOME"


@pytest.mark.parametrize("told", ["{", '{"workers": "two"}', '{"worker": 2}', "\udcff"])
def test_settings_that_are_none_are_refused(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERIT_SERVE", told)
    with pytest.raises(MeritError, match=r"^MERIT_SERVE: .*; give the section serve of params.yaml as JSON$"):
        settings.read()
