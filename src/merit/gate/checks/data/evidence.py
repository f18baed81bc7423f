"""The input of the data checks: the ingested rows, the contract's report and the champion."""

from dataclasses import dataclass
from typing import Any

from merit.config.schema import Lock
from merit.gate.champion import Champion
from merit.gate.checks.data.dataset import Dataset


@dataclass(frozen=True)
class DataEvidence:
    """The input of the data checks.

    Attributes:
        lock: the parsed params.yaml.
        dataset: the ingested rows.
        contract: the report of the `validate` stage.
        champion: the model of the target branch; None if there is none.
    """

    lock: Lock
    dataset: Dataset
    contract: dict[str, Any]
    champion: Champion | None
