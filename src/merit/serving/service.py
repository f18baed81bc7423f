"""Defines the BentoML service for the package in MERIT_PACKAGE (default: model/)."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import bentoml
import msgspec
from bentoml.exceptions import InvalidArgument
from pydantic import WithJsonSchema

from merit import artifacts
from merit.console import logging
from merit.errors import MeritError
from merit.process.lifetime import PARENT_PID_VARIABLE, end_with_parent
from merit.scoring.package import Package
from merit.serving import bentoml_adapter, settings
from merit.serving.app import bentoml_app
from merit.serving.app.handler import PREDICT_ROUTE
from merit.serving.app.handler_factory import build_handler_factory
from merit.serving.app.openapi import build_body_schema
from merit.serving.app.row_values import BadRows
from merit.serving.app.served_model import ServedModel
from merit.signing import verification

if PARENT_PID_VARIABLE in os.environ:
    end_with_parent(int(os.environ[PARENT_PID_VARIABLE]))
logging.configure(**logging.read_environment())
package_folder = Path(os.environ.get("MERIT_PACKAGE", artifacts.PACKAGE))
try:
    verification.check_package(package_folder)
    package = Package.load(package_folder)  # checks every file against the manifest
    serve_settings = settings.load_settings()
    model = ServedModel(package, os.environ.get("MERIT_VERSION", package.digest), serve_settings.max_rows)
    handler_factory = build_handler_factory(model, serve_settings)
except MeritError as error:  # BentoML imports this module and would print a traceback
    logging.logger.error("%s", error)
    sys.exit(error.exit_code)
Body = Annotated[Any, WithJsonSchema(build_body_schema(package, serve_settings.max_rows))]


@bentoml.service(
    name=package.manifest["model"],
    workers=serve_settings.workers,
    traffic={"timeout": serve_settings.timeout_seconds},
    logging={"access": {"enabled": False}},
    **bentoml_app.build_service_options(handler_factory, serve_settings),
)
class Predictor:
    """Predicts rows; every response contains the version and commit of the model."""

    @bentoml.api(route=PREDICT_ROUTE)  # type: ignore[untyped-decorator]  # bentoml has no types
    def predict(self, body: Body, /) -> dict[str, Any]:
        """Return `predictions`, one per row in order, with the model's name, version and commit.

        HTTP requests are answered by the handler before they reach this method; it documents the route and serves calls
        within BentoML's own process.
        """
        try:
            return model.predict(msgspec.json.encode(body))
        except BadRows as error:
            raise InvalidArgument(str(error)) from error


if not bentoml_adapter.supports_service_class():
    Predictor.add_asgi_middleware(  # type: ignore[attr-defined]  # the decorator makes it a Service
        bentoml_app.HandlerMiddleware, handler_factory=handler_factory, settings=serve_settings
    )
