"""The schema of conf/serve: the endpoint's address, limits, authentication, prediction log and telemetry."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from merit.config.schema.base import PositiveInt, Section


class Auth(Section):
    """conf/serve, `auth`: how requests are authenticated."""

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

    @model_validator(mode="after")
    def _check_method_keys(self) -> "Auth":
        if self.method == "keys" and self.keys is None:
            raise ValueError("method is keys, so keys must name the file of the keys' hashes")
        if self.method == "jwt" and (self.jwks is None or self.issuer is None or self.audience is None):
            raise ValueError("method is jwt, so jwks, issuer and audience must say whose tokens count")
        return self


class PredictionLog(Section):
    """conf/serve, `log`: the prediction log."""

    folder: str | None = None
    """The folder of the Parquet files; null disables the log."""
    leave_out: list[str] = []
    """Input columns that are not logged."""
    hashed: list[str] = []
    """Input columns that are logged as a keyed hash only; MERIT_HASH_KEY has the key."""
    queue: PositiveInt = 10000
    """The maximum number of requests waiting to be written; further ones are dropped from the log and counted."""
    seconds: Annotated[float, Field(gt=0)] = 10.0
    """Seconds between writes."""
    max_mb: PositiveInt = 1024
    """The maximum total size of the files (MiB); the oldest are deleted first."""
    max_days: PositiveInt = 90
    """Days before a file is deleted."""


class Telemetry(Section):
    """conf/serve, `telemetry`: OpenTelemetry traces."""

    endpoint: str | None = None
    """The HTTP address of an OTLP collector; null sends nothing."""
    sample: Annotated[float, Field(ge=0, le=1)] = 0.01
    """The share of requests that are traced."""


class Serve(Section):
    """conf/serve: the endpoint's address and limits."""

    host: str
    """The address to listen on; 127.0.0.1 accepts connections from this machine only."""
    port: Annotated[int, Field(ge=1, le=65535)]
    """The port to listen on."""
    workers: PositiveInt
    """The number of worker processes."""
    max_rows: PositiveInt
    """The maximum number of rows in one request."""
    max_bytes: PositiveInt
    """The maximum size of a request's body, in bytes."""
    timeout_seconds: PositiveInt
    """Seconds after which a request times out."""
    max_concurrent: PositiveInt = 128
    """The maximum number of in-flight requests of a worker; further ones get 503 with Retry-After."""
    max_connections: PositiveInt = 12000
    """The maximum number of open connections of a worker."""
    access_log: bool = False
    """Whether each request is logged, as a line of JSON."""
    auth: Auth = Auth()
    log: PredictionLog = PredictionLog()
    telemetry: Telemetry = Telemetry()

    def to_environment_variables(self) -> dict[str, str]:
        """Return the environment variables that pass these settings to the service (`merit.serving.settings`).

        Quotes and dollar signs are escaped, because Containerfiles and shells interpret them.
        """
        settings = self.model_dump_json()
        return {"MERIT_SERVE": settings.replace("'", "\\u0027").replace("$", "\\u0024")}
