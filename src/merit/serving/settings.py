"""Defines the serving settings and reads them from the environment: images contain neither conf/ nor its schema."""

import os
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from merit.errors import MeritError
from merit.prediction_log.settings import PredictionLog

SETTINGS_VARIABLE = "MERIT_SERVE"
"""Environment variable with the section `serve` of the lock, as JSON; omitted keys have the defaults below."""

Positive = Annotated[int, Meta(gt=0)]


class AuthSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Authentication; see conf/serve."""

    method: Literal["none", "keys", "jwt", "proxy"] = "none"
    keys: str | None = None
    jwks: str | None = None
    issuer: str | None = None
    audience: str | None = None


class TelemetrySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """OpenTelemetry; see conf/serve."""

    endpoint: str | None = None
    sample: Annotated[float, Meta(ge=0, le=1)] = 0.01


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The section `serve`; a test compares the fields with the schema in merit.config."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535)] = 3000
    workers: Positive = 1
    max_rows: Positive = 10_000
    max_bytes: Positive = 10_000_000
    timeout_seconds: Positive = 10
    max_concurrent: Positive = 128
    max_connections: Positive = 12_000
    access_log: bool = False
    auth: AuthSettings = AuthSettings()
    log: PredictionLog = PredictionLog()
    telemetry: TelemetrySettings = TelemetrySettings()


def load_settings() -> Settings:
    """Read the settings from MERIT_SERVE.

    Raises:
        MeritError: the value is not JSON, has an unknown key or a value of another type, or is out of range.
    """
    text = os.environ.get(SETTINGS_VARIABLE, "{}")
    try:
        return msgspec.json.decode(text, type=Settings)
    except (msgspec.DecodeError, UnicodeError) as error:
        text = " ".join(str(error).split())
        raise MeritError(f"{SETTINGS_VARIABLE}: {text}; give the section serve of params.yaml as JSON") from error
