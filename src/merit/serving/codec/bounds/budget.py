"""Provides a byte budget for the decoded size of a table."""

BROKEN_METADATA = "its metadata is broken"


class ByteBudget:
    """Counts the decoded bytes of a table against a limit.

    Args:
        max_bytes: maximum decoded bytes.
        advice: remedy for the error message.
    """

    def __init__(self, max_bytes: int, advice: str = "send fewer rows") -> None:
        self._max_bytes = self._remaining = max_bytes
        self._advice = advice

    def spend(self, size: int, minimum: int = 0) -> None:
        """Count the bytes of a part, with a lower bound.

        Raises:
            ValueError: the budget is exceeded, or the size is negative.
        """
        if size < 0:
            raise ValueError(BROKEN_METADATA)
        self._remaining -= max(size, minimum)
        if self._remaining < 0:
            raise ValueError(f"it expands to more than {self._max_bytes} bytes; {self._advice}")
