import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from merit import artifacts
from merit.config.schema import Lock, Serve
from merit.config.schema.serve import Auth
from merit.errors import MeritError
from merit.serving import settings
from merit.serving.server import serve as serve_module
from merit.serving.server.serve import serve


@pytest.fixture
def listened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Take down where it would have listened, and keep this process's environment."""
    places: list[tuple[str, int]] = []
    monkeypatch.setattr(serve_module, "listen", lambda host, port: places.append((host, port)))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    return places


@pytest.fixture
def how(lock: Lock) -> Serve:
    """The section serve, on a port that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return lock.serve.model_copy(update={"port": probe.getsockname()[1]})


def test_the_server_gets_the_package_the_limits_and_the_version(
    workdir: Path, how: Serve, make_package: Callable[..., Path], listened: list[tuple[str, int]]
) -> None:
    make_package(artifacts.PACKAGE)
    serve(how, "4", commit="abc-dirty")
    assert listened == [("127.0.0.1", how.port)]
    assert os.environ["MERIT_PACKAGE"] == str(workdir / "model")
    assert (os.environ["MERIT_VERSION"], os.environ["MERIT_COMMIT"]) == ("4", "abc-dirty")
    assert os.environ["BENTOML_HOST"] == "127.0.0.1"
    assert (settings.load_settings().max_rows, settings.load_settings().max_bytes) == (3, 1000)


def test_a_package_without_a_version_is_served_without_one(
    workdir: Path, how: Serve, make_package: Callable[..., Path], listened: list[tuple[str, int]]
) -> None:
    make_package(artifacts.PACKAGE)
    serve(how)
    assert not {"MERIT_VERSION", "MERIT_COMMIT"} & set(os.environ)


def test_a_taken_port_is_refused(
    workdir: Path, how: Serve, make_package: Callable[..., Path], listened: list[tuple[str, int]]
) -> None:
    make_package(artifacts.PACKAGE)
    with socket.socket() as taken:
        taken.bind((how.host, how.port))
        taken.listen()
        with pytest.raises(MeritError) as caught:
            serve(how)
    assert str(caught.value) == (
        f"serve: 127.0.0.1:{how.port} can't be used (Address already in use); choose another with --port or serve.port"
    )
    assert caught.value.exit_code == 2
    assert listened == []


def test_an_address_that_is_not_ours_is_refused(
    workdir: Path, how: Serve, make_package: Callable[..., Path], listened: list[tuple[str, int]]
) -> None:
    make_package(artifacts.PACKAGE)
    with pytest.raises(MeritError, match=rf"^serve: 203\.0\.113\.1:{how.port} can't be used"):
        serve(how.model_copy(update={"host": "203.0.113.1", "auth": Auth(method="proxy")}))
    assert listened == []


def test_an_address_beyond_this_machine_is_refused_where_nobody_is_asked(
    workdir: Path, how: Serve, make_package: Callable[..., Path], listened: list[tuple[str, int]]
) -> None:
    make_package(artifacts.PACKAGE)
    with pytest.raises(MeritError) as caught:
        serve(how.model_copy(update={"host": "0.0.0.0"}))  # noqa: S104
    assert str(caught.value) == (
        "serve: 0.0.0.0 can be reached from other machines and serve.auth.method is none, so anybody could ask; set it "
        "to keys or jwt, to proxy if something before it asks who it is, or serve.host to 127.0.0.1"
    )
    assert listened == []


@pytest.mark.parametrize(
    ("part", "told", "words"),
    [
        ("auth", {"method": "keys", "keys": "nowhere.yaml"}, r"^nowhere\.yaml: can't be read"),
        ("auth", {"method": "keys", "keys": "empty.yaml"}, r"^empty\.yaml: lists no keys"),
        ("auth", {"method": "jwt", "jwks": "j.json", "issuer": "i", "audience": "a"}, r"^j\.json: can't be read"),
        ("telemetry", {"endpoint": "ftp://x"}, r"^serve\.telemetry\.endpoint is 'ftp://x'"),
    ],
)
def test_what_the_service_would_not_start_with_is_told_before_it_starts(
    workdir: Path,
    how: Serve,
    make_package: Callable[..., Path],
    listened: list[tuple[str, int]],
    *,
    part: str,
    told: dict[str, str],
    words: str,
) -> None:
    make_package(artifacts.PACKAGE)
    (workdir / "empty.yaml").write_text("keys: []")
    changed = getattr(how, part).model_copy(update=told)
    with pytest.raises(MeritError, match=words):
        serve(how.model_copy(update={part: changed}))
    assert listened == []


def test_a_changed_package_is_not_served(
    workdir: Path, how: Serve, make_package: Callable[..., Path], listened: list[tuple[str, int]]
) -> None:
    (make_package(artifacts.PACKAGE) / artifacts.PACKAGED_WEIGHTS).write_bytes(b"other")
    with pytest.raises(MeritError, match=r"weights\.safetensors was changed"):
        serve(how)
    assert listened == []
