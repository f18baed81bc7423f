"""Publishes the records of a batch: confirmed records are acknowledged, the others are published again."""

from collections.abc import Sequence

from merit.stream.brokers.broker import Broker, Pair
from merit.stream.events import Event, Record


class Delivery:
    """The records of a batch that are not published yet, and the events that are not acknowledged yet.

    Args:
        broker: the destination.
        records: the records to publish.
        events: their events, in the same order.
    """

    def __init__(self, broker: Broker, records: Sequence[Record], events: Sequence[Event]) -> None:
        self._broker = broker
        self._left: list[Pair] = list(zip(records, events, strict=True))
        self._confirmed: list[Event] = []

    @property
    def what(self) -> str:
        """Name of the unpublished records for messages."""
        return "dead letters" if self._left and all(record.cause for record, _ in self._left) else "answers"

    async def step(self) -> BaseException | None:
        """Try once to publish and acknowledge what is left; return an error, or None if all is done."""
        error = await self._publish() if self._left else None
        if self._confirmed:
            try:
                await self._broker.acknowledge(self._confirmed)
                self._confirmed = []
            except Exception as failed:  # noqa: BLE001  # each client has its own; only the acknowledgement is retried
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
