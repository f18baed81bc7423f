"""The errors of requests: an HTTP response, and a token that is not valid."""


class HttpError(Exception):
    """An HTTP error response to a request.

    Args:
        status: HTTP status.
        message: message for the client.
        headers: additional response headers.
        reason: short reason, only for the log.
        caller: name of the caller, if known, only for the log.
    """

    def __init__(
        self,
        status: int,
        message: str,
        headers: list[tuple[bytes, bytes]] | None = None,
        *,
        reason: str = "",
        caller: str = "",
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.headers, self.reason, self.caller = (
            status,
            message,
            headers or [],
            reason,
            caller,
        )


class InvalidToken(Exception):
    """A token that is not valid.

    Args:
        reason: short reason, only for the log.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
