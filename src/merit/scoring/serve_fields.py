"""The fields of conf/serve, once: the schema's sections and the endpoint's settings both derive from these classes.

An image has neither conf/ nor its schema, so the fields and their bounds are declared here, and both sides read them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Bounds:
    """The bounds of a number, for pydantic in the schema and for msgspec in the endpoint.

    Example:
        port: Annotated[int, Bounds(ge=1, le=65535)]
    """

    gt: float | None = None
    ge: float | None = None
    le: float | None = None

    def as_arguments(self) -> dict[str, float]:
        """Return the bounds that are set, by the names that both libraries give them."""
        return {name: bound for name, bound in vars(self).items() if bound is not None}

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> dict[str, Any]:
        """Return the number's schema with these bounds; pydantic calls this."""
        return {**handler(source), **self.as_arguments()}


Positive = Annotated[int, Bounds(gt=0)]


class AuthFields:
    """The fields of conf/serve, `auth`."""

    method: Literal["none", "keys", "jwt", "proxy"] = "none"
    """none: no authentication, on a loopback address only; keys: API keys; jwt: bearer tokens (JWT); proxy: a proxy in
    front of the endpoint authenticates."""
    keys: str | None = None
    """The file of the keys' hashes, required by method keys; it is reloaded when it changes."""
    jwks: str | None = None
    """The file of public keys (JWKS) that verify tokens, required by method jwt."""
    issuer: str | None = None
    """The required issuer of a token."""
    audience: str | None = None
    """The required audience of a token."""


class PredictionLogFields:
    """The fields of conf/serve, `log`."""

    folder: str | None = None
    """The folder of the Parquet files; null disables the log."""
    leave_out: list[str] = []  # noqa: RUF012  # pydantic and msgspec copy a default
    """Input columns that are not logged."""
    hashed: list[str] = []  # noqa: RUF012  # pydantic and msgspec copy a default
    """Input columns that are logged as a keyed hash only; MERIT_HASH_KEY has the key."""
    queue: Positive = 10000
    """The maximum number of requests waiting to be written; further ones are dropped from the log and counted."""
    seconds: Annotated[float, Bounds(gt=0)] = 10.0
    """Seconds between writes."""
    max_mb: Positive = 1024
    """The maximum total size of the files (MiB); the oldest are deleted first."""
    max_days: Positive = 90
    """Days before a file is deleted."""


class TelemetryFields:
    """The fields of conf/serve, `telemetry`."""

    endpoint: str | None = None
    """The HTTP address of an OTLP collector; null sends nothing."""
    sample: Annotated[float, Bounds(ge=0, le=1)] = 0.01
    """The share of requests that are traced."""


class ServeFields:
    """The fields of conf/serve beside its sections; those without a default must be in conf/."""

    host: str
    """The address to listen on; 127.0.0.1 accepts connections from this machine only."""
    port: Annotated[int, Bounds(ge=1, le=65535)]
    """The port to listen on."""
    workers: Positive
    """The number of worker processes."""
    max_rows: Positive
    """The maximum number of rows in one request."""
    max_bytes: Positive
    """The maximum size of a request's body, in bytes."""
    timeout_seconds: Positive
    """Seconds after which a request times out."""
    max_concurrent: Positive = 128
    """The maximum number of in-flight requests of a worker; further ones get 503 with Retry-After."""
    max_connections: Positive = 12000
    """The maximum number of open connections of a worker."""
    access_log: bool = False
    """Whether each request is logged, as a line of JSON."""


def define_struct(
    name: str, fields: type, *, defaults: Mapping[str, Any] | None = None, sections: Mapping[str, type] | None = None
) -> Any:
    """Return a frozen msgspec struct with the fields of a class, which refuses unknown keys.

    Args:
        name: the name of the struct.
        fields: one of the classes above.
        defaults: the defaults of fields that have none in the class.
        sections: structs of further fields, each with its own defaults, by name.
    """
    import msgspec

    declared = [
        (field, _convert_bounds(hint), (defaults or {}).get(field, getattr(fields, field, msgspec.NODEFAULT)))
        for field, hint in get_type_hints(fields, include_extras=True).items()
    ]
    nested = [(field, struct, struct()) for field, struct in (sections or {}).items()]
    return msgspec.defstruct(name, [*declared, *nested], frozen=True, forbid_unknown_fields=True)


def _convert_bounds(hint: Any) -> Any:
    from msgspec import Meta

    if get_origin(hint) is not Annotated:
        return hint
    kind, *bounds = get_args(hint)
    return Annotated[(kind, *(Meta(**each.as_arguments()) for each in bounds))]
