import base64
import hashlib
import json
import os
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from merit.errors import MeritError
from merit.serving import auth, keys, settings
from merit.serving.kept import Kept

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)


def _scope(path: str = "/predict", *, server: tuple[str, int] = ("127.0.0.1", 3000), **headers: str) -> dict[str, Any]:
    told = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": "POST", "path": path, "server": server, "headers": told}


def _refused(who: auth.Auth, scope: dict[str, Any]) -> tuple[int, str]:
    with pytest.raises(auth.Refusal) as caught:
        who.admit(scope)
    return caught.value.status, caught.value.error


def _write(place: Path, *made: keys.Key) -> None:
    place.write_text(keys.text(made))


def _made(name: str = "shop", **more: Any) -> tuple[str, keys.Key]:
    told: dict[str, Any] = {"expires": None, "quota": None, "roles": ("predict", "feedback"), **more}
    return keys.made(name, **told)


def _by_keys(*made: keys.Key, workers: int = 1) -> auth.Auth:
    _write(Path("keys.yaml"), *made)
    return auth.of(settings.Auth(method="keys", keys="keys.yaml"), "0.0.0.0", workers)  # noqa: S104


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "flights.example.org"])  # noqa: S104
def test_an_address_beyond_this_machine_needs_somebody_who_asks(host: str) -> None:
    with pytest.raises(MeritError, match=r"auth\.method is none, so anybody could ask; set it to keys or jwt"):
        auth.of(settings.Auth(), host)
    assert auth.of(settings.Auth(method="proxy"), host).admit(_scope(server=(host, 80))) == ""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_on_this_machine_nobody_is_asked(host: str) -> None:
    assert auth.of(settings.Auth(), host).admit(_scope()) == ""


def test_what_arrives_at_another_address_is_refused_all_the_same() -> None:
    nobody = auth.of(settings.Auth(), "127.0.0.1")
    for _ in range(2):
        assert _refused(nobody, _scope(server=("192.0.2.1", 3000)))[0] == 403
        assert nobody.admit(_scope()) == ""


def test_an_image_is_told_where_it_listens_by_bentomls_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    told = settings.Settings(host="0.0.0.0")  # noqa: S104
    assert auth.listens_on(told) == "0.0.0.0"  # noqa: S104
    monkeypatch.setenv("BENTOML_HOST", "127.0.0.1")
    assert auth.listens_on(told) == "127.0.0.1"


def test_a_key_is_taken_by_either_header_and_named(workdir: Path) -> None:
    key, entry = _made()
    who = _by_keys(entry)
    assert who.admit(_scope(authorization=f"Bearer {key}")) == "shop"
    assert who.admit(_scope(authorization=f"bearer {key}")) == "shop"
    assert who.admit(_scope(x_api_key=key)) == "shop"


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
    assert _refused(_by_keys(entry), _scope(x_api_key=key)) == (401, "expired key")


def test_the_next_key_holds_beside_the_last(workdir: Path) -> None:
    (last, one), (following, two) = _made(expires=date(2999, 1, 1)), _made()
    who = _by_keys(one, two)
    assert [who.admit(_scope(x_api_key=key)) for key in (last, following)] == ["shop", "shop"]


def test_metrics_are_for_those_whose_role_it_is(workdir: Path) -> None:
    key, entry = _made()
    watching, other = _made("watch", roles=("metrics",))
    who = _by_keys(entry, other)
    assert _refused(who, _scope("/metrics", x_api_key=key)) == (403, "this key is not for /metrics")
    assert who.admit(_scope("/metrics", x_api_key=watching)) == "watch"
    assert _refused(who, _scope("/predict", x_api_key=watching))[0] == 403


