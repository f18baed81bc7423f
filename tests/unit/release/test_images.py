"""What a registry says of an image; in its place, a server on loopback with the same few answers."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from merit.errors import MeritError
from merit.release import images
from tests.support.endpoint import free_port

CONFIG = json.dumps({"config": {"Labels": {"merit.version": "tiny@v1"}}}).encode()
MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": images.MANIFEST_TYPES[0],
        "config": {"digest": "sha256:c", "size": len(CONFIG)},
        "layers": [{"digest": "sha256:l", "size": 1000}],
    }
).encode()
INDEX = json.dumps({"mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}).encode()
ANSWERS = {
    "/v2/team/tiny/manifests/v1": (200, MANIFEST),
    "/v2/team/tiny/blobs/sha256:c": (200, CONFIG),
    "/v2/team/tiny/manifests/many": (200, INDEX),
    "/v2/team/tiny/manifests/broken": (502, b"bad gateway"),
    "/v2/team/tiny/manifests/text": (200, b"<html>"),
}


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, body = ANSWERS.get(self.path, (404, b"{}"))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import oras.client  # before its parts, which import one another

    monkeypatch.setattr(oras.decorator.time, "sleep", lambda _: None)


@pytest.fixture
def name() -> Iterator[str]:
    """The name of an image in a registry that runs."""
    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
    thread.start()
    yield f"127.0.0.1:{server.server_port}/team/tiny"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_image_is_told_by_digest_size_and_labels(name: str) -> None:
    found = images.find_image(f"{name}:v1")
    assert found is not None
    assert found.digest == f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"
    assert found.size_bytes == 1000 + len(CONFIG)
    assert found.labels == {"merit.version": "tiny@v1"}


def test_no_image_is_none(name: str) -> None:
    assert images.find_image(f"{name}:v2") is None


@pytest.mark.parametrize(("tag", "words"), [("many", "not an image of merit's"), ("broken", "502"), ("text", "used")])
def test_what_is_no_image_is_one_line(name: str, tag: str, words: str) -> None:
    with pytest.raises(MeritError, match=words) as error:
        images.find_image(f"{name}:{tag}")
    assert "\n" not in str(error.value)


def test_a_registry_that_is_down_is_one_line() -> None:
    host = f"127.0.0.1:{free_port()}"
    with pytest.raises(MeritError, match=rf"the registry {host} can't be used for .*; is it up") as error:
        images.find_image(f"{host}/tiny:v1")
    assert "\n" not in str(error.value)
