import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from merit import artifacts
from merit.config import lock as locks
from merit.config.schema import Lock
from merit.serving import settings
from merit.serving.auth import api_keys, methods

Call = Callable[..., tuple[int, str, str]]


def _admitted(key: str) -> str:
    who = methods.from_settings(settings.AuthSettings(method="keys", keys="keys.yaml"), "127.0.0.1")
    return who.authenticate({"path": "/predict", "headers": [(b"x-api-key", key.encode())]})


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
    head, *shown = call("keys", "list")[1].splitlines()
    assert head.split() == ["hash", "name", "made", "expires", "a", "minute", "roles"]
    assert len(shown) == 2
    code, out, _ = call("keys", "revoke", "shop", "--hash", shown[0].partition("  ")[0])
    assert (code, out) == (0, "keys.yaml: 1 revoked, 1 left\n")
    assert _admitted(following) == "shop"
    with pytest.raises(methods.HttpError):
        _admitted(last)


def test_keys_as_json_say_what_the_table_says(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    code, key, told = call("keys", "add", "shop", "--quota", "600", "--expires", "2999-01-31", "--quiet")
    assert (code, told) == (0, "")
    assert _admitted(key.strip()) == "shop"
    monkeypatch.setenv("MERIT_VERBOSITY", "")  # which the command set for its stages
    (found,) = json.loads(call("keys", "list", "--json")[1])
    assert key.strip() not in str(found)
    assert call("keys", "list")[1].splitlines()[1].startswith(found.pop("hash"))
    assert found == {
        "name": "shop",
        "created": str(datetime.now(UTC).date()),
        "expires": "2999-01-31",
        "expired": False,
        "quota": 600,
        "roles": ["predict", "feedback"],
    }


def test_the_file_is_where_the_lock_says(call: Call, lock: Lock) -> None:
    told = lock.serve.auth.model_copy(update={"method": "keys", "keys": "secrets/keys.yaml"})
    locks.write_lock(lock.model_copy(update={"serve": lock.serve.model_copy(update={"auth": told})}))
    assert call("keys", "add", "shop")[0] == 0
    assert Path("secrets/keys.yaml").is_file()
    assert call("keys", "add", "shop", "--file", "other.yaml")[0] == 0
    assert Path("other.yaml").is_file()


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["list"], 2, "nowhere.yaml: not found; 'merit keys add NAME' makes it"),
        (["add", "x", "--expires", "soon"], 2, "--expires soon: not a date; give one such as 2027-01-31"),
        (["add", "x", "--role", "root"], 2, "--role root: unknown role; allowed: predict, feedback, metrics"),
        (["revoke", "x"], 2, "nowhere.yaml: not found; 'merit keys add NAME' makes it"),
        (["add", ""], 2, "the name of a key is ''; allowed: 1 to 100 characters that can be seen"),
        (["add", "a\nb"], 2, r"the name of a key is 'a\nb'; allowed"),
        (["add", "x" * 101], 2, "the name of a key is"),
        (["add", "x", "--expires", "2020-01-01"], 2, "--expires 2020-01-01: the key would have expired already"),
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
    assert "this is the last key" in said
    assert call("keys", "list")[0] == 0


def test_of_another_nobody_has_a_key(call: Call) -> None:
    call("keys", "add", "shop")
    code, _, said = call("keys", "revoke", "x")
    assert (code, said) == (1, "error: keys.yaml: has no such key of 'x'; it has keys of shop\n")


def test_keys_that_are_made_at_once_are_all_kept(workdir: Path) -> None:
    def changed(number: int) -> None:
        for each in range(5):
            _, entry = api_keys.create_key(f"{number}-{each}", expires=None, quota=None, roles=("predict",))
            with api_keys.lock_key_file(file):
                known = api_keys.parse_keys(file.read_text(), "keys.yaml") if file.exists() else []
                artifacts.write_text(file, api_keys.render_keys([*known, entry]))

    file = Path("secrets/keys.yaml")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(changed, range(4)))
    assert len({key.name for key in api_keys.parse_keys(file.read_text(), "keys.yaml")}) == 20
    assert [each.name for each in file.parent.iterdir()] == ["keys.yaml"]


def test_a_key_is_neither_made_nor_revoked_while_another_is(
    call: Call, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("keys", "add", "shop")
    monkeypatch.setattr(api_keys, "LOCK_TIMEOUT_S", 0.0)
    before = Path("keys.yaml").read_text()
    with api_keys.lock_key_file(Path("keys.yaml")):
        for command in ("add", "revoke"):
            code, out, said = call("keys", command, "shop")
            assert (code, out) == (2, "")
            assert said == "error: keys.yaml: another process changes it since 0 seconds; wait for it\n"
    assert Path("keys.yaml").read_text() == before


def test_a_list_of_keys_fits_a_terminal(call: Call) -> None:
    call("keys", "add", "prometheus", "--role", "metrics")
    call("keys", "add", "shop", "--expires", "2999-01-31", "--quota", "600")
    lines = call("keys", "list")[1].splitlines()
    assert max(map(len, lines)) <= 80
    start = lines[0].index("a minute")  # a hash may hold the digits of a quota, too
    assert [line[start : start + 9].strip() for line in lines] == ["a minute", "no limit", "600"]
    assert lines[2].split()[-3:] == ["2999-01-31", "600", "predict+feedback"]


def test_who_makes_a_key_learns_that_nobody_is_asked_for_it(call: Call, lock: Lock) -> None:
    locks.write_lock(lock)
    assert lock.serve.auth.method == "none"
    code, key, said = call("keys", "add", "shop")
    assert (code, len(key.splitlines())) == (0, 1)
    assert said.splitlines()[1] == (
        "but serve.auth.method is none in params.yaml, so the endpoint asks for no key: set serve.auth in conf/serve, "
        "'merit compose', then start it again"
    )
    told = lock.serve.auth.model_copy(update={"method": "keys", "keys": "keys.yaml"})
    locks.write_lock(lock.model_copy(update={"serve": lock.serve.model_copy(update={"auth": told})}))
    assert "asks for no key" not in call("keys", "add", "shop")[2]
