"""The settings of the prediction log, as the section `serve.log` of the lock has them."""

from typing import Annotated

import msgspec
from msgspec import Meta

Positive = Annotated[int, Meta(gt=0)]


class PredictionLog(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Prediction log; see conf/serve."""

    folder: str | None = None
    leave_out: list[str] = []
    hashed: list[str] = []
    queue: Positive = 10_000
    seconds: Annotated[float, Meta(gt=0)] = 10.0
    max_mb: Positive = 1024
    max_days: Positive = 90