def test_a_quota_is_held_and_tells_when_to_come_again(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    key, entry = _made(quota=4)
    other, free = _made("other")
    who = _by_keys(entry, free, workers=2)
    for _ in range(2):  # this worker's part of 4
        who.admit(_scope(x_api_key=key))
    with pytest.raises(auth.Refusal) as caught:
        who.admit(_scope(x_api_key=key))
    assert (caught.value.status, caught.value.headers) == (429, [(b"retry-after", b"30")])
    assert who.admit(_scope(x_api_key=other)) == "other"
    now += 30
    assert who.admit(_scope(x_api_key=key)) == "shop"
    assert _refused(who, _scope(x_api_key=key))[0] == 429


def test_a_changed_file_is_read_and_a_bad_one_is_not_taken(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("merit.serving.kept.LOOK_SECONDS", 0.0)
    key, entry = _made()
    who = _by_keys(entry)
    following, two = _made("other")
    _write(Path("keys.yaml"), entry, two)
    assert who.admit(_scope(x_api_key=following)) == "other"
    Path("keys.yaml").write_text("keys: []")
    assert who.admit(_scope(x_api_key=key)) == "shop"
    Path("keys.yaml").unlink()
    assert who.admit(_scope(x_api_key=key)) == "shop"
    told = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["level"] for line in told] == ["info", "error", "error"]
    assert "the list of keys is empty" in told[1]["error"]
    _write(Path("keys.yaml"), two)
    assert _refused(who, _scope(x_api_key=key))[0] == 401


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lists no keys"),
        ("keys: []", "the list of keys is empty"),
        ("keys: [{name: a}]", "lists no keys"),
        ("keys: [{name: a, hash: 'sha256:12'}]", "the hash of 'a' must be sha256: and 64 digits"),
        (f"keys: [{{name: a, hash: 'sha256:{'0' * 64}', roles: [all]}}]", "allowed: predict, feedback, metrics"),
        (f"keys: [{{name: a, hash: 'sha256:{'0' * 64}', quota: 0}}]", "allowed: 1 or more a minute"),
        (f"keys: [{{name: '', hash: 'sha256:{'0' * 64}'}}]", "a key has no name"),
        (f"keys: [{{name: a, hash: 'sha256:{'0' * 64}', colour: red}}]", "colour"),
        ("!!python/object/apply:os.system [true]", "lists no keys"),
        ("[", "lists no keys"),
    ],
)
def test_a_file_that_is_not_right_keeps_it_from_starting(workdir: Path, text: str, words: str) -> None:
    Path("keys.yaml").write_text(text)
    with pytest.raises(MeritError, match=words) as caught:
        auth.of(settings.Auth(method="keys", keys="keys.yaml"), "127.0.0.1")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("keys.yaml: ")


def test_a_missing_file_keeps_it_from_starting(workdir: Path) -> None:
    with pytest.raises(MeritError, match=r"^keys\.yaml: can't be read \(No such file .* MERIT_KEYS may hold"):
        auth.of(settings.Auth(method="keys", keys="keys.yaml"), "127.0.0.1")


