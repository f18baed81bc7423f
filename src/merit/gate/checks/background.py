"""Runs the measurement of a slow check in a thread, while the other checks run."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Self, TypeVar

from merit.gate.evidence import Evidence
from merit.gate.verdict import Check as CheckResult

Measurement = TypeVar("Measurement")


class BackgroundCheck(Generic[Measurement]):
    """A check that measures in a thread inside its `with` block; the call waits for the measurement and judges it.

    Leaving the block, even by an exception, sets the event that the measurement gets, and waits until it has ended.
    """

    def __init__(
        self,
        measure: Callable[[threading.Event], Measurement],
        judge: "Callable[[Evidence, Future[Measurement]], CheckResult]",
    ) -> None:
        """Prepare the check; nothing runs before the `with` block."""
        self._measure, self._judge = measure, judge
        self._cancelled = threading.Event()
        self._pool = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        """Start measuring."""
        self._pending = self._pool.submit(self._measure, self._cancelled)
        return self

    def __exit__(self, *_: object) -> None:
        """Cancel the measurement if it still runs."""
        self._cancelled.set()
        self._pool.shutdown()

    def __call__(self, evidence: Evidence) -> CheckResult:
        """Wait for the measurement and judge it."""
        return self._judge(evidence, self._pending)
