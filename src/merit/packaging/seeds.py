"""Exports the networks of the stage seeds as graphs from raw columns, so that any commit's code can score them."""

from pathlib import Path

from merit import artifacts
from merit.config.schema import Lock
from merit.models import build
from merit.packaging import graph


def export_seed(lock: Lock, weights: Path, path: Path) -> None:
    """Write the graph of the network with other weights, as `package` writes that of the packaged one.

    Raises:
        MeritError: the weights don't fit the network, or torch can't export it.
    """
    flags = artifacts.read_json(artifacts.FEATURES_REPORT, "features").get("flags", [])
    joined = graph.join_graphs(build.load_trained(lock, weights), build.read_part("test"), flags)
    path.write_bytes(joined.SerializeToString(deterministic=True))
