"""Describes the origin of an MLflow run in the fields that MLflow's UI shows: source, dataset, description."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from merit import artifacts, git
from merit.console.masking import mask_secrets
from merit.mlflow import model

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

MAX_DIGEST_CHARACTERS = 36
MAX_SCHEMA_CHARACTERS, MAX_SOURCE_CHARACTERS = 1_000_000, 65_000
"""The most characters that MLflow accepts for a dataset's schema and source."""


def build_tags(commit: str | None, entry_point: str, description: str) -> dict[str, str]:
    """Return the tags of a run for its code and its description.

    Args:
        commit: the commit that was checked out; None if there was none.
        entry_point: the command that started the run.
        description: the run's description in Markdown.
    """
    origin = git.run_git("remote", "get-url", git.ORIGIN) if git.has_origin() else None
    repository_tag = {} if origin is None else {"mlflow.source.git.repoURL": mask_secrets(origin.strip())}
    base_tags = {
        "mlflow.source.type": "PROJECT",
        "mlflow.source.name": repository_tag.get("mlflow.source.git.repoURL", Path.cwd().name),
        "mlflow.project.entryPoint": entry_point,
        "mlflow.note.content": description,
    }
    return base_tags | repository_tag | ({} if commit is None else {"mlflow.source.git.commit": commit})


def build_dataset(params: Mapping[str, Any]) -> "DatasetInput":
    """Return a run's dataset for MLflow: the model's name, the source, its fingerprint, and the columns.

    Args:
        params: the content of its params.yaml, of the current or an older schema.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data = params["data"]
    location = {"uri": data["source"]["path"]} if "path" in data["source"] else {}
    source = json.dumps({**location, **data["source"], "fingerprint": data["fingerprint"]})
    columns = [
        {"name": name, "type": column["type"], "nullable": column.get("missing", 0) > 0}
        for name, column in data["columns"].items()
    ]
    schema = json.dumps({"mlflow_colspec": model.convert_columns(columns)})
    mlflow_dataset = Dataset(
        name=params["name"],
        digest=data["fingerprint"].removeprefix("sha256:")[:MAX_DIGEST_CHARACTERS],
        source_type="local" if location else "merit",
        source=source if len(source) < MAX_SOURCE_CHARACTERS else json.dumps({"fingerprint": data["fingerprint"]}),
        schema=schema if len(schema) < MAX_SCHEMA_CHARACTERS else None,
    )
    return DatasetInput(mlflow_dataset, [InputTag("mlflow.data.context", "train")])


def describe_run(params: Mapping[str, Any], *, version: str | None = None) -> str:
    """Return the description of a run or a version in Markdown: network, task, target, data."""
    network = params["model"]["_target_"].rpartition(".")[2]
    headline = (
        f"**{version or params['name']}**: {network}, {params['data']['target']['task']}: "
        f"`{params['data']['target']['sql']}`"
    )
    return (
        f"{headline}\n\nThe whole configuration is the artifact `{artifacts.LOCK}`; the data is "
        f"`{params['data']['fingerprint']}`."
    )
