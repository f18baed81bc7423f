from typing import Any

import pytest
from pydantic import ValidationError

from merit.config.schema import Lock
from merit.config.schema.release import Release


def test_a_lock_of_before_releases_is_still_one(values: dict[str, Any]) -> None:
    assert "release" not in values
    assert Lock.model_validate(values).release == Release()


@pytest.mark.parametrize("registry", ["127.0.0.1:5000", "registry.example.org", "localhost:5000/team/models", None])
def test_a_registry_is_a_host_a_port_and_folders(registry: str | None) -> None:
    assert Release(registry=registry).registry == registry


@pytest.mark.parametrize("registry", ["http://127.0.0.1", "Registry/x", "a b", "", "x/", "x@y"])
def test_what_is_no_registry_is_refused(registry: str) -> None:
    with pytest.raises(ValidationError):
        Release(registry=registry)


@pytest.mark.parametrize("base", ["", "--privileged", "two words"])
def test_what_is_no_image_is_refused(base: str) -> None:
    with pytest.raises(ValidationError):
        Release(base_image=base)


@pytest.mark.parametrize(
    ("signing", "words"),
    [
        ({"method": "key"}, "public_key must name"),
        ({"method": "keyless", "identity": "x"}, "identity and issuer"),
        ({"method": "pgp"}, "none"),
    ],
)
def test_signing_must_say_whose_signature_counts(signing: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Release.model_validate({"signing": signing})
