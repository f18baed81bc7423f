"""Builds the request handler and its components from the settings."""

import os
from collections.abc import Callable

from merit.console.json_log import Lines
from merit.prediction_log import log as predictionlog
from merit.serving.app.answers import Answers
from merit.serving.app.asgi import App
from merit.serving.app.feedback import Feedback
from merit.serving.app.handler import Handler, Make
from merit.serving.auth import methods
from merit.serving.observability import tracing
from merit.serving.observability.counts import shared_folder
from merit.serving.observability.metrics import Metrics
from merit.serving.settings import Settings


def assembled(answers: Answers, told: Settings) -> Make:
    """Return a factory for the handler; settings are checked now, so that invalid ones fail before the server starts.

    Raises:
        MeritError: the settings expose the service without authentication, or name something that doesn't exist.
    """
    admits = methods.of(told.auth, methods.listens_on(told), told.workers)
    predictionlog.check(told.log, answers.package)
    tracing.check(told.telemetry)

    def make(elsewhere: App | None, more_metrics: Callable[[], bytes] = bytes) -> Handler:
        worker = str(os.getpid())
        log = predictionlog.of(told.log, answers.package, answers.origin["version"], worker)
        folder = shared_folder() if told.workers > 1 else None
        metrics = Metrics(answers.origin, answers.package.output["task"], answers.classes, folder)
        feedback = Feedback(told.log, answers.package, worker, told.max_rows)
        traces = tracing.of(told.telemetry, answers.origin)
        lines = Lines(model=answers.origin["model"], version=answers.origin["version"])
        return Handler(
            answers,
            told,
            auth=admits,
            log=log,
            metrics=metrics,
            lines=lines,
            feedback=feedback,
            telemetry=traces,
            elsewhere=elsewhere,
            more_metrics=more_metrics,
        )

    return make
