"""Starts and supervises BentoML's workers with circus, as `bentoml serve` does.

`bentoml serve` first loads BentoML and the service to learn settings that are known here, and each worker loads them
again; without that step the first response comes a third sooner.

Usage: python -m merit.serving.server.worker_supervisor HOST PORT COUNT, started with the stop signals blocked; it
unblocks them once it can handle them.
"""

import os
import shlex
import shutil
import socket
import sys
import tempfile
from pathlib import Path

import zmq

from merit.console import logging
from merit.errors import MeritError
from merit.process.lifetime import PARENT_PID_VARIABLE
from merit.serving import bentoml_adapter
from merit.serving.observability.shared_counters import find_memory_folder
from merit.serving.server.circus_adapter import CircusSocket, WorkerSupervisor, WorkerWatcher

SERVICE = "merit.serving.service:Predictor"
BACKLOG = 2048
SHUTDOWN_TIMEOUT_S = 86_400.0
"""Shutdown time limit of a worker; practically none, because requests in flight and queue flushes have their own."""
CHECK_INTERVAL_S = 0.5
"""Interval between checks that the workers are alive."""


def main(host: str, port: str, count: str) -> None:
    """Serve, or log why that fails and exit."""
    logging.configure(**logging.read_environment())
    try:
        run_workers(host, int(port), int(count))
    except MeritError as error:
        logging.logger.error("%s", error)
        sys.exit(error.exit_code)


def run_workers(host: str, port: int, count: int) -> None:
    """Serve with `count` workers until a stop signal; a worker that exits is replaced.

    Raises:
        MeritError: the address can't be used, or the workers can't be started or keep exiting.
    """
    try:
        socket_folder = Path(tempfile.mkdtemp(prefix="merit-serve-"))
    except OSError as error:
        raise MeritError(f"serve: there is no folder for temporary files ({error.strerror or error})") from error
    program = ["-m", bentoml_adapter.WORKER_MODULE, SERVICE]
    args = [*program, "--fd", "$(circus.sockets.http)", "--worker-id", "$(CIRCUS.WID)"]
    metrics_folder = ""
    try:
        metrics_folder = tempfile.mkdtemp(prefix="merit-serve-", dir=find_memory_folder())
        workers = WorkerWatcher(
            "workers",
            shlex.quote(sys.executable),
            [*args, "--backlog", str(BACKLOG)],
            numprocesses=count,
            copy_env=True,
            env={"PROMETHEUS_MULTIPROC_DIR": metrics_folder, PARENT_PID_VARIABLE: str(os.getpid())},
            use_sockets=True,
            stop_children=True,
            graceful_timeout=SHUTDOWN_TIMEOUT_S,
        )
        address_family, displayed_host = (socket.AF_INET6, f"[{host}]") if ":" in host else (socket.AF_INET, host)
        listen_socket = CircusSocket("http", host, port, family=address_family, backlog=BACKLOG)
        control, events = (f"ipc://{socket_folder}/{name}" for name in ("control", "events"))  # private, unlike ports
        ready_message = f"listening on http://{displayed_host}:{port} (Ctrl+C ends it)"
        failure = (
            WorkerSupervisor(
                ready_message, [workers], control, events, check_delay=CHECK_INTERVAL_S, sockets=[listen_socket]
            )
            .start()
            .exception()
        )
        if workers.failure_reason:
            raise MeritError(f"serve: {workers.failure_reason}")
        if failure is not None:
            raise failure
    except zmq.ZMQError as error:  # concerns the socket files in the temporary folder
        raise MeritError(f"serve: {error}; a shorter TMPDIR helps where a path is too long") from error
    except OSError as error:
        raise MeritError(f"serve: {host}:{port} can't be used ({error.strerror or error})") from error
    finally:
        for each in (socket_folder, metrics_folder):
            shutil.rmtree(each, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
