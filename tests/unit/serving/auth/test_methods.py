import base64
import hashlib
import json
import os
import socket
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from merit.errors import MeritError
from merit.serving import settings
from merit.serving.auth import api_keys, methods
from merit.serving.auth.reloading_file import ReloadingFile

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)


def _scope(path: str = "/predict", *, server: tuple[str, int] = ("127.0.0.1", 3000), **headers: str) -> dict[str, Any]:
    told = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": "POST", "path": path, "server": server, "headers": told}


def _refused(who: methods.Auth, scope: dict[str, Any]) -> tuple[int, str]:
    with pytest.raises(methods.HttpError) as caught:
        who.authenticate(scope)
    return caught.value.status, caught.value.message


def _write(place: Path, *made: api_keys.Key) -> None:
    place.write_text(api_keys.render_keys(made))


def _made(name: str = "shop", **more: Any) -> tuple[str, api_keys.Key]:
    told: dict[str, Any] = {"expires": None, "quota": None, "roles": ("predict", "feedback"), **more}
    return api_keys.create_key(name, **told)


def _by_keys(*made: api_keys.Key, workers: int = 1) -> methods.Auth:
    _write(Path("keys.yaml"), *made)
    return methods.from_settings(settings.AuthSettings(method="keys", keys="keys.yaml"), "0.0.0.0", workers)  # noqa: S104


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "flights.example.org"])  # noqa: S104
def test_an_address_beyond_this_machine_needs_somebody_who_asks(host: str) -> None:
    with pytest.raises(MeritError, match=r"auth\.method is none, so anybody could ask; set it to keys or jwt"):
        methods.from_settings(settings.AuthSettings(), host)
    assert (
        methods.from_settings(settings.AuthSettings(method="proxy"), host).authenticate(_scope(server=(host, 80))) == ""
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_on_this_machine_nobody_is_asked(host: str) -> None:
    assert methods.from_settings(settings.AuthSettings(), host).authenticate(_scope()) == ""


def test_what_arrives_at_another_address_is_refused_all_the_same() -> None:
    nobody = methods.from_settings(settings.AuthSettings(), "127.0.0.1")
    for _ in range(2):
        assert _refused(nobody, _scope(server=("192.0.2.1", 3000)))[0] == 403
        assert nobody.authenticate(_scope()) == ""


def test_an_image_is_told_where_it_listens_by_bentomls_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    told = settings.Settings(host="0.0.0.0")  # noqa: S104
    assert methods.resolve_host(told) == "0.0.0.0"  # noqa: S104
    monkeypatch.setenv("BENTOML_HOST", "127.0.0.1")
    assert methods.resolve_host(told) == "127.0.0.1"


def test_a_key_is_taken_by_either_header_and_named(workdir: Path) -> None:
    key, entry = _made()
    who = _by_keys(entry)
    assert who.authenticate(_scope(authorization=f"Bearer {key}")) == "shop"
    assert who.authenticate(_scope(authorization=f"bearer {key}")) == "shop"
    assert who.authenticate(_scope(x_api_key=key)) == "shop"


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({}, "no key"),
        ({"authorization": "Basic eDp5"}, "no key"),
        ({"authorization": "Bearer "}, "no key"),
        ({"x_api_key": "x" * 9000}, "no key"),
        ({"x_api_key": "merit_other"}, "unknown key"),
    ],
)
def test_without_a_key_that_is_known_there_is_no_answer(workdir: Path, headers: dict[str, str], words: str) -> None:
    status, error = _refused(_by_keys(_made()[1]), _scope(**headers))
    assert (status, error.startswith(words)) == (401, True)


def test_a_hash_is_no_key(workdir: Path) -> None:
    _, entry = _made()
    assert _refused(_by_keys(entry), _scope(x_api_key=entry.hash))[0] == 401


def test_a_key_that_has_expired_is_told_so(workdir: Path) -> None:
    key, entry = _made(expires=YESTERDAY)
    with pytest.raises(methods.HttpError) as caught:
        _by_keys(entry).authenticate(_scope(x_api_key=key))
    refused = caught.value
    assert (refused.status, refused.message, refused.reason, refused.caller) == (401, "expired key", "expired", "shop")


