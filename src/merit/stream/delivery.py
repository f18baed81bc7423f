"""Publishes the records of a batch: confirmed records are acknowledged, the others are published again."""

from collections.abc import Sequence

from merit.stream.brokers.interface import Broker, RecordPair
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
        self._unpublished: list[RecordPair] = list(zip(records, events, strict=True))
        self._confirmed: list[Event] = []

    @property
    def unpublished_kind(self) -> str:
        """Name of the unpublished records for messages."""
        return (
            "dead letters" if self._unpublished and all(record.cause for record, _ in self._unpublished) else "answers"
        )

    async def deliver_once(self) -> BaseException | None:
        """Try once to publish and acknowledge what is left; return an error, or None if all is done."""
        error = await self._publish_pending() if self._unpublished else None
        if self._confirmed:
            try:
                await self._broker.acknowledge(self._confirmed)
                self._confirmed = []
            except Exception as acknowledge_error:  # noqa: BLE001  # each client has its own; only the acknowledgement is retried
                error = error or acknowledge_error
        return error

    async def _publish_pending(self) -> BaseException | None:
        try:
            errors = await self._broker.publish(self._unpublished)
        except Exception as error:  # noqa: BLE001  # each client has its own; the events are safe in the broker
            return error
        results = list(zip(self._unpublished, errors, strict=True))
        self._confirmed += [event for (_, event), error in results if error is None]
        self._unpublished = [pair for pair, error in results if error is not None]
        return next((error for error in errors if error is not None), None)
