"""Other ways to serve the package's model, each as its own documentation shows it: what `serving.py` compares with.

Usage: python benchmarks/peers.py NAME PORT FOLDER, where FOLDER is what `prepare` has filled.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Row = dict[str, Any]
Score = Callable[[Row], float]

ROOT = Path(__file__).resolve().parents[1]

MLFLOW_MODEL = """
import json
from pathlib import Path
import mlflow
import numpy as np
import onnxruntime

class Model(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        folder = Path(context.artifacts["package"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)

    def predict(self, context, model_input, params=None):
        columns = {}
        for each in self.session.get_inputs():
            values = model_input[each.name]
            is_text = each.type == "tensor(string)"
            columns[each.name] = values.fillna("").to_numpy(object) if is_text else values.to_numpy(np.float64)
        return self.session.run(None, columns)[0]

mlflow.models.set_model(Model())
"""


def prepare(folder: Path) -> None:
    """Put there what the peers read: the vocabularies and scales that one keeps by hand, and MLflow's model."""
    import mlflow
    import polars as pl

    from merit import artifacts
    from merit.config import lock as locks
    from merit.split import split

    lock = locks.read()
    rows = split(artifacts.read_table(artifacts.RAW, "ingest"), lock.data)["train"]
    told: list[Row] = []
    for name, column in lock.data.columns.items():
        known = rows[name].drop_nulls()
        if column.feature == "category":
            counts = known.value_counts().filter(pl.col("count") >= lock.features.category.min_count)
            told.append({"name": name, "values": counts[name].sort().to_list()})
        elif column.feature == "number":
            scale = {"mean": known.mean(), "deviation": known.std(ddof=0), "clip": lock.features.number.clip}
            told.append({"name": name, "flagged": column.missing > 0, **scale})
    (folder / "columns.json").write_text(json.dumps(told), encoding="utf-8")
    (folder / "model.py").write_text(MLFLOW_MODEL, encoding="utf-8")
    package = {"package": str(artifacts.PACKAGE.absolute())}
    mlflow.pyfunc.save_model(folder / "mlflow", python_model=str(folder / "model.py"), artifacts=package)


def by_torch(folder: Path) -> Score:
    """Return what scores a row by hand: lookups and scales in Python, then the network in PyTorch, eager."""
    import torch

    from merit import network
    from merit.config import lock as locks

    os.chdir(ROOT)  # some servers start elsewhere
    torch.set_num_threads(1)
    columns = json.loads((folder / "columns.json").read_text(encoding="utf-8"))
    vocabularies = {each["name"]: {value: n + 1 for n, value in enumerate(each["values"])}
                    for each in columns if "values" in each}  # fmt: skip
    scales = [each for each in columns if "values" not in each]
    trained = network.trained(locks.read())
    trained.network.eval()

    def score(row: Row) -> float:
        codes = [[known.get(row[name], 0) for name, known in vocabularies.items()]]
        numbers: list[float] = []
        for each in scales:
            value = row.get(each["name"])
            scaled = 0.0 if value is None else (value - each["mean"]) / each["deviation"]
            numbers.append(min(max(scaled, -each["clip"]), each["clip"]))
            if each["flagged"]:
                numbers.append(float(value is None))
        with torch.inference_mode():
            outputs = trained.network(torch.tensor(codes), torch.tensor([numbers]))
            return float(trained.predicted(outputs)[0])

    return score


def by_onnx(_: Path) -> Score:
    """Return what scores a row by the package's graph in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(ROOT / "model/model.onnx"), options)
    kinds = {each.name: each.type == "tensor(string)" for each in session.get_inputs()}

    def score(row: Row) -> float:
        columns = {}
        for name, is_text in kinds.items():
            value = row.get(name)
            if is_text:
                columns[name] = np.array([value or ""], dtype=object)
            else:
                columns[name] = np.array([np.nan if value is None else value], dtype=np.float64)
        return float(session.run(None, columns)[0][0])

    return score


def row_model() -> Any:
    """Return the row as pydantic's model, made from the package's signature."""
    from pydantic import create_model

    kinds = {"string": str, "integer": int, "number": float, "boolean": bool}
    inputs = json.loads((ROOT / "model/signature.json").read_text(encoding="utf-8"))["inputs"]
    fields: Any = {
        each["name"]: (kinds[each["type"]] | None, None) if each["nullable"] else (kinds[each["type"]], ...)
        for each in inputs
    }
    return create_model("Row", **fields)


def fastapi(score: Score, port: int) -> None:
    """Serve by FastAPI and uvicorn, one worker."""
    import uvicorn
    from fastapi import FastAPI

    app, model = FastAPI(), row_model()

    async def predict(row: Any) -> dict[str, float]:
        return {"prediction": score(row.model_dump())}

    predict.__annotations__["row"] = model
    app.post("/predict")(predict)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


def bare(port: int) -> None:
    """Serve merit's handler by uvicorn alone: the floor under what BentoML adds."""
    import uvicorn

    from merit.serving import mount

    uvicorn.run(mount.app(Path("model")), host="127.0.0.1", port=port, log_level="warning", access_log=False)


def echo(port: int) -> None:
    """Serve an app that sends back what it gets: the floor under any handler."""
    import uvicorn

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = (await receive())["body"]
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": body})

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False, lifespan="off")


def main(name: str, port: int, folder: Path) -> None:
    """Serve in this process."""
    sys.path.insert(0, "src")
    serve: dict[str, Callable[[], None]] = {
        "fastapi-torch": lambda: fastapi(by_torch(folder), port),
        "fastapi-onnx": lambda: fastapi(by_onnx(folder), port),
        "bare": lambda: bare(port),
        "echo": lambda: echo(port),
    }
    serve[name]()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
