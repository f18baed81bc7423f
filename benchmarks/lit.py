"""LitServe as its documentation shows it, with ONNX Runtime. `serving.py` starts it: python benchmarks/lit.py PORT."""

import sys
from pathlib import Path
from typing import Any

import litserve
from peers import by_onnx


class Api(litserve.LitAPI):  # type: ignore[misc]  # it has no types
    """Answers a row, or a list of `rows`."""

    def setup(self, device: str) -> None:
        """Load the model, in the worker's process."""
        self.score = by_onnx(Path())

    def decode_request(self, request: dict[str, Any]) -> list[Any]:
        """Return the rows."""
        return request.get("rows", [request])

    def predict(self, x: list[Any]) -> list[float]:
        """Return the probabilities."""
        return self.score(x)

    def encode_response(self, output: list[float]) -> dict[str, list[float]]:
        """Return the answer."""
        return {"predictions": output}


if __name__ == "__main__":
    server = litserve.LitServer(Api(), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False, log_level="warning"
    )
