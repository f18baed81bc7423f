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

from merit import artifacts
from merit.version import __version__

ARTIFACT_PATH = artifacts.PACKAGE.name
"""The artifact path of the model in a run, to which a version's source points."""
PACKAGE_PATH = f"{ARTIFACT_PATH}/package"
MLMODEL_FILE = "MLmodel"
ORIGIN_FILE = "origin.json"
"""The file with the origin that predictions name: `{version, commit}`."""
LOADER_MODULE = "merit.serving.mlmodel"
EXAMPLE_FILE = "input_example.json"
REQUIRED_LIBRARIES = ("mlflow", "msgspec", "numpy", "onnxruntime", "pandas")
"""The loader's requirements, pinned to the versions that wrote the model."""
ANY_TYPE = "any"
MLFLOW_TYPES = {"string": "string", "boolean": "boolean", "integer": "long"}
"""MLflow's type of each column type. All others are "any": MLflow would refuse integers for a `number`, and parse times
in a format of its own, while merit parses each column as it is declared."""


def write_model(package: Path, folder: Path, *, version: str | None, commit: str | None) -> None:
    """Write an MLflow model folder around a package.

    Args:
        package: the package's folder; it is copied, unless it is already in its place in `folder`.
        folder: the model folder to write.
        version: the version that predictions name; None to use the package's digest.
        commit: the commit that predictions name; None if it is unknown.
    """
    target = folder / Path(PACKAGE_PATH).name
    if package != target:
        shutil.copytree(package, target)
    signature = artifacts.read_json(target / artifacts.SIGNATURE, "package")
    requirements = [f"merit-ml=={__version__}", *(f"{n}=={importlib.metadata.version(n)}" for n in REQUIRED_LIBRARIES)]
    python, pip = platform.python_version(), ["pip", "setuptools", "wheel"]
    conda = {"channels": ["conda-forge"], "dependencies": [f"python={python}", "pip", {"pip": requirements}]}
    files = {
        MLMODEL_FILE: _dump_yaml(_build_mlmodel(signature, python)),
        "requirements.txt": "".join(f"{each}\n" for each in requirements),
        "python_env.yaml": _dump_yaml(
            {"python": python, "build_dependencies": pip, "dependencies": ["-r requirements.txt"]}
        ),
        "conda.yaml": _dump_yaml({"name": "mlflow-env", **conda}),
        EXAMPLE_FILE: json.dumps(_format_split(signature["example"])),
        "serving_input_example.json": json.dumps({"dataframe_split": _format_split(signature["example"])}),
        ORIGIN_FILE: format_origin(version, commit),
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def format_origin(version: str | None, commit: str | None) -> str:
    """Return the content of the file `ORIGIN_FILE`."""
    return json.dumps({"version": version, "commit": commit}) + "\n"


def convert_columns(inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return columns in the format of MLflow's signatures.

    Args:
        inputs: columns of a package's signature, each with `name`, `type` and `nullable`.
    """
    return [
        {"name": each["name"], "type": _convert_type(each["type"], each["nullable"]), "required": not each["nullable"]}
        for each in inputs
    ]


def _convert_type(column_type: str, nullable: bool) -> str:
    # pandas has no default integer type with missing values: such columns arrive as float64.
    return ANY_TYPE if nullable and column_type == "integer" else MLFLOW_TYPES.get(column_type, ANY_TYPE)


def _build_mlmodel(signature: Mapping[str, Any], python: str) -> dict[str, Any]:
    loader = {"loader_module": LOADER_MODULE, "python_version": python}
    environments = {"conda": "conda.yaml", "virtualenv": "python_env.yaml"}
    signature_fields = {
        "inputs": json.dumps(convert_columns(signature["inputs"])),
        "outputs": json.dumps(_build_output_columns(signature["outputs"][0])),
        "params": None,
    }
    return {
        "flavors": {"python_function": {**loader, "env": environments}},
        "mlflow_version": importlib.metadata.version("mlflow"),
        "saved_input_example_info": {
            "artifact_path": EXAMPLE_FILE,
            "serving_input_path": "serving_input_example.json",
            "type": "dataframe",
            "pandas_orient": "split",
        },
        "signature": signature_fields,
    }


def _build_output_columns(output: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the columns of a prediction in the format of MLflow's signatures."""
    classes = output.get("classes")
    type_name = "float" if classes is None else "string" if isinstance(classes[0], str) else "long"
    output_columns = [{"name": output["name"], "type": type_name, "required": True}]
    if classes is not None:
        output_columns.append({"name": "probabilities", "type": "array", "items": {"type": "double"}, "required": True})
    return output_columns + [
        {"name": name, "type": "string", "required": True} for name in ("model", "version", "commit")
    ]


def _format_split(example: Mapping[str, Any]) -> dict[str, Any]:
    return {"columns": list(example), "data": [list(example.values())]}


def _dump_yaml(values: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=1_000_000))
