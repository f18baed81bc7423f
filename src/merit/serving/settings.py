"""Reads the serving settings from the environment: images contain neither conf/ nor its schema."""

import os
from typing import TYPE_CHECKING

import msgspec

from merit.errors import MeritError
from merit.prediction_log.settings import PredictionLog
from merit.scoring.serve_fields import AuthFields, ServeFields, TelemetryFields, define_struct

SETTINGS_VARIABLE = "MERIT_SERVE"
"""Environment variable with the section `serve` of the lock, as JSON; omitted keys have the defaults below."""

STANDALONE_DEFAULTS = {
    "host": "127.0.0.1",
    "port": 3000,
    "workers": 1,
    "max_rows": 10_000,
    "max_bytes": 10_000_000,
    "timeout_seconds": 10,
}
"""Defaults of what conf/serve must say, for an image that is started without MERIT_SERVE."""

if TYPE_CHECKING:
    AuthSettings = AuthFields
    TelemetrySettings = TelemetryFields

    class Settings(ServeFields):
        """The section `serve` of the lock."""

        auth: AuthSettings
        log: PredictionLog
        telemetry: TelemetrySettings
else:
    AuthSettings = define_struct("AuthSettings", AuthFields)
    TelemetrySettings = define_struct("TelemetrySettings", TelemetryFields)
    Settings = define_struct(
        "Settings",
        ServeFields,
        defaults=STANDALONE_DEFAULTS,
        sections={"auth": AuthSettings, "log": PredictionLog, "telemetry": TelemetrySettings},
    )


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