def test_the_next_key_holds_beside_the_last(workdir: Path) -> None:
    (last, one), (following, two) = _made(expires=date(2999, 1, 1)), _made()
    who = _by_keys(one, two)
    assert [who.authenticate(_scope(x_api_key=key)) for key in (last, following)] == ["shop", "shop"]


def test_metrics_are_for_those_whose_role_it_is(workdir: Path) -> None:
    key, entry = _made()
    watching, other = _made("watch", roles=("metrics",))
    who = _by_keys(entry, other)
    assert _refused(who, _scope("/metrics", x_api_key=key)) == (403, "this key is not for /metrics")
    assert who.authenticate(_scope("/metrics", x_api_key=watching)) == "watch"
    assert _refused(who, _scope("/predict", x_api_key=watching))[0] == 403


def test_a_quota_is_held_and_tells_when_to_come_again(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    key, entry = _made(quota=4)
    other, free = _made("other")
    who = _by_keys(entry, free, workers=2)
    for _ in range(2):  # this worker's part of 4
        who.authenticate(_scope(x_api_key=key))
    with pytest.raises(methods.HttpError) as caught:
        who.authenticate(_scope(x_api_key=key))
    assert (caught.value.status, caught.value.headers) == (429, [(b"retry-after", b"30")])
    assert who.authenticate(_scope(x_api_key=other)) == "other"
    now += 30
    assert who.authenticate(_scope(x_api_key=key)) == "shop"
    assert _refused(who, _scope(x_api_key=key))[0] == 429


def test_a_changed_file_is_read_and_a_bad_one_is_not_taken(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("merit.serving.auth.reloading_file.CHECK_INTERVAL_S", 0.0)
    key, entry = _made()
    who = _by_keys(entry)
    following, two = _made("other")
    _write(Path("keys.yaml"), entry, two)
    assert who.authenticate(_scope(x_api_key=following)) == "other"
    Path("keys.yaml").write_text("keys: []")
    assert who.authenticate(_scope(x_api_key=key)) == "shop"
    Path("keys.yaml").unlink()
    assert who.authenticate(_scope(x_api_key=key)) == "shop"
    told = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["level"] for line in told] == ["info", "error", "error"]
    assert told[1]["error"].startswith("keys.yaml: lists no keys")
    assert told[2]["error"] == "keys.yaml: No such file or directory"
    _write(Path("keys.yaml"), two)
    assert _refused(who, _scope(x_api_key=key))[0] == 401


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lists no keys"),
        ("keys: []", "lists no keys"),
        ("keys: [{name: a}]", "is no list of keys"),
        ("keys: [{name: a, hash: 'sha256:12'}]", "the hash of 'a' must be sha256: and 64 digits"),
        (f"keys: [{{name: a, hash: 'sha256:{'0' * 64}', roles: [all]}}]", "allowed: predict, feedback, metrics"),
        (f"keys: [{{name: a, hash: 'sha256:{'0' * 64}', quota: 0}}]", "allowed: 1 or more a minute"),
        (f"keys: [{{name: '', hash: 'sha256:{'0' * 64}'}}]", "the name of a key is ''; allowed"),
        (f"keys: [{{name: a, hash: 'sha256:{'0' * 64}', colour: red}}]", r"unknown field `colour` - at `keys\[0\]`"),
        (f"keys: [{{name: a, hash: 'sha256:{'0' * 64}', expires: 2020-13-01}}]", r"month must be in 1\.\.12"),
        ("!!python/object/apply:os.system [true]", "is not YAML"),
        ("[", "keys.yaml, line 2: is not YAML"),
        ("keys: [", "did not find expected node content"),
        ("keys: \0", "is not YAML"),
        ('keys: !!int ""', "an invalid value"),
        ('keys: !!float ""', "an invalid value"),
        ("keys: !!timestamp x", "an invalid value"),
        ("keys: !!bool x", "an invalid value"),
        ("keys: " + "[" * 900 + "]" * 900, "is not YAML"),
        ("keys: &a [*a]", "is not YAML"),
        (f"keys: [{{name: \"a\\nb\", hash: 'sha256:{'0' * 64}'}}]", r"the name of a key is 'a\\nb'"),
    ],
)
def test_a_file_that_is_not_right_keeps_it_from_starting(workdir: Path, text: str, words: str) -> None:
    Path("keys.yaml").write_text(text)
    with pytest.raises(MeritError, match=words) as caught:
        methods.from_settings(settings.AuthSettings(method="keys", keys="keys.yaml"), "127.0.0.1")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("keys.yaml")
    assert str(caught.value).count("keys.yaml") == 1


