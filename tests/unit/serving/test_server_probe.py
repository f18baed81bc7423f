"""The smoke rows: a server must answer as the package does, by its name and commit."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from merit import artifacts
from merit.errors import Refused
from merit.scoring.package import Package
from merit.serving.app.served_model import ServedModel
from merit.serving.server_probe import check_example
from tests.conftest import rewrite_manifest

EXAMPLE = {"shop": "north", "kind": 1, "size": 50.0, "weight": 0.5}


@contextmanager
def server(status: int, body: bytes):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.handle_request)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        thread.join(10)


@pytest.fixture
def package(make_package, tmp_path):
    folder = make_package(tmp_path / "model")
    signature = json.loads((folder / artifacts.SIGNATURE).read_text())
    (folder / artifacts.SIGNATURE).write_text(json.dumps(signature | {"example": EXAMPLE}))
    rewrite_manifest(folder)
    return folder


@pytest.fixture
def right(package):
    return ServedModel(Package.load(package), "v3", 1).predict(json.dumps(EXAMPLE).encode())


def test_the_package_s_own_answer_passes(package, right):
    with server(200, json.dumps(right).encode()) as address:
        assert check_example(package, "v3", address) is None


def test_a_version_is_known_by_its_commit_and_not_by_what_the_package_says(package, right):
    with server(200, json.dumps(right | {"commit": "d" * 40}).encode()) as address:
        assert check_example(package, "v3", address, commit="d" * 40) is None
    with server(200, json.dumps(right).encode()) as address, pytest.raises(Refused, match="commit is 'ccc"):
        check_example(package, "v3", address, commit="d" * 40)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ({"predictions": [0.123]}, "predictions is"),
        ({"version": "v2"}, "version is 'v2', not 'v3'"),
        ({"commit": "other"}, "commit is 'other'"),
    ],
)
def test_another_answer_is_refused(package, right, spoil, words):
    with server(200, json.dumps(right | spoil).encode()) as address, pytest.raises(Refused, match=words):
        check_example(package, "v3", address)


@pytest.mark.parametrize(("status", "body"), [(500, b"{}"), (200, b"no JSON")])
def test_no_answer_is_refused(package, status, body):
    with server(status, body) as address, pytest.raises(Refused, match="does not answer the package's example"):
        check_example(package, "v3", address)
