"""The bytes that a table may become once it is decoded."""

BROKEN = "its metadata is broken"


class Budget:
    """Counts the bytes that a table becomes.

    Args:
        most: how many it may become.
        advice: what to send instead of more.
    """

    def __init__(self, most: int, advice: str = "send fewer rows") -> None:
        self._most = self._left = most
        self._advice = advice

    def spend(self, size: int, least: int = 0) -> None:
        """Count the bytes of a part, and at least so many.

        Raises:
            ValueError: the table becomes too large, or the size is none.
        """
        if size < 0:
            raise ValueError(BROKEN)
        self._left -= max(size, least)
        if self._left < 0:
            raise ValueError(f"it expands to more than {self._most} bytes; {self._advice}")
