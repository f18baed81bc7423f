"""LitServe as its documentation shows it, with ONNX Runtime. `serving.py` starts it: python benchmarks/lit.py PORT."""

import sys
from pathlib import Path
from typing import Any

import litserve
from peers import by_onnx


class Api(litserve.LitAPI):  # type: ignore[misc]  # it has no types
    """Answers a row."""

    def setup(self, device: str) -> None:
        """Load the model, in the worker's process."""
        self.score = by_onnx(Path())

    def decode_request(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the row."""
        return request

    def predict(self, x: dict[str, Any]) -> float:
        """Return the probability."""
        return self.score(x)

    def encode_response(self, output: float) -> dict[str, float]:
        """Return the answer."""
        return {"prediction": output}


if __name__ == "__main__":
    server = litserve.LitServer(Api(), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False, log_level="warning"
    )
