"""The schema of conf/serve: the endpoint's address, limits, authentication, prediction log and telemetry.

The fields are declared in `merit.scoring.serve_fields`, from which the endpoint's settings derive too.
"""

from pydantic import model_validator

from merit.config.schema.base import Section
from merit.scoring.serve_fields import AuthFields, PredictionLogFields, ServeFields, TelemetryFields


class Auth(AuthFields, Section):
    """conf/serve, `auth`: how requests are authenticated."""

    @model_validator(mode="after")
    def _check_method_keys(self) -> "Auth":
        if self.method == "keys" and self.keys is None:
            raise ValueError("method is keys, so keys must name the file of the keys' hashes")
        if self.method == "jwt" and (self.jwks is None or self.issuer is None or self.audience is None):
            raise ValueError("method is jwt, so jwks, issuer and audience must say whose tokens count")
        return self


class PredictionLog(PredictionLogFields, Section):
    """conf/serve, `log`: the prediction log."""


class Telemetry(TelemetryFields, Section):
    """conf/serve, `telemetry`: OpenTelemetry traces."""


class Serve(ServeFields, Section):
    """conf/serve: the endpoint's address and limits."""

    auth: Auth = Auth()
    log: PredictionLog = PredictionLog()
    telemetry: Telemetry = Telemetry()

    def to_environment_variables(self) -> dict[str, str]:
        """Return the environment variables that pass these settings to the service (`merit.serving.settings`).

        Quotes and dollar signs are escaped, because Containerfiles and shells interpret them.
        """
        settings = self.model_dump_json()
        return {"MERIT_SERVE": settings.replace("'", "\\u0027").replace("$", "\\u0024")}