def test_a_missing_file_keeps_it_from_starting(workdir: Path) -> None:
    with pytest.raises(
        MeritError, match=r"^keys\.yaml: can't be read \(No such file .*'merit keys add NAME'.*MERIT_KEYS"
    ):
        methods.from_settings(settings.AuthSettings(method="keys", keys="keys.yaml"), "127.0.0.1")


def test_a_file_that_is_not_named_keeps_it_from_starting(workdir: Path) -> None:
    with pytest.raises(
        MeritError, match=r"^serve\.auth names no file; name it \('merit keys add NAME' makes it\); MERIT_KEYS may"
    ):
        methods.from_settings(settings.AuthSettings(method="keys"), "127.0.0.1")


def test_whatever_becomes_of_a_file_those_who_had_a_key_are_answered(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("merit.serving.auth.reloading_file.CHECK_INTERVAL_S", 0.0)
    key, entry = _made()
    who = _by_keys(entry)
    monkeypatch.setattr(api_keys, "parse_keys", lambda text, place: {}[text])
    Path("keys.yaml").write_bytes(b"something else")
    assert who.authenticate(_scope(x_api_key=key)) == "shop"
    Path("keys.yaml").write_bytes(b"\xff")
    assert who.authenticate(_scope(x_api_key=key)) == "shop"
    told = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["goes_on"] for line in told] == ["with what was read before"] * 2
    assert "can't be read (KeyError)" in told[0]["error"]
    assert "is no text" in told[1]["error"]


