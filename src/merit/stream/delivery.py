"""The way of a batch's records to the broker: what it has confirmed is acknowledged, the rest is published again."""

from collections.abc import Sequence

from merit.stream.brokers.broker import Broker, Pair
from merit.stream.events import Event, Record


class Delivery:
    """What of a batch is still to be published, and what to be acknowledged.

    Args:
        broker: where to.
        records: what is to be published.
        events: those that they are of, in their order.
    """

    def __init__(self, broker: Broker, records: Sequence[Record], events: Sequence[Event]) -> None:
        self._broker = broker
        self._left: list[Pair] = list(zip(records, events, strict=True))
        self._confirmed: list[Event] = []

    @property
    def what(self) -> str:
        """What is left, as people call it."""
        return "dead letters" if self._left and all(record.cause for record, _ in self._left) else "answers"

    async def step(self) -> BaseException | None:
        """Publish what is left, acknowledge what is confirmed; return what went wrong, or None: all is done."""
        error = await self._publish() if self._left else None
        if self._confirmed:
            try:
                await self._broker.acknowledge(self._confirmed)
                self._confirmed = []
            except Exception as failed:  # noqa: BLE001  # each client has its own; only this is tried again
                error = error or failed
        return error

    async def _publish(self) -> BaseException | None:
        try:
            errors = await self._broker.publish(self._left)
        except Exception as error:  # noqa: BLE001  # each client has its own; the events are safe in the broker
            return error
        tried = list(zip(self._left, errors, strict=True))
        self._confirmed += [event for (_, event), error in tried if error is None]
        self._left = [pair for pair, error in tried if error is not None]
        return next((error for error in errors if error is not None), None)
