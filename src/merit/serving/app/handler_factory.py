"""Builds the request handler and its components from the settings."""

import os
from collections.abc import Callable

from merit.console.json_log import RateLimitedLogger
from merit.prediction_log import log
from merit.serving.app.asgi import App
from merit.serving.app.feedback import FeedbackRecorder
from merit.serving.app.handler import Handler, HandlerFactory
from merit.serving.app.served_model import ServedModel
from merit.serving.auth import methods
from merit.serving.observability import tracing
from merit.serving.observability.metrics import RequestMetrics
from merit.serving.observability.shared_counters import create_shared_folder
from merit.serving.settings import Settings


def build_handler_factory(model: ServedModel, settings: Settings) -> HandlerFactory:
    """Return a factory for the handler; settings are checked now, so that invalid ones fail before the server starts.

    Raises:
        MeritError: the settings expose the service without authentication, or name something that doesn't exist.
    """
    authenticator = methods.from_settings(settings.auth, methods.resolve_host(settings), settings.workers)
    log.check_settings(settings.log, model.package)
    tracing.check_settings(settings.telemetry)

    def make_handler(fallback: App | None, read_extra_metrics: Callable[[], bytes] = bytes) -> Handler:
        worker_id = str(os.getpid())
        prediction_log = log.create_log(settings.log, model.package, model.origin["version"], worker_id)
        counters_folder = create_shared_folder() if settings.workers > 1 else None
        metrics = RequestMetrics(model.origin, model.package.output["task"], model.classes, counters_folder)
        feedback = FeedbackRecorder(settings.log, model.package, worker_id, settings.max_rows)
        tracer = tracing.from_settings(settings.telemetry, model.origin)
        logger = RateLimitedLogger(model=model.origin["model"], version=model.origin["version"])
        return Handler(
            model,
            settings,
            auth=authenticator,
            prediction_log=prediction_log,
            metrics=metrics,
            logger=logger,
            feedback=feedback,
            tracer=tracer,
            fallback=fallback,
            read_extra_metrics=read_extra_metrics,
        )

    return make_handler
