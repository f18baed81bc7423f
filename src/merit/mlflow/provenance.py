"""Describes the origin of an MLflow run in the fields that MLflow's UI shows: source, dataset, description."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from merit import artifacts, git
from merit.console.masking import masked
from merit.mlflow import model

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

LONGEST_DIGEST = 36
MOST_SCHEMA, MOST_SOURCE = 1_000_000, 65_000
"""The most characters that MLflow accepts for a dataset's schema and source."""


def tags(commit: str | None, entry_point: str, description: str) -> dict[str, str]:
    """Return the tags of a run for its code and its description.

    Args:
        commit: the commit that was checked out; None if there was none.
        entry_point: the command that started the run.
        description: the run's description in Markdown.
    """
    origin = git.git("remote", "get-url", git.ORIGIN) if git.has_origin() else None
    url = {} if origin is None else {"mlflow.source.git.repoURL": masked(origin.strip())}
    named = {
        "mlflow.source.type": "PROJECT",
        "mlflow.source.name": url.get("mlflow.source.git.repoURL", Path.cwd().name),
        "mlflow.project.entryPoint": entry_point,
        "mlflow.note.content": description,
    }
    return named | url | ({} if commit is None else {"mlflow.source.git.commit": commit})


def dataset(lock: Mapping[str, Any]) -> "DatasetInput":
    """Return a run's dataset for MLflow: the model's name, the source, its fingerprint, and the columns.

    Args:
        lock: the content of its params.yaml, of the current or an older schema.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data = lock["data"]
    where = {"uri": data["source"]["path"]} if "path" in data["source"] else {}
    source = json.dumps({**where, **data["source"], "fingerprint": data["fingerprint"]})
    described = [
        {"name": name, "type": column["type"], "nullable": column.get("missing", 0) > 0}
        for name, column in data["columns"].items()
    ]
    schema = json.dumps({"mlflow_colspec": model.columns(described)})
    made = Dataset(
        name=lock["name"],
        digest=data["fingerprint"].removeprefix("sha256:")[:LONGEST_DIGEST],
        source_type="local" if where else "merit",
        source=source if len(source) < MOST_SOURCE else json.dumps({"fingerprint": data["fingerprint"]}),
        schema=schema if len(schema) < MOST_SCHEMA else None,
    )
    return DatasetInput(made, [InputTag("mlflow.data.context", "train")])


def description(lock: Mapping[str, Any], *, version: str | None = None) -> str:
    """Return the description of a run or a version in Markdown: network, task, target, data."""
    network = lock["model"]["_target_"].rpartition(".")[2]
    what = (
        f"**{version or lock['name']}**: {network}, {lock['data']['target']['task']}: `{lock['data']['target']['sql']}`"
    )
    return (
        f"{what}\n\nThe whole configuration is the artifact `{artifacts.LOCK}`; the data is "
        f"`{lock['data']['fingerprint']}`."
    )
