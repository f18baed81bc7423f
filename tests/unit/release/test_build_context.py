"""What an image is told of how it serves."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from merit.config import lock as locks
from merit.config.schema import Lock
from merit.config.schema.serve import Auth
from merit.errors import MeritError
from merit.registry.tags import Lineage, Version
from merit.release import build_context
from merit.serving import settings
from merit.serving.auth import methods


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ({}, {"method": "keys", "keys": "/run/merit/keys.yaml", "jwks": None}),
        (
            {"method": "keys", "keys": "conf/keys.yaml"},
            {"method": "keys", "keys": "/run/merit/keys.yaml", "jwks": None},
        ),
        (
            {"method": "jwt", "jwks": "conf/jwks.json", "issuer": "i", "audience": "a"},
            {"method": "jwt", "keys": None, "jwks": "/run/merit/jwks.json", "issuer": "i", "audience": "a"},
        ),
        ({"method": "proxy"}, {"method": "proxy", "keys": None, "jwks": None}),
    ],
)
def test_an_image_listens_on_all_addresses_and_asks(lock: Lock, declared: dict[str, str], told: dict[str, str]) -> None:
    how = build_context.adapt_to_image(lock.serve.model_copy(update={"auth": Auth(**declared)}))
    found = json.loads(how.to_environment_variables()["MERIT_SERVE"])
    assert found["host"] == "0.0.0.0"  # noqa: S104
    assert found["auth"].items() >= told.items()
    assert found["max_rows"] == lock.serve.max_rows


def test_an_image_without_keys_ends_with_one_line(lock: Lock, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in build_context.adapt_to_image(lock.serve).to_environment_variables().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BENTOML_HOST", "0.0.0.0")  # noqa: S104
    told = settings.load_settings()
    with pytest.raises(MeritError, match=r"^/run/merit/keys\.yaml: can't be read .* MERIT_KEYS may hold its text"):
        methods.from_settings(told.auth, methods.resolve_host(told))


def test_an_image_is_tried_on_loopback_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERIT_SERVE", "{}")
    monkeypatch.setenv("BENTOML_HOST", "127.0.0.1")
    told = settings.load_settings()
    assert (
        methods.from_settings(told.auth, methods.resolve_host(told)).authenticate(
            {"server": ("127.0.0.1", 1), "headers": []}
        )
        == ""
    )


def test_an_image_names_its_version_and_the_commit_of_that(lock: Lock, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(locks.render_lock(lock))
    version = Version("tiny", 3, "c" * 40, Lineage.model_construct(), "t", datetime(2026, 1, 1, tzinfo=UTC))
    found = build_context.build_environment(version, tmp_path)
    assert (found["MERIT_VERSION"], found["MERIT_COMMIT"]) == ("v3", "c" * 40)
