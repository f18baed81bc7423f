"""A package as a model of MLflow's: with an MLmodel beside it, `mlflow.pyfunc.load_model` gives the endpoint's answers.

The folder is MLflow's, and the package lies in it as it is: no pickle, and no second copy of its numbers.
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
"""The artifact of a run that a version's source names."""
PACKAGE = f"{FOLDER}/package"
MLMODEL = "MLmodel"
ORIGIN = "origin.json"
"""What answers say of where they come from: `{version, commit}`."""
LOADER = "merit.serving.mlmodel"
EXAMPLE = "input_example.json"
LIBRARIES = ("mlflow", "msgspec", "numpy", "onnxruntime", "pandas")
"""What the loader needs, in the versions that wrote the model."""
ANY = "any"
TYPES = {"string": "string", "boolean": "boolean", "integer": "long"}
"""MLflow's types. Others are "any", or MLflow itself would refuse whole numbers for a `number`, and read a time in a
format of its own; merit reads each column as it is declared."""


def write(package: Path, folder: Path, *, version: str | None, commit: str | None) -> None:
    """Make a folder of MLflow's around a package.

    Args:
        package: the folder of the package; it is copied, unless it lies there already.
        folder: where to.
        version: what answers call it; None for its digest.
        commit: what answers name, where it is known.
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
    """Return the text of `ORIGIN`."""
    return json.dumps({"version": version, "commit": commit}) + "\n"


def columns(inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return columns as MLflow's signatures have them.

    Args:
        inputs: each with its `name`, its `type` and whether it is `nullable`, as the signature of a package has them.
    """
    return [
        {"name": each["name"], "type": _type(each["type"], each["nullable"]), "required": not each["nullable"]}
        for each in inputs
    ]


def _type(kind: str, nullable: bool) -> str:
    # Pandas has no whole numbers of which some are missing: they come as float64.
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
    """Return the columns of an answer."""
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
