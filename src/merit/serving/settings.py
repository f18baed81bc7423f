"""What the service is told by its environment. Inside an image there is neither conf/ nor its schema."""

import os
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from merit.errors import MeritError
from merit.prediction_log.settings import PredictionLog

SETTINGS = "MERIT_SERVE"
"""The section `serve` of the lock, as JSON; what it leaves out is as here."""

Positive = Annotated[int, Meta(gt=0)]


class Auth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may ask; see conf/serve."""

    method: Literal["none", "keys", "jwt", "proxy"] = "none"
    keys: str | None = None
    jwks: str | None = None
    issuer: str | None = None
    audience: str | None = None


class Telemetry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """OpenTelemetry; see conf/serve."""

    endpoint: str | None = None
    sample: Annotated[float, Meta(ge=0, le=1)] = 0.01


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The section `serve`; a test holds the fields against its schema."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535)] = 3000
    workers: Positive = 1
    max_rows: Positive = 10_000
    max_bytes: Positive = 10_000_000
    timeout_seconds: Positive = 10
    max_concurrent: Positive = 128
    max_connections: Positive = 12_000
    access_log: bool = False
    auth: Auth = Auth()
    log: PredictionLog = PredictionLog()
    telemetry: Telemetry = Telemetry()


def read() -> Settings:
    """Return the settings in MERIT_SERVE.

    Raises:
        MeritError: they are no JSON, none of these, or out of bounds.
    """
    told = os.environ.get(SETTINGS, "{}")
    try:
        return msgspec.json.decode(told, type=Settings)
    except (msgspec.DecodeError, UnicodeError) as error:
        told = " ".join(str(error).split())
        raise MeritError(f"{SETTINGS}: {told}; give the section serve of params.yaml as JSON") from error
