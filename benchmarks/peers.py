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
Score = Callable[[list[Row]], list[float]]

ROOT = Path(__file__).resolve().parents[1]

MLFLOW = """
import sys

import mlflow

sys.path.insert(0, {here!r})
import peers

class Model(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        self.score = peers.{by}(context.artifacts)

    def predict(self, context, model_input, params=None):
        return self.score(model_input)

mlflow.models.set_model(Model())
"""


def prepare(folder: Path) -> None:
    """Put there what the peers read: the vocabularies and scales that one keeps by hand, and MLflow's model."""
    import mlflow
    import polars as pl

    from merit import artifacts
    from merit.config import lock as locks
    from merit.data.split import split_table

    lock = locks.read_lock()
    rows = split_table(artifacts.read_table(artifacts.RAW, "ingest"), lock.data)["train"]
    columns: list[Row] = []
    for name, column in lock.data.columns.items():
        known = rows[name].drop_nulls()
        if column.feature == "category":
            counts = known.value_counts().filter(pl.col("count") >= lock.features.category.min_count)
            columns.append({"name": name, "values": counts[name].sort().to_list()})
        elif column.feature == "number":
            scale = {"mean": known.mean(), "deviation": known.std(ddof=0), "clip": lock.features.number.clip}
            columns.append({"name": name, "flagged": column.missing > 0, **scale})
    (folder / "columns.json").write_text(json.dumps(columns), encoding="utf-8")
    signature = mlflow.models.infer_signature(
        _frame(artifacts.read_json(artifacts.PACKAGE / "signature.json", "package"))
    )
    told = {"columns": str(folder / "columns.json"), "package": str(artifacts.PACKAGE.absolute())}
    for by, place in {"frames_by_torch": "mlflow", "frames_by_onnx": "mlflow-onnx"}.items():
        code = folder / f"{place}.py"
        code.write_text(MLFLOW.format(here=str(Path(__file__).parent), by=by), encoding="utf-8")
        mlflow.pyfunc.save_model(folder / place, python_model=str(code), artifacts=told, signature=signature)


def _frame(signature: dict[str, Any]) -> Any:
    """Return the example as MLflow infers a signature of it: numbers are floats, for of most some may be missing."""
    import pandas as pd

    texts = {each["name"] for each in signature["inputs"] if each["type"] == "string"}
    frame = pd.DataFrame([signature["example"]])
    return frame.astype({name: "float64" for name in frame.columns if name not in texts})


def frames_by_torch(told: dict[str, str]) -> Callable[[Any], Any]:
    """Return what scores a pandas frame: lookups and scales in pandas, then the network in PyTorch."""
    import torch

    from merit.config import lock as locks
    from merit.models import build

    os.chdir(ROOT)
    columns = json.loads(Path(told["columns"]).read_text(encoding="utf-8"))
    vocabularies = {each["name"]: {value: n + 1 for n, value in enumerate(each["values"])}
                    for each in columns if "values" in each}  # fmt: skip
    scales = [each for each in columns if "values" not in each]
    trained = build.load_trained(locks.read_lock())
    trained.network.eval()

    def score(frame: Any) -> Any:
        codes = [frame[name].map(known).fillna(0).to_numpy(np.int64) for name, known in vocabularies.items()]
        numbers: list[Any] = []
        for each in scales:
            values = frame[each["name"]]
            scaled = ((values - each["mean"]) / each["deviation"]).fillna(0.0).clip(-each["clip"], each["clip"])
            numbers.append(scaled.to_numpy(np.float32))
            if each["flagged"]:
                numbers.append(values.isna().to_numpy(np.float32))
        with torch.inference_mode():
            outputs = trained.network(torch.tensor(np.stack(codes, axis=1)), torch.tensor(np.stack(numbers, axis=1)))
            return trained.to_predictions(outputs).numpy()

    return score


def frames_by_onnx(told: dict[str, str]) -> Callable[[Any], Any]:
    """Return what scores a pandas frame by the package's graph in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(Path(told["package"]) / "model.onnx"), options)

    def score(frame: Any) -> Any:
        columns = {}
        for each in session.get_inputs():
            values = frame[each.name]
            is_text = each.type == "tensor(string)"
            columns[each.name] = values.fillna("").to_numpy(object) if is_text else values.to_numpy(np.float64)
        return session.run(None, columns)[0]

    return score


def by_torch(folder: Path) -> Score:
    """Return what scores rows by hand: lookups and scales in Python, then the network in PyTorch, eager."""
    import torch

    from merit.config import lock as locks
    from merit.models import build

    os.chdir(ROOT)  # some servers start elsewhere
    torch.set_num_threads(1)
    columns = json.loads((folder / "columns.json").read_text(encoding="utf-8"))
    vocabularies = {each["name"]: {value: n + 1 for n, value in enumerate(each["values"])}
                    for each in columns if "values" in each}  # fmt: skip
    scales = [each for each in columns if "values" not in each]
    trained = build.load_trained(locks.read_lock())
    trained.network.eval()

    def scaled(row: Row) -> list[float]:
        numbers: list[float] = []
        for each in scales:
            value = row.get(each["name"])
            number = 0.0 if value is None else (value - each["mean"]) / each["deviation"]
            numbers.append(min(max(number, -each["clip"]), each["clip"]))
            if each["flagged"]:
                numbers.append(float(value is None))
        return numbers

    def score(rows: list[Row]) -> list[float]:
        codes = [[known.get(row[name], 0) for name, known in vocabularies.items()] for row in rows]
        with torch.inference_mode():
            outputs = trained.network(torch.tensor(codes), torch.tensor([scaled(row) for row in rows]))
            return [float(each) for each in trained.to_predictions(outputs)]

    return score


def by_onnx(_: Path) -> Score:
    """Return what scores rows by the package's graph in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(ROOT / "model/model.onnx"), options)
    kinds = {each.name: each.type == "tensor(string)" for each in session.get_inputs()}

    def score(rows: list[Row]) -> list[float]:
        columns = {}
        for name, is_text in kinds.items():
            values = [row.get(name) for row in rows]
            if is_text:
                columns[name] = np.array([value or "" for value in values], dtype=object)
            else:
                columns[name] = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
        return [float(each) for each in session.run(None, columns)[0]]

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
    """Serve by FastAPI and uvicorn, one worker: a row at /predict, a list of rows at /rows."""
    import uvicorn
    from fastapi import FastAPI

    app, model = FastAPI(), row_model()

    async def predict(row: Any) -> dict[str, float]:
        return {"prediction": score([row.model_dump()])[0]}

    async def predict_rows(rows: Any) -> dict[str, list[float]]:
        return {"predictions": score([row.model_dump() for row in rows])}

    predict.__annotations__["row"] = model
    predict_rows.__annotations__["rows"] = list[model]
    app.post("/predict")(predict)
    app.post("/rows")(predict_rows)
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
