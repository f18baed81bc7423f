"""The schema of conf/stream: the broker, its subjects, and the limits of `merit stream`."""

import re
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from merit.config.extensions import find_modules, list_names, read_constants
from merit.config.schema.base import PositiveInt, Section

BROKER_PACKAGE = "merit.stream.brokers"
BROKER_NAMES = list_names(BROKER_PACKAGE, first=("nats", "redis", "rabbit", "kafka"))
"""The names of all brokers; the listed ones come first, in the order of the documentation."""
URL_SCHEMES: dict[str, tuple[str, ...]] = {
    name: read_constants(BROKER_PACKAGE, "URL_SCHEMES")[module] for name, module in find_modules(BROKER_PACKAGE).items()
}
"""The URL schemes of each broker; the last one uses TLS."""
if TYPE_CHECKING:
    BrokerName = str
else:
    BrokerName = Literal[BROKER_NAMES]


def _validate_destination(name: str) -> str:
    """Refuse what is not the name of one subject; no JSON Schema pattern, since a part may be an interpolation."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+([.:/][A-Za-z0-9_-]+)*", name) or len(name) > 200:
        raise ValueError("it must be up to 200 letters, digits, - and _, in parts that ., : or / joins")
    return name


Destination = Annotated[str, AfterValidator(_validate_destination)]
GroupName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class Stream(Section):
    """conf/stream: the broker that `merit stream` reads events from, and how it scores them."""

    broker: BrokerName = "nats"
    """The broker: NATS JetStream, Redis streams, RabbitMQ or Kafka."""
    url: str = "nats://127.0.0.1:4222"
    """The broker's URL, without a password. MERIT_STREAM_URL in the environment takes precedence, and may have one."""
    events: Destination = "events"
    """The subject, stream, queue or topic to read events from; each event is a JSON object of a row's columns."""
    answers: Destination = "predictions"
    """The subject, stream, queue or topic for predictions, one per event."""
    dead_letters: Destination = "dead"
    """The subject, stream, queue or topic for events that can't be scored, unchanged and with the reason."""
    group: GroupName = "merit"
    """The consumer group: its workers share the events; another group gets all of them too."""
    key: str | None = "id"
    """The field that identifies an event and its prediction; with null, or in an event without the field, its position
    in the broker does."""
    rows: PositiveInt = 256
    """The maximum number of events in a batch."""
    wait_ms: PositiveInt = 20
    """Milliseconds that the first event of a batch waits for others."""
    max_in_flight: PositiveInt = 1024
    """The maximum number of unacknowledged events of a worker; the others wait in the broker."""
    max_deliveries: Annotated[int, Field(ge=2)] = 5
    """The maximum number of deliveries of an event that crashes its worker or can't be scored, before it goes to the
    dead letters."""
    answer_seconds: Annotated[int, Field(ge=2)] = 30
    """Seconds after which the broker delivers an unacknowledged event to another worker."""
    connect_seconds: PositiveInt = 10
    """The timeout of the first connection to the broker, in seconds."""
    declare: bool = True
    """Whether missing streams and queues are created; with false they must exist."""
    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = 9464
    """The port for Prometheus metrics, on loopback; null disables them."""

    @model_validator(mode="after")
    def _check_consistency(self) -> "Stream":
        if problems := self._find_problems():
            raise ValueError("\n".join(problems))
        return self

    def _find_problems(self) -> list[str]:
        problems = []
        scheme, _, rest = self.url.partition("://")
        if scheme not in URL_SCHEMES[self.broker] or not rest:
            allowed_schemes = " or ".join(f"{each}://" for each in URL_SCHEMES[self.broker])
            problems.append(f"url is no {self.broker} URL; it must begin with {allowed_schemes}")
        if "@" in rest or re.search(r"(password|token)=", rest, re.I):
            problems.append("url holds a user or a password; take it out, and give the whole URL by MERIT_STREAM_URL")
        if len({self.events, self.answers, self.dead_letters}) < 3:
            problems.append("events, answers and dead_letters must be three different names")
        if self.max_in_flight < self.rows:
            problems.append(f"max_in_flight is {self.max_in_flight}, less than rows, which is {self.rows}; raise it")
        return problems
