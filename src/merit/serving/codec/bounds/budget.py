"""Provides a byte budget for the decoded size of a table."""

BROKEN = "its metadata is broken"


class Budget:
    """Counts the decoded bytes of a table against a limit.

    Args:
        most: maximum decoded bytes.
        advice: remedy for the error message.
    """

    def __init__(self, most: int, advice: str = "send fewer rows") -> None:
        self._most = self._left = most
        self._advice = advice

    def spend(self, size: int, least: int = 0) -> None:
        """Count the bytes of a part, with a lower bound.

        Raises:
            ValueError: the budget is exceeded, or the size is negative.
        """
        if size < 0:
            raise ValueError(BROKEN)
        self._left -= max(size, least)
        if self._left < 0:
            raise ValueError(f"it expands to more than {self._most} bytes; {self._advice}")
