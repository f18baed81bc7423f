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
from merit.errors import MeritError
from merit.process.lifetime import ENDS_WITH_PARENT, end_with_parent
from merit.scoring.package import Package
from merit.serving import settings
from merit.serving.app import hot_route
from merit.serving.app.answers import Answers
from merit.serving.app.assembly import assembled
from merit.serving.app.handler import PREDICT
from merit.serving.app.openapi import body_schema
from merit.serving.app.rows import BadRows
from merit.signing import verification

if ENDS_WITH_PARENT in os.environ:
    end_with_parent(int(os.environ[ENDS_WITH_PARENT]))
folder = Path(os.environ.get("MERIT_PACKAGE", artifacts.PACKAGE))
try:
    verification.check(folder)
    package = Package.load(folder)  # checks every file against the manifest
    told = settings.read()
    answers = Answers(package, os.environ.get("MERIT_VERSION", package.digest), told.max_rows)
    make = assembled(answers, told)
except MeritError as error:  # BentoML imports this module and would print a traceback
    print(f"error: {error}", file=sys.stderr)
    sys.exit(error.exit_code)
Body = Annotated[Any, WithJsonSchema(body_schema(package, told.max_rows))]


@bentoml.service(
    name=package.manifest["model"],
    workers=told.workers,
    traffic={"timeout": told.timeout_seconds},
    logging={"access": {"enabled": False}},
    **hot_route.options(make, told),
)
class Predictor:
    """Predicts rows; every response contains the version and commit of the model."""

    @bentoml.api(route=PREDICT)  # type: ignore[untyped-decorator]  # bentoml has no types
    def predict(self, body: Body, /) -> dict[str, Any]:
        """Return `predictions`, one per row in order, with the model's name, version and commit.

        HTTP requests are answered by the handler before they reach this method; it documents the route and serves calls
        within BentoML's own process.
        """
        try:
            return answers.answer(msgspec.json.encode(body))
        except BadRows as error:
            raise InvalidArgument(str(error)) from error


if not hot_route.is_offered():
    Predictor.add_asgi_middleware(hot_route.Middleware, make=make, told=told)  # type: ignore[attr-defined]  # the decorator makes it a Service
