"""What the service is told by its environment. Inside an image there is neither conf/ nor its schema."""

import os

import msgspec

from merit.errors import MeritError

SETTINGS = "MERIT_SERVE"
"""The section `serve` of the lock, as JSON; what it leaves out is as here."""


class Auth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may ask; see conf/serve."""

    method: str = "none"
    keys: str | None = None
    jwks: str | None = None
    issuer: str | None = None
    audience: str | None = None


class PredictionLog(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is remembered of each prediction; see conf/serve."""

    folder: str | None = None
    leave_out: list[str] = []
    hashed: list[str] = []
    queue: int = 10_000
    seconds: float = 10.0
    max_mb: int = 1024
    max_days: int = 90


class Telemetry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """OpenTelemetry; see conf/serve."""

    endpoint: str | None = None
    sample: float = 0.01


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The section `serve`; a test holds the fields against its schema."""

    host: str = "127.0.0.1"
    port: int = 3000
    workers: int = 1
    max_rows: int = 10_000
    max_bytes: int = 10_000_000
    timeout_seconds: int = 10
    max_concurrent: int = 128
    max_connections: int = 12_000
    access_log: bool = False
    auth: Auth = Auth()
    log: PredictionLog = PredictionLog()
    telemetry: Telemetry = Telemetry()


def read() -> Settings:
    """Return the settings in MERIT_SERVE.

    Raises:
        MeritError: they are no JSON, or none of these.
    """
    told = os.environ.get(SETTINGS, "{}")
    try:
        return msgspec.json.decode(told, type=Settings)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise MeritError(f"{SETTINGS}: {error}; give the section serve of params.yaml as JSON") from error
