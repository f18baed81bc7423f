"""Which broker, where, and what is said of it."""

import logging
import socket

import pytest
from pydantic import ValidationError

from merit.config import extensions
from merit.config.schema.stream import Stream
from merit.errors import MeritError
from merit.stream.brokers import interface, registry
from merit.stream.metrics import StreamMetrics


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"broker": "kafka"}, "url is no kafka URL; it must begin with kafka:// or kafkas://"),
        ({"url": "nats://me:secret@host"}, "give the whole URL by MERIT_STREAM_URL"),
        ({"url": "nats://host?token=secret"}, "give the whole URL by MERIT_STREAM_URL"),
        ({"answers": "events"}, "events, answers and dead_letters must be three different names"),
        ({"rows": 100, "max_in_flight": 99}, "max_in_flight is 99, less than rows, which is 100"),
        ({"events": "all.>"}, "it must be up to 200 letters, digits, - and _"),
        ({"max_deliveries": 1}, "max_deliveries"),
        ({"brocker": "nats"}, "brocker"),
    ],
)
def test_a_section_that_does_not_fit_is_refused(told, words):
    with pytest.raises(ValidationError) as caught:
        Stream.model_validate(told)
    assert words in str(caught.value)


def test_the_environments_url_comes_first_and_its_password_is_never_shown(monkeypatch):
    monkeypatch.setenv("MERIT_STREAM_URL", "tls://me:secret@host:4222")
    broker = registry.create_broker(Stream(), lambda line: None)
    assert broker.url == "tls://me:secret@host:4222"
    assert broker.address == "tls://***@host:4222"
    assert broker.describe_error(OSError(f"no route to {broker.url}")) == "no route to tls://***@host:4222"


def test_a_url_of_another_broker_is_refused_without_showing_it(monkeypatch):
    monkeypatch.setenv("MERIT_STREAM_URL", "redis://me:secret@host")
    with pytest.raises(MeritError, match=r"is no URL of nats, which stream\.broker says; it begins with") as caught:
        registry.create_broker(Stream(), lambda line: None)
    assert "secret" not in str(caught.value)


def test_a_client_that_is_not_installed_is_told_with_how_to_install_it(monkeypatch):
    def import_without(module: str) -> None:
        assert module == "merit.stream.brokers.nats"
        raise ModuleNotFoundError("No module named 'nats'", name="nats")

    monkeypatch.setattr(extensions, "import_module", import_without)
    with pytest.raises(MeritError, match=r"nats needs nats, which is not installed; pip install 'merit-ml\[stream\]'"):
        registry.create_broker(Stream(), lambda line: None)


def test_an_error_of_a_client_is_one_line_and_told_once_in_a_while():
    told: list[str] = []
    lines = interface.ThrottledLogHandler(told.append)
    logger = interface.create_logger(lines)
    logger.error("Not yet")
    lines.is_open = True
    for _ in range(3):
        logger.error("Fetch failed\nbecause", exc_info=ConnectionError("redis://me:secret@host is gone"))
    logger.info("waiting for messages")
    assert told == ["stream: Fetch failed: redis://***@host is gone"]
    assert logger.level <= logging.INFO


def test_what_the_worker_says_itself_is_not_told_by_the_client_as_well():
    told: list[str] = []
    lines = interface.ThrottledLogHandler(told.append, ["UNBLOCKED"])
    lines.is_open = True
    logger = interface.create_logger(lines)
    logger.error("Task-12 raised an exception, retrying...", exc_info=OSError("UNBLOCKED the stream key"))
    logger.error("The group is gone. Start again", exc_info=OSError("The group is gone. Start again"))
    assert told == ["stream: The group is gone. Start again"]


def test_a_taken_port_for_metrics_is_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            MeritError, match=f"127.0.0.1:{port} can't be used for metrics .*--metrics-port, or in stream.metrics_port"
        ):
            StreamMetrics("m", "v", "c").serve(port)


def test_of_what_a_wrong_server_answers_only_the_beginning_is_told():
    broker = registry.create_broker(Stream(), lambda line: None)
    assert broker.describe_error(OSError("HTTP/1.1 400 " + "x" * 500)) == "HTTP/1.1 400 " + "x" * 107 + "..."
    assert (
        broker.describe_error(OSError(f"Protocol Error: {b'INFO {' + b'x' * 500}"))
        == "Protocol Error: b'INFO {xxxxxxxxxxxxxx..."
    )


def test_no_port_shows_no_metrics():
    assert StreamMetrics("m", "v", "c").serve(None) is None
