"""The form of the section `serve`: where the endpoint listens, what it takes, who may ask, and what it remembers."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from merit.config.schema.base import Positive, Section


class Auth(Section):
    """conf/serve, `auth`: who may ask."""

    method: Literal["none", "keys", "jwt", "proxy"] = "none"
    """Anybody (on this machine's own address only), whoever has a key or a token, or whom a proxy lets through."""
    keys: str | None = None
    """The file of the keys' hashes, where the method is keys; it is read again when it changes."""
    jwks: str | None = None
    """The file of the public keys (JWKS) that tokens are signed by, where the method is jwt."""
    issuer: str | None = None
    """Who must have issued a token."""
    audience: str | None = None
    """Whom a token must be meant for."""

    @model_validator(mode="after")
    def _names_its_file(self) -> "Auth":
        if self.method == "keys" and self.keys is None:
            raise ValueError("method is keys, so keys must name the file of the keys' hashes")
        if self.method == "jwt" and (self.jwks is None or self.issuer is None or self.audience is None):
            raise ValueError("method is jwt, so jwks, issuer and audience must say whose tokens count")
        return self


class PredictionLog(Section):
    """conf/serve, `log`: what is remembered of each prediction."""

    folder: str | None = None
    """Where the Parquet files go; null: nothing is remembered."""
    leave_out: list[str] = []
    """Input columns that are not kept."""
    hashed: list[str] = []
    """Input columns of which only a keyed hash is kept; the key is in MERIT_HASH_KEY."""
    queue: Positive = 10000
    """Requests that may wait to be written; what comes on top is not kept, and counted."""
    seconds: Annotated[float, Field(gt=0)] = 10.0
    """How often what waits is written."""
    max_mb: Positive = 1024
    """The most that the files may take in all (MiB); the oldest go first."""
    max_days: Positive = 90
    """Days that a file is kept."""


class Telemetry(Section):
    """conf/serve, `telemetry`: OpenTelemetry."""

    endpoint: str | None = None
    """The address of an OTLP collector over HTTP; null: nothing is sent."""
    sample: Annotated[float, Field(ge=0, le=1)] = 0.01
    """The share of requests that are traced."""


class Serve(Section):
    """conf/serve: where the endpoint listens and what it takes."""

    host: str
    """The address it listens on; 127.0.0.1 is this machine alone."""
    port: Annotated[int, Field(ge=1, le=65535)]
    """The port it listens on."""
    workers: Positive
    """Processes that answer."""
    max_rows: Positive
    """The most rows in one request."""
    max_bytes: Positive
    """The most bytes in the body of one request."""
    timeout_seconds: Positive
    """Seconds after which a request is given up."""
    max_concurrent: Positive = 128
    """Requests that a worker has in hand at once; those on top get 503 and when to come again."""
    max_connections: Positive = 12000
    """Connections that a worker keeps open at once."""
    access_log: bool = False
    """Whether each request is logged, as a line of JSON."""
    auth: Auth = Auth()
    log: PredictionLog = PredictionLog()
    telemetry: Telemetry = Telemetry()

    def environment(self) -> dict[str, str]:
        """Return the environment by which the service is told all of this (`merit.serving.settings`).

        No quote or dollar stands in it bare, for Containerfiles and shells have a meaning of their own for them.
        """
        text = self.model_dump_json()
        return {"MERIT_SERVE": text.replace("'", "\\u0027").replace("$", "\\u0024")}
