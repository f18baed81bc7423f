"""The parts of the handler, put together by the settings."""

import os
from collections.abc import Callable

from merit.serving import auth, predictionlog, telemetry
from merit.serving.access import Lines
from merit.serving.answers import Answers
from merit.serving.asgi import App
from merit.serving.counts import shared_folder
from merit.serving.feedback import Feedback
from merit.serving.handler import Handler, Make
from merit.serving.metrics import Metrics
from merit.serving.settings import Settings


def assembled(answers: Answers, told: Settings) -> Make:
    """Return what makes the handler; who may ask is settled now, so that what is wrong there is told at once.

    Raises:
        MeritError: the settings would open it to anybody, or name what isn't there.
    """
    admits = auth.of(told.auth, auth.listens_on(told), told.workers)
    predictionlog.check(told.log, answers.package)
    telemetry.check(told.telemetry)

    def make(elsewhere: App | None, more_metrics: Callable[[], bytes] = bytes) -> Handler:
        worker = str(os.getpid())
        log = predictionlog.of(told.log, answers.package, answers.origin["version"], worker)
        folder = shared_folder() if told.workers > 1 else None
        metrics = Metrics(answers.origin, answers.package.output["task"], answers.classes, folder)
        feedback = Feedback(told.log, answers.package, worker, told.max_rows)
        traces = telemetry.of(told.telemetry, answers.origin)
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