def test_a_file_that_became_a_pipe_holds_up_nobody(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("merit.serving.auth.reloading_file.CHECK_INTERVAL_S", 0.0)
    key, entry = _made()
    who = _by_keys(entry)
    Path("keys.yaml").unlink()
    os.mkfifo("keys.yaml")
    began = time.monotonic()
    assert who.authenticate(_scope(x_api_key=key)) == "shop"
    assert time.monotonic() - began < 5
    (told,) = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert told["error"] == "keys.yaml: is a pipe or device, which can't be read again; put a file there"
    assert told["goes_on"] == "with what was read before"


def test_a_pipe_in_place_of_the_file_is_refused_at_the_start(workdir: Path) -> None:
    os.mkfifo("keys.yaml")
    with pytest.raises(MeritError, match=r"^keys\.yaml: is a pipe or device"):
        methods.from_settings(settings.AuthSettings(method="keys", keys="keys.yaml"), "127.0.0.1")


def test_a_platform_may_give_the_file_by_a_variable(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, entry = _made()
    monkeypatch.setenv("MERIT_KEYS", api_keys.render_keys([entry]))
    who = methods.from_settings(settings.AuthSettings(method="keys", keys="nowhere.yaml"), "0.0.0.0")  # noqa: S104
    assert who.authenticate(_scope(x_api_key=key)) == "shop"


def test_a_new_server_is_tried_by_a_key_of_its_own(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(methods.PROBE_VARIABLE, hashlib.sha256(b"thrown away").hexdigest())
    who = _by_keys(_made()[1])
    assert who.authenticate(_scope(x_api_key="thrown away")) == "merit apply"
    assert _refused(who, _scope(x_api_key="something else"))[0] == 401


# Tokens

KEY = ec.generate_private_key(ec.SECP256R1())
SIGNERS: dict[str, Any] = {
    "ES256": KEY,
    "RS256": rsa.generate_private_key(65537, 2048),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def _jwk(algorithm: str, key: Any, **more: str) -> dict[str, Any]:
    made: dict[str, Any] = jwt.get_algorithm_by_name(algorithm).to_jwk(key, as_dict=True)
    return {**made, "kid": algorithm, "alg": algorithm, **more}


def _by_tokens(*listed: dict[str, Any]) -> methods.Auth:
    found = listed or [_jwk(name, key.public_key()) for name, key in SIGNERS.items()]
    Path("jwks.json").write_text(json.dumps({"keys": list(found)}))
    told = settings.AuthSettings(
        method="jwt", jwks="jwks.json", issuer="https://issuer.example.org", audience="flights"
    )
    return methods.from_settings(told, "0.0.0.0")  # noqa: S104


def _token(algorithm: str = "ES256", key: Any = None, kid: str | None = None, **claims: Any) -> str:
    told = {"sub": "ada", "iss": "https://issuer.example.org", "aud": "flights", "exp": time.time() + 1e6, **claims}
    told = {name: value for name, value in told.items() if value is not None}
    return jwt.encode(told, key or SIGNERS[algorithm], algorithm, headers={"kid": kid or algorithm})


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_a_token_that_is_signed_is_taken_by_its_subject(workdir: Path, algorithm: str) -> None:
    who, token = _by_tokens(), _token(algorithm)
    assert [who.authenticate(_scope(authorization=f"Bearer {token}")) for _ in range(2)] == ["ada", "ada"]


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (_token(iss="https://other.example.org"), "iss"),
        (_token(aud="others"), "aud"),
        (_token(exp=None), "no exp"),
        (_token(nbf=time.time() + 5e5), "nbf or iat"),
        (_token(key=ec.generate_private_key(ec.SECP256R1())), "signature"),
        (_token(kid="another"), "kid"),
        (jwt.encode({"sub": "ada"}, KEY, "ES256"), "no kid"),
        (_token("ES256", kid="RS256"), "alg"),
        (jwt.encode({"sub": "ada"}, None, "none", headers={"kid": "ES256"}), "alg"),
        ("a.b.c", "malformed"),
        ("." * 50, "malformed"),
        (base64.urlsafe_b64encode(b"[" * 6000).decode() + ".e.e", "malformed"),
        ("é", "malformed"),
        (_token(sub="\ud800"), "malformed"),
    ],
)
def test_a_token_that_does_not_hold_is_unknown_and_only_the_log_learns_why(workdir: Path, token: str, why: str) -> None:
    with pytest.raises(methods.HttpError) as caught:
        _by_tokens().authenticate(_scope(authorization=f"Bearer {token}"))
    refused = caught.value
    assert (refused.status, refused.message, refused.reason, refused.caller) == (401, "unknown key", why, "")


def test_a_public_key_is_no_shared_secret(workdir: Path) -> None:
    head, claims = ({"alg": "HS256", "kid": "ES256"}, {"sub": "ada", "iss": "i", "aud": "flights"})
    parts = [base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=") for each in (head, claims)]
    signed = hashlib.sha256(b".".join(parts)).digest()
    token = b".".join([*parts, base64.urlsafe_b64encode(signed).rstrip(b"=")]).decode()
    assert _refused(_by_tokens(), _scope(authorization=f"Bearer {token}")) == (401, "unknown key")


def test_clocks_may_be_half_a_minute_apart(workdir: Path) -> None:
    who = _by_tokens()
    assert who.authenticate(_scope(x_api_key=_token(exp=time.time() - 20, nbf=time.time() + 20))) == "ada"
    assert _refused(who, _scope(x_api_key=_token(exp=time.time() - 60))) == (401, "expired key")


def test_a_token_that_is_remembered_expires_all_the_same(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    who, token = _by_tokens(), _token(exp=time.time() + 60)
    who.authenticate(_scope(x_api_key=token))
    later = time.time() + 91
    monkeypatch.setattr(ReloadingFile, "current_time", lambda _: later)
    assert _refused(who, _scope(x_api_key=token)) == (401, "expired key")


def test_metrics_are_for_a_token_whose_scope_it_is(workdir: Path) -> None:
    who = _by_tokens()
    assert _refused(who, _scope("/metrics", x_api_key=_token()))[0] == 403
    assert who.authenticate(_scope("/metrics", x_api_key=_token(scope="openid metrics"))) == "ada"


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ({"kty": "oct", "k": "c2VjcmV0", "kid": "a"}, "a key is for HS256; allowed: RS, PS and ES"),
        (_jwk("ES256", KEY), "a key is private"),
        (_jwk("RS256", rsa.generate_private_key(65537, 1024).public_key()), "has 1024 bits; at least 2048"),  # noqa: S505
        ({"kty": "EC"}, "no JWKS that can be read"),
        (_jwk("RS256", SIGNERS["RS256"].public_key(), alg="none"), "no JWKS that can be read"),
        ({**_jwk("ES256", KEY.public_key()), "kid": ["x"]}, "no JWKS that can be read"),
        ({**_jwk("ES256", KEY.public_key()), "alg": ["ES256"]}, "no JWKS that can be read"),
        ({**_jwk("ES256", KEY.public_key()), "kty": ["EC"]}, "no JWKS that can be read"),
        (_jwk("ES256", KEY.public_key(), use="enc"), "holds no key that signs"),
    ],
)
def test_a_jwks_that_is_not_right_keeps_it_from_starting(workdir: Path, listed: dict[str, Any], words: str) -> None:
    with pytest.raises(MeritError, match=words) as caught:
        _by_tokens(listed)
    assert "c2VjcmV0" not in str(caught.value)


def test_two_keys_of_one_id_are_refused(workdir: Path) -> None:
    both = [_jwk(name, SIGNERS[name].public_key(), kid="a") for name in ("ES256", "EdDSA")]
    with pytest.raises(MeritError, match=r"^jwks\.json: two keys have the kid 'a'; give each one of its own$"):
        _by_tokens(*both)


def test_a_token_may_leave_out_the_id_of_the_only_key(workdir: Path) -> None:
    who = _by_tokens(_jwk("ES256", KEY.public_key()))
    told = {"sub": "ada", "iss": "https://issuer.example.org", "aud": "flights", "exp": time.time() + 60}
    assert who.authenticate(_scope(x_api_key=jwt.encode(told, KEY, "ES256"))) == "ada"


@pytest.mark.parametrize("text", ['{"keys":' + "[" * 100_000, "[]", '{"keys": [1]}', '{"keys": {}}', "", "9" * 6000])
def test_a_jwks_that_became_wrong_is_not_taken(
    workdir: Path, text: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("merit.serving.auth.reloading_file.CHECK_INTERVAL_S", 0.0)
    who = _by_tokens()
    Path("jwks.json").write_text(text)
    assert who.authenticate(_scope(x_api_key=_token())) == "ada"
    (told,) = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert (told["level"], told["goes_on"]) == ("error", "with what was read before")
    assert told["error"].startswith("jwks.json: ")


def test_a_missing_jwks_tells_of_the_issuers_keys(workdir: Path) -> None:
    told = settings.AuthSettings(method="jwt", jwks="jwks.json", issuer="i", audience="a")
    with pytest.raises(MeritError, match=r"^jwks\.json: can't be read .*; put the issuer's public keys there"):
        methods.from_settings(told, "127.0.0.1")


def test_tokens_without_an_issuer_are_no_tokens(workdir: Path) -> None:
    with pytest.raises(MeritError, match="needs issuer and audience"):
        methods.from_settings(settings.AuthSettings(method="jwt", jwks="jwks.json"), "127.0.0.1")


def test_nobody_is_asked_in_less_than_microseconds() -> None:
    nobody, scope = methods.from_settings(settings.AuthSettings(), "127.0.0.1"), _scope()
    began = time.process_time()
    for _ in range(10_000):
        nobody.authenticate(scope)
    assert (time.process_time() - began) / 10_000 < 20e-6, os.getloadavg()


def test_a_worker_asks_its_socket_where_it_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOML_HOST", "127.0.0.1")
    with socket.socket() as handed:
        handed.bind(("0.0.0.0", 0))  # noqa: S104  # never listened on
        program = "/x/_bentoml_impl/worker/service.py"
        monkeypatch.setattr(sys, "argv", [program, "merit.serving.service:Predictor", "--fd", str(handed.fileno())])
        assert methods.resolve_host(settings.Settings()) == "0.0.0.0"  # noqa: S104
        monkeypatch.setattr(sys, "argv", ["other.py", "--fd", str(handed.fileno())])
        assert methods.resolve_host(settings.Settings()) == "127.0.0.1"
        assert handed.fileno() != -1
    monkeypatch.setattr(sys, "argv", [program, "--fd", "none"])
    assert methods.resolve_host(settings.Settings()) == "127.0.0.1"
