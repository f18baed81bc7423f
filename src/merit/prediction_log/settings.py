"""The settings of the prediction log, as the section `serve.log` of the lock has them."""

from typing import TYPE_CHECKING

from merit.scoring.serve_fields import PredictionLogFields, define_struct

if TYPE_CHECKING:
    PredictionLog = PredictionLogFields
else:
    PredictionLog = define_struct("PredictionLog", PredictionLogFields)
