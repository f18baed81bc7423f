"""The form of the section `stream`: the broker that events come from, and how they are answered."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from merit.config.schema.base import Positive, Section

SCHEMES = {
    "nats": ("nats", "tls"),
    "redis": ("redis", "rediss"),
    "rabbit": ("amqp", "amqps"),
    "kafka": ("kafka", "kafkas"),
}
"""How the URL of each broker may begin; the last is with TLS."""


def _plain(name: str) -> str:
    """Refuse what is no name of a single place; no pattern says it, for in conf/ a part of it may be open."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+([.:/][A-Za-z0-9_-]+)*", name) or len(name) > 200:
        raise ValueError("it must be up to 200 letters, digits, - and _, in parts that ., : or / joins")
    return name


Subject = Annotated[str, AfterValidator(_plain)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class Stream(Section):
    """conf/stream: the broker that events come from, and how they are answered, by `merit stream`."""

    broker: Literal["nats", "redis", "rabbit", "kafka"] = "nats"
    """NATS JetStream, Redis streams, RabbitMQ or Kafka."""
    url: str = "nats://127.0.0.1:4222"
    """Where the broker is, without a password; MERIT_STREAM_URL in the environment comes first, and may hold one."""
    events: Subject = "events"
    """The subject, stream, queue or topic that events are read from: each a JSON object of a row's columns."""
    answers: Subject = "predictions"
    """Where an answer to each event goes."""
    dead_letters: Subject = "dead"
    """Where an event goes that can't be answered, as it came, with the reason."""
    group: Name = "merit"
    """Workers of one group share the events; another group gets all of them too."""
    key: str | None = "id"
    """The event's field that tells it from all others, and its answer; null, or not in the event: its place in the
    broker does."""
    rows: Positive = 256
    """The most events that are scored at once."""
    wait_ms: Positive = 20
    """Milliseconds that the first of them waits for others."""
    max_in_flight: Positive = 1024
    """Events that a worker holds without having acknowledged them; the rest wait in the broker."""
    max_deliveries: Annotated[int, Field(ge=2)] = 5
    """How often an event is tried that kills or fails what scores it, before it goes to the dead letters."""
    answer_seconds: Annotated[int, Field(ge=2)] = 30
    """Seconds after which the broker gives an event that was not acknowledged to another worker."""
    connect_seconds: Positive = 10
    """Seconds that the broker may take to be reached at the start."""
    declare: bool = True
    """Whether what lacks of streams and queues is made; with false it must be there."""
    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = 9464
    """The port of this machine's own address that shows Prometheus metrics; null: none does."""

    @model_validator(mode="after")
    def _agrees(self) -> "Stream":
        if found := self._misfits():
            raise ValueError("\n".join(found))
        return self

    def _misfits(self) -> list[str]:
        lines = []
        scheme, _, rest = self.url.partition("://")
        if scheme not in SCHEMES[self.broker] or not rest:
            allowed = " or ".join(f"{each}://" for each in SCHEMES[self.broker])
            lines.append(f"url is of no {self.broker}; it begins with {allowed}")
        if "@" in rest or re.search(r"(password|token)=", rest, re.I):
            lines.append("url holds a user or a password; take it out, and give the whole URL by MERIT_STREAM_URL")
        if len({self.events, self.answers, self.dead_letters}) < 3:
            lines.append("events, answers and dead_letters must be three places")
        if self.max_in_flight < self.rows:
            lines.append(f"max_in_flight is {self.max_in_flight}, less than rows, which is {self.rows}; raise it")
        return lines
