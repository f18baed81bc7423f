"""BentoML as its tutorial shows it: a service with API methods, the model in PyTorch. `serving.py` starts it."""

import os
import sys
from pathlib import Path

import bentoml

sys.path.insert(0, str(Path(__file__).parent))
from peers import by_torch, row_model

Row = row_model()


@bentoml.service
class Tutorial:
    """Answers a row, or a list of rows."""

    def __init__(self) -> None:
        self.score = by_torch(Path(os.environ["PEERS"]))

    @bentoml.api
    def predict(self, row: Row) -> float:  # type: ignore[valid-type]
        """Return the probability."""
        return self.score([row.model_dump()])[0]  # type: ignore[attr-defined]

    @bentoml.api
    def predict_rows(self, rows: list[Row]) -> list[float]:  # type: ignore[valid-type]
        """Return the probability of each."""
        return self.score([row.model_dump() for row in rows])  # type: ignore[attr-defined]
