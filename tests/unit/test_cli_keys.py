from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from merit.config import lock as locks
from merit.config.schema import Lock
from merit.serving import auth, settings

Call = Callable[..., tuple[int, str, str]]


def _admitted(key: str) -> str:
    who = auth.of(settings.Auth(method="keys", keys="keys.yaml"), "127.0.0.1")
    return who.admit({"path": "/predict", "headers": [(b"x-api-key", key.encode())]})


def test_a_key_is_printed_once_and_only_its_hash_is_kept(call: Call) -> None:
    code, key, told = call("keys", "add", "shop", "--quota", "600", "--expires", "2999-01-31")
    key = key.strip()
    assert code == 0
    assert told == "keys.yaml: a key for shop; keep it, it is shown this once\n"
    text = Path("keys.yaml").read_text()
    assert key not in text
    (entry,) = yaml.safe_load(text)["keys"]
    assert (entry["name"], entry["quota"], str(entry["expires"])) == ("shop", 600, "2999-01-31")
    assert entry["created"] == datetime.now(UTC).date()
    assert _admitted(key) == "shop"


def test_keys_are_rotated_by_two_that_hold_at_once(call: Call) -> None:
    last, following = (call("keys", "add", "shop")[1].strip() for _ in range(2))
    assert [_admitted(key) for key in (last, following)] == ["shop", "shop"]
    shown = call("keys", "list")[1].splitlines()
    assert len(shown) == 2
    assert "never expires, no quota, predict+feedback" in shown[0]
    code, out, _ = call("keys", "revoke", "shop", "--hash", shown[0].partition("  ")[0])
    assert (code, out) == (0, "keys.yaml: 1 revoked, 1 left\n")
    assert _admitted(following) == "shop"
    with pytest.raises(auth.Refusal):
        _admitted(last)


def test_the_file_is_where_the_lock_says(call: Call, lock: Lock) -> None:
    told = lock.serve.auth.model_copy(update={"method": "keys", "keys": "secrets/keys.yaml"})
    locks.write(lock.model_copy(update={"serve": lock.serve.model_copy(update={"auth": told})}))
    assert call("keys", "add", "shop")[0] == 0
    assert Path("secrets/keys.yaml").is_file()
    assert call("keys", "add", "shop", "--file", "other.yaml")[0] == 0
    assert Path("other.yaml").is_file()


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["list"], 2, "nowhere.yaml: not found; 'merit keys add NAME' makes it"),
        (["add", "x", "--expires", "soon"], 2, "--expires soon: no day; such as 2027-01-31"),
        (["add", "x", "--role", "root"], 2, "--role root: no role; allowed: predict, feedback, metrics"),
        (["revoke", "x"], 1, "has no such key of 'x'; it has keys of nobody"),
    ],
)
def test_what_can_not_be_done_is_told_in_a_line(call: Call, args: list[str], code: int, words: str) -> None:
    found, _, said = call("keys", *args, "--file", "nowhere.yaml")
    assert (found, len(said.splitlines())) == (code, 1)
    assert words in said
    assert not Path("nowhere.yaml").exists()


def test_the_last_key_is_not_taken_away(call: Call) -> None:
    call("keys", "add", "shop")
    code, _, said = call("keys", "revoke", "shop")
    assert code == 1
    assert "that is the last key" in said
    assert call("keys", "list")[0] == 0
