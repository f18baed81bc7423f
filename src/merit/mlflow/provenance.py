"""Where a run in MLflow comes from, in the fields that its views show: source, dataset, description."""

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
"""Characters that MLflow takes."""


def tags(commit: str | None, entry_point: str, description: str) -> dict[str, str]:
    """Return the tags of a run that say which code it ran, and what it is.

    Args:
        commit: that was checked out; None before the first.
        entry_point: the command.
        description: in Markdown.
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
    """Return the data of a run: the model's name, the fingerprint of its source, the source, the columns.

    Args:
        lock: the values of its params.yaml, of this form or an older one.
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
    """Return what a run, or a version, is, for people."""
    network = lock["model"]["_target_"].rpartition(".")[2]
    what = (
        f"**{version or lock['name']}**: {network}, {lock['data']['target']['task']}: `{lock['data']['target']['sql']}`"
    )
    return (
        f"{what}\n\nThe whole configuration is the artifact `{artifacts.LOCK}`; the data is "
        f"`{lock['data']['fingerprint']}`."
    )
