"""What a request is told that can't be answered as it wishes."""

import asyncio
import logging
from typing import Any

from merit.serving.app.asgi import AGAIN, Headers
from merit.serving.app.bodies import ClientLeft
from merit.serving.app.in_flight import Hands
from merit.serving.app.rows import BadRows
from merit.serving.auth.methods import Refusal

BODY, WORK, SENT = range(3)
"""How far a request is: its body is read, it is worked on, its answer is on the way."""
GONE = 499
"""What is counted of a client that left before it was answered."""


class GivenUp(ConnectionAbortedError):
    """An answer that was begun and can't be ended: the server is to cut the connection off."""


def told_of(error: BaseException, stage: int, hands: Hands, request_id: bytes) -> tuple[int, dict[str, Any], Headers]:
    """Return the status, content and headers for what went wrong.

    Args:
        error: what was raised.
        stage: how far the request was.
        hands: who cancels what takes too long.
        request_id: by which whoever runs the endpoint finds it.

    Raises:
        BaseException: the same error, where it is not about this request, such as the end of the server.
    """
    if isinstance(error, BadRows):
        return 400, {"error": str(error), "problems": error.problems}, []
    if isinstance(error, Refusal):
        return error.status, {"error": error.error}, error.headers
    if isinstance(error, ClientLeft) or (stage == SENT and isinstance(error, (OSError, RuntimeError))):
        return GONE, {}, []  # uvloop raises a RuntimeError where the connection was cut off meanwhile
    if isinstance(error, asyncio.CancelledError):
        hands.forgive(error)
        seconds = f"{hands.seconds:g} seconds (serve.timeout_seconds)"
        if stage == BODY:
            return 408, {"error": f"the body did not arrive within {seconds}"}, [(b"connection", b"close")]
        return 504, {"error": f"no answer within {seconds}; send fewer rows, or come again later"}, AGAIN
    if not isinstance(error, Exception):
        raise error
    logging.getLogger("merit.serving").error("request %s failed", request_id.decode(), exc_info=error)
    return 500, {"error": "the model failed on this request; tell its id to whoever runs the endpoint"}, []