def test_a_platform_may_give_the_file_by_a_variable(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, entry = _made()
    monkeypatch.setenv("MERIT_KEYS", keys.text([entry]))
    who = auth.of(settings.Auth(method="keys", keys="nowhere.yaml"), "0.0.0.0")  # noqa: S104
    assert who.admit(_scope(x_api_key=key)) == "shop"


def test_a_new_server_is_tried_by_a_key_of_its_own(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(auth.PROBE, hashlib.sha256(b"thrown away").hexdigest())
    who = _by_keys(_made()[1])
    assert who.admit(_scope(x_api_key="thrown away")) == "merit apply"
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


def _by_tokens(*listed: dict[str, Any]) -> auth.Auth:
    found = listed or [_jwk(name, key.public_key()) for name, key in SIGNERS.items()]
    Path("jwks.json").write_text(json.dumps({"keys": list(found)}))
    told = settings.Auth(method="jwt", jwks="jwks.json", issuer="https://issuer.example.org", audience="flights")
    return auth.of(told, "0.0.0.0")  # noqa: S104


def _token(algorithm: str = "ES256", key: Any = None, kid: str | None = None, **claims: Any) -> str:
    told = {"sub": "ada", "iss": "https://issuer.example.org", "aud": "flights", "exp": time.time() + 1e6, **claims}
    told = {name: value for name, value in told.items() if value is not None}
    return jwt.encode(told, key or SIGNERS[algorithm], algorithm, headers={"kid": kid or algorithm})


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_a_token_that_is_signed_is_taken_by_its_subject(workdir: Path, algorithm: str) -> None:
    who, token = _by_tokens(), _token(algorithm)
    assert [who.admit(_scope(authorization=f"Bearer {token}")) for _ in range(2)] == ["ada", "ada"]


@pytest.mark.parametrize(
    "token",
    [
        _token(iss="https://other.example.org"),
        _token(aud="others"),
        _token(exp=None),
        _token(nbf=time.time() + 5e5),
        _token(key=ec.generate_private_key(ec.SECP256R1())),
        _token(kid="another"),
        _token("ES256", kid="RS256"),
        jwt.encode({"sub": "ada"}, None, "none", headers={"kid": "ES256"}),
        "a.b.c",
        "." * 50,
        base64.urlsafe_b64encode(b"[" * 6000).decode() + ".e.e",
        "é",
    ],
)
def test_a_token_that_does_not_hold_is_unknown_and_no_more(workdir: Path, token: str) -> None:
    assert _refused(_by_tokens(), _scope(authorization=f"Bearer {token}")) == (401, "unknown key")


def test_a_public_key_is_no_shared_secret(workdir: Path) -> None:
    head, claims = ({"alg": "HS256", "kid": "ES256"}, {"sub": "ada", "iss": "i", "aud": "flights"})
    parts = [base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=") for each in (head, claims)]
    signed = hashlib.sha256(b".".join(parts)).digest()
    token = b".".join([*parts, base64.urlsafe_b64encode(signed).rstrip(b"=")]).decode()
    assert _refused(_by_tokens(), _scope(authorization=f"Bearer {token}")) == (401, "unknown key")


def test_clocks_may_be_half_a_minute_apart(workdir: Path) -> None:
    who = _by_tokens()
    assert who.admit(_scope(x_api_key=_token(exp=time.time() - 20, nbf=time.time() + 20))) == "ada"
    assert _refused(who, _scope(x_api_key=_token(exp=time.time() - 60))) == (401, "expired key")


def test_a_token_that_is_remembered_expires_all_the_same(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    who, token = _by_tokens(), _token(exp=time.time() + 60)
    who.admit(_scope(x_api_key=token))
    later = time.time() + 91
    monkeypatch.setattr(Kept, "clock", lambda _: later)
    assert _refused(who, _scope(x_api_key=token)) == (401, "expired key")


def test_metrics_are_for_a_token_whose_scope_it_is(workdir: Path) -> None:
    who = _by_tokens()
    assert _refused(who, _scope("/metrics", x_api_key=_token()))[0] == 403
    assert who.admit(_scope("/metrics", x_api_key=_token(scope="openid metrics"))) == "ada"


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ({"kty": "oct", "k": "c2VjcmV0", "kid": "a"}, "a key is for HS256; allowed: RS, PS and ES"),
        (_jwk("ES256", KEY), "a key is private"),
        (_jwk("RS256", rsa.generate_private_key(65537, 1024).public_key()), "has 1024 bits; at least 2048"),  # noqa: S505
        ({"kty": "EC"}, "no JWKS that can be read"),
        (_jwk("ES256", KEY.public_key(), use="enc"), "holds no key that signs"),
    ],
)
def test_a_jwks_that_is_not_right_keeps_it_from_starting(workdir: Path, listed: dict[str, Any], words: str) -> None:
    with pytest.raises(MeritError, match=words) as caught:
        _by_tokens(listed)
    assert "c2VjcmV0" not in str(caught.value)


def test_tokens_without_an_issuer_are_no_tokens(workdir: Path) -> None:
    with pytest.raises(MeritError, match="needs issuer and audience"):
        auth.of(settings.Auth(method="jwt", jwks="jwks.json"), "127.0.0.1")


def test_nobody_is_asked_in_less_than_microseconds() -> None:
    nobody, scope = auth.of(settings.Auth(), "127.0.0.1"), _scope()
    began = time.process_time()
    for _ in range(10_000):
        nobody.admit(scope)
    assert (time.process_time() - began) / 10_000 < 20e-6, os.getloadavg()
