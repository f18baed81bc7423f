"""Wraps a package in MLflow's model format, so that `mlflow.pyfunc.load_model` predicts as the endpoint does.

The package is a subfolder of MLflow's model folder, unchanged: no pickle, and no second copy of the weights.
"""

import importlib.metadata
import json
import platform
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from merit import __version__, artifacts

FOLDER = artifacts.PACKAGE.name
"""The artifact path of the model in a run, to which a version's source points."""
PACKAGE = f"{FOLDER}/package"
MLMODEL = "MLmodel"
ORIGIN = "origin.json"
"""The file with the origin that predictions name: `{version, commit}`."""
LOADER = "merit.serving.mlmodel"
EXAMPLE = "input_example.json"
LIBRARIES = ("mlflow", "msgspec", "numpy", "onnxruntime", "pandas")
"""The loader's requirements, pinned to the versions that wrote the model."""
ANY = "any"
TYPES = {"string": "string", "boolean": "boolean", "integer": "long"}
"""MLflow's type of each column type. All others are "any": MLflow would refuse integers for a `number`, and parse times
in a format of its own, while merit parses each column as it is declared."""


def write(package: Path, folder: Path, *, version: str | None, commit: str | None) -> None:
    """Write an MLflow model folder around a package.

    Args:
        package: the package's folder; it is copied, unless it is already in its place in `folder`.
        folder: the model folder to write.
        version: the version that predictions name; None to use the package's digest.
        commit: the commit that predictions name; None if it is unknown.
    """
    place = folder / Path(PACKAGE).name
    if package != place:
        shutil.copytree(package, place)
    signature = artifacts.read_json(place / artifacts.SIGNATURE, "package")
    requirements = [f"merit-ml=={__version__}", *(f"{n}=={importlib.metadata.version(n)}" for n in LIBRARIES)]
    python, pip = platform.python_version(), ["pip", "setuptools", "wheel"]
    conda = {"channels": ["conda-forge"], "dependencies": [f"python={python}", "pip", {"pip": requirements}]}
    texts = {
        MLMODEL: _yaml(_model(signature, python)),
        "requirements.txt": "".join(f"{each}\n" for each in requirements),
        "python_env.yaml": _yaml(
            {"python": python, "build_dependencies": pip, "dependencies": ["-r requirements.txt"]}
        ),
        "conda.yaml": _yaml({"name": "mlflow-env", **conda}),
        EXAMPLE: json.dumps(_split(signature["example"])),
        "serving_input_example.json": json.dumps({"dataframe_split": _split(signature["example"])}),
        ORIGIN: origin(version, commit),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def origin(version: str | None, commit: str | None) -> str:
    """Return the content of the file `ORIGIN`."""
    return json.dumps({"version": version, "commit": commit}) + "\n"


def columns(inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return columns in the format of MLflow's signatures.

    Args:
        inputs: columns of a package's signature, each with `name`, `type` and `nullable`.
    """
    return [
        {"name": each["name"], "type": _type(each["type"], each["nullable"]), "required": not each["nullable"]}
        for each in inputs
    ]


def _type(kind: str, nullable: bool) -> str:
    # pandas has no default integer type with missing values: such columns arrive as float64.
    return ANY if nullable and kind == "integer" else TYPES.get(kind, ANY)


def _model(signature: Mapping[str, Any], python: str) -> dict[str, Any]:
    loader = {"loader_module": LOADER, "python_version": python}
    env = {"conda": "conda.yaml", "virtualenv": "python_env.yaml"}
    described = {
        "inputs": json.dumps(columns(signature["inputs"])),
        "outputs": json.dumps(_outputs(signature["outputs"][0])),
        "params": None,
    }
    return {
        "flavors": {"python_function": {**loader, "env": env}},
        "mlflow_version": importlib.metadata.version("mlflow"),
        "saved_input_example_info": {
            "artifact_path": EXAMPLE,
            "serving_input_path": "serving_input_example.json",
            "type": "dataframe",
            "pandas_orient": "split",
        },
        "signature": described,
    }


def _outputs(output: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the columns of a prediction in the format of MLflow's signatures."""
    classes = output.get("classes")
    kind = "float" if classes is None else "string" if isinstance(classes[0], str) else "long"
    found = [{"name": output["name"], "type": kind, "required": True}]
    if classes is not None:
        found.append({"name": "probabilities", "type": "array", "items": {"type": "double"}, "required": True})
    return found + [{"name": name, "type": "string", "required": True} for name in ("model", "version", "commit")]


def _split(example: Mapping[str, Any]) -> dict[str, Any]:
    return {"columns": list(example), "data": [list(example.values())]}


def _yaml(values: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=1_000_000))
