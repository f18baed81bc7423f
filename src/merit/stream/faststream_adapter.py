"""The only module that uses undocumented parts of FastStream: the clients beneath its brokers."""

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from aiokafka.admin import AIOKafkaAdminClient
    from nats.js import JetStreamContext


def get_jetstream(broker: Any) -> "JetStreamContext":
    """Return the JetStream context of a NATS broker."""
    return cast("JetStreamContext", broker.config.broker_config.connection_state.stream)


def get_kafka_admin(broker: Any) -> "AIOKafkaAdminClient":
    """Return the admin client of a connected Kafka broker."""
    return broker.config.broker_config.admin_client
