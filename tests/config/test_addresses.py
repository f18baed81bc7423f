import pytest

from merit.config import addresses


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:///mlflow.db",
        "http://127.0.0.1:5000",
        "postgresql://ada@db:5432/runs?sslmode=require&connect_timeout=3",
    ],
)
def test_a_location_may_be_named(uri: str) -> None:
    assert addresses.find_store_error(uri) is None


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("mlruns", "allowed: sqlite:///mlflow.db"),
        ("file:///etc", "allowed: sqlite:///mlflow.db"),
        ("http://db:port", "allowed: sqlite:///mlflow.db"),
        ("http://d\nb", "allowed: sqlite:///mlflow.db"),
        ("sqlite:///notes.txt", "ends in .db, .sqlite, .sqlite3"),
        ("sqlite:///a.db?mode=rwc&x=.db", "ends in .db"),
        ("sqlite:///../a.db", "../a.db"),
        ("postgresql://ada:secret@db/runs", "holds a password"),
        ("https://token@host", "holds a password"),
        ("postgresql://db/runs?passfile=x", "the url has the parameter 'passfile'"),
    ],
)
def test_more_than_a_location_is_refused(uri: str, words: str) -> None:
    error = addresses.find_store_error(uri)
    assert error is not None
    assert words in error
    assert "secret" not in error


@pytest.mark.parametrize("uri", ["http://127.0.0.1:4318", "https://collector/v1/traces"])
def test_a_collector_is_an_address_over_http(uri: str) -> None:
    assert addresses.find_collector_error(uri) is None


@pytest.mark.parametrize("uri", ["127.0.0.1:4318", "ftp://host", "http://", "http://ada@host", "http://host/?token=x"])
def test_another_address_is_no_collector(uri: str) -> None:
    assert "is not an address over HTTP" in str(addresses.find_collector_error(uri))


def test_a_server_that_yaml_names_gets_no_password_that_it_could_use_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGREQUIREAUTH", raising=False)
    assert addresses.get_password_rule() == {"require_auth": "!password,!md5"}
    monkeypatch.setenv("PGREQUIREAUTH", "scram-sha-256")
    assert addresses.get_password_rule() == {}
