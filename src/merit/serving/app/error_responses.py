"""Maps exceptions to HTTP error responses."""

import asyncio
import logging
from typing import Any

from merit.serving.app.asgi import RETRY_AFTER, Headers
from merit.serving.app.in_flight import InFlightRequests
from merit.serving.app.request_bodies import ClientDisconnected
from merit.serving.app.row_values import BadRows
from merit.serving.auth.errors import HttpError

READING_BODY, PROCESSING, SENDING = range(3)
"""Stages of a request: reading its body, processing it, sending the response."""
CLIENT_CLOSED_REQUEST = 499
"""Status counted for a client that disconnected before its response (nginx's convention)."""


class ResponseAborted(ConnectionAbortedError):
    """A response that was started and can't be completed; the server must abort the connection."""


def build_error_response(
    error: BaseException, stage: int, in_flight: InFlightRequests, request_id: bytes
) -> tuple[int, dict[str, Any], Headers]:
    """Return the status, content and headers of the error response to an exception.

    Args:
        error: the exception.
        stage: the stage the request had reached: READING_BODY, PROCESSING or SENDING.
        in_flight: the in-flight requests, which cancel overdue ones.
        request_id: id of the request, for the log.

    Raises:
        BaseException: `error` itself, if it does not concern this request, such as the shutdown of the server.
    """
    if isinstance(error, BadRows):
        return 400, {"error": str(error), "problems": error.problems}, []
    if isinstance(error, HttpError):
        return error.status, {"error": error.message}, error.headers
    if isinstance(error, ClientDisconnected) or (stage == SENDING and isinstance(error, (OSError, RuntimeError))):
        return CLIENT_CLOSED_REQUEST, {}, []  # uvloop raises a RuntimeError if the connection was aborted
    if isinstance(error, asyncio.CancelledError):
        in_flight.undo_cancellation(error)
        seconds = f"{in_flight.timeout_s:g} seconds (serve.timeout_seconds)"
        if stage == READING_BODY:
            return 408, {"error": f"the body did not arrive within {seconds}"}, [(b"connection", b"close")]
        return 504, {"error": f"no answer within {seconds}; send fewer rows, or come again later"}, RETRY_AFTER
    if not isinstance(error, Exception):
        raise error
    logging.getLogger("merit.serving").error("request %s failed", request_id.decode(), exc_info=error)
    return 500, {"error": "the model failed on this request; tell its id to whoever runs the endpoint"}, []
