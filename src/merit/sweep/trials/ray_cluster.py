"""hydra/launcher=ray: runs trials as Ray tasks. All nodes must see the project's folder under the same path."""

import logging
import os
from pathlib import Path
from typing import Any

from merit.errors import MeritError


class RayCluster:
    """Runs trials on a Ray cluster.

    Args:
        address: address of the cluster's head; None starts a cluster on this machine alone.

    Raises:
        MeritError: Ray isn't installed, or the cluster can't be reached.
    """

    def __init__(self, address: str | None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
        except ModuleNotFoundError as error:
            raise MeritError("hydra/launcher: 'ray' is not installed; 'pip install merit-ml[ray]'") from error
        self._ray: Any = ray
        self._threads = 1
        self._gpu = False
        try:
            ray.init(
                address=address,
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _node_ip_address=None if address else "127.0.0.1",
            )
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            reason = " ".join(str(error).split())[:200]
            raise MeritError(
                f"hydra.launcher.address: found {address!r}, no Ray cluster answers there ({reason}); start one by "
                "'ray start --head', or leave the address out"
            ) from error

    def width(self, threads: int, *, gpu: bool) -> int:
        """Return the number of concurrent trials that the cluster has room for."""
        self._threads, self._gpu = threads, gpu
        resources = self._ray.cluster_resources()
        max_trials = max(1, int(resources.get("CPU", 1)) // threads)
        return min(max_trials, max(1, int(resources.get("GPU", 0)))) if gpu else max_trials

    def run(self, folder: Path) -> None:
        """Run a trial on any node with room; if its node dies, the trial is recorded as killed."""
        from merit.sweep.trials import supervise

        remote = self._ray.remote(num_cpus=self._threads, num_gpus=int(self._gpu), max_retries=0)(supervise.spawn_trial)
        try:
            self._ray.get(remote.remote(folder))
        except self._ray.exceptions.RayError as error:
            supervise.supervise_process(
                folder, lambda: 1, lambda: None
            )  # records a final state if the node died before it could
            if not isinstance(error, self._ray.exceptions.WorkerCrashedError | self._ray.exceptions.NodeDiedError):
                raise

    def close(self) -> None:
        """Leave the cluster."""
        self._ray.shutdown()
