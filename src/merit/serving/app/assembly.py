"""The parts of the handler, put together by the settings."""

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
    """Return what makes the handler; who may ask is settled now, so that what is wrong there is told at once.

    Raises:
        MeritError: the settings would open it to anybody, or name what isn't there.
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
