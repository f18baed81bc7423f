from typing import Any, get_args, get_type_hints

import msgspec
import pytest

from merit.config.schema import Lock
from merit.config.schema import serve as schema
from merit.errors import MeritError
from merit.serving import settings


def test_what_the_lock_says_arrives_whole(lock: Lock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERIT_SERVE", lock.serve.to_environment_variables()["MERIT_SERVE"])
    assert msgspec.to_builtins(settings.load_settings()) == lock.serve.model_dump()


ALIKE = [
    (schema.Serve, settings.Settings),
    (schema.Auth, settings.AuthSettings),
    (schema.PredictionLog, settings.PredictionLog),
    (schema.Telemetry, settings.TelemetrySettings),
]
BOUNDS = ("gt", "ge", "lt", "le")


@pytest.mark.parametrize(("told", "read"), ALIKE)
def test_the_fields_and_their_defaults_are_those_of_the_schema(told: Any, read: Any) -> None:
    assert list(told.model_fields) == list(read.__struct_fields__)
    defaults = {name: each.default for name, each in told.model_fields.items() if not each.is_required()}
    made = read()
    plain = {name: value.model_dump() if hasattr(value, "model_dump") else value for name, value in defaults.items()}
    assert {name: msgspec.to_builtins(getattr(made, name)) for name in defaults} == plain


@pytest.mark.parametrize(("told", "read"), ALIKE)
def test_the_bounds_are_those_of_the_schema(told: Any, read: Any) -> None:
    declared = {
        name: {bound: value for each in field.metadata for bound, value in each.as_arguments().items()}
        for name, field in told.model_fields.items()
    }
    found = {
        field.name: {bound: value for bound in BOUNDS if (value := getattr(field.type, bound, None)) is not None}
        for field in msgspec.inspect.type_info(read).fields  # type: ignore[attr-defined]  # it is a struct's
    }
    assert found == declared


def test_who_may_ask_is_chosen_of_what_the_schema_allows() -> None:
    allowed = get_args(schema.Auth.model_fields["method"].annotation)
    assert get_args(get_type_hints(settings.AuthSettings)["method"]) == allowed


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ('{"max_rows":-5}', "Expected `int` >= 1 - at `$.max_rows`"),
        ('{"timeout_seconds":0}', "`$.timeout_seconds`"),
        ('{"max_concurrent":0}', "`$.max_concurrent`"),
        ('{"max_bytes":-1}', "`$.max_bytes`"),
        ('{"port":0}', "`$.port`"),
        ('{"log":{"queue":-1}}', "`$.log.queue`"),
        ('{"log":{"seconds":0}}', "`$.log.seconds`"),
        ('{"telemetry":{"sample":7}}', "`$.telemetry.sample`"),
        ('{"auth":{"method":"key"}}', "Invalid enum value 'key' - at `$.auth.method`"),
        ('{"a\\nb":1}', "unknown field `a b`"),
    ],
)
def test_settings_out_of_bounds_are_refused_in_a_line(told: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERIT_SERVE", told)
    with pytest.raises(MeritError) as caught:
        settings.load_settings()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_in_it_means_something_to_a_shell(lock: Lock) -> None:
    log = lock.serve.log.model_copy(update={"folder": "it's $HOME"})
    told = lock.serve.model_copy(update={"log": log}).to_environment_variables()["MERIT_SERVE"]
    assert "'" not in told
    assert "$" not in told
    assert msgspec.json.decode(told)["log"]["folder"] == "it's $HOME"


@pytest.mark.parametrize("told", ["{", '{"workers": "two"}', '{"worker": 2}', "\udcff"])
def test_settings_that_are_none_are_refused(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERIT_SERVE", told)
    with pytest.raises(MeritError, match=r"^MERIT_SERVE: .*; give the section serve of params.yaml as JSON$"):
        settings.load_settings()
