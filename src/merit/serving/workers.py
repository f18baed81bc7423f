"""BentoML's workers, started and minded by circus, as `bentoml serve` does.

`bentoml serve` loads all of BentoML and the service to learn what is known here, before the first worker loads them
again; without that the first answer comes a third sooner.
"""

import os
import shlex
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from circus.arbiter import Arbiter
from circus.sockets import CircusSocket
from circus.watcher import Watcher

from merit.errors import MeritError
from merit.serving.parent import ENDS_WITH_PARENT

SERVICE = "merit.serving.service:Predictor"
WORKER = "_bentoml_impl.worker.service"
"""BentoML's own program for one worker: it serves the socket that it is handed."""
BACKLOG = 2048
GRACE_SECONDS = 86_400.0
"""How long a worker has to end: each request in hand is bounded already, and so is what waits to be written."""
CHECK_SECONDS = 10.0
"""How often it is looked whether the workers live; that one has ended is known at once."""


class Workers(Watcher):  # type: ignore[misc]  # circus has no types
    """Workers that are given up together with what minds them, where circus would mind none from then on.

    Attributes:
        has_failed: whether one could not be started, time and again.
    """

    has_failed = False

    def spawn_process(self, *args: Any, **named: Any) -> Any:
        """Start one; False if that can't be done."""
        started = super().spawn_process(*args, **named)
        if started is False:
            self.has_failed = True
            os.kill(os.getpid(), signal.SIGTERM)
        return started


def main(host: str, port: str, count: str) -> None:
    """Serve; say in a line why that can't be."""
    try:
        run(host, int(port), int(count))
    except MeritError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def run(host: str, port: int, count: int) -> None:
    """Serve by so many workers until the process is told to end; a worker that dies is replaced.

    Raises:
        MeritError: the address can't be listened on, or a worker can't be started.
    """
    room = Path(tempfile.mkdtemp(prefix="merit-serve-"))
    (counts := room / "prometheus").mkdir()
    args = ["-m", WORKER, SERVICE, "--fd", "$(circus.sockets.http)", "--worker-id", "$(CIRCUS.WID)"]
    try:
        workers = Workers(
            "workers",
            shlex.quote(sys.executable),
            [*args, "--backlog", str(BACKLOG)],
            numprocesses=count,
            copy_env=True,
            env={"PROMETHEUS_MULTIPROC_DIR": str(counts), ENDS_WITH_PARENT: "1"},
            use_sockets=True,
            stop_children=True,
            graceful_timeout=GRACE_SECONDS,
        )
        listening = CircusSocket("http", host, port, backlog=BACKLOG)
        minds, tells = (
            f"ipc://{room}/control",
            f"ipc://{room}/events",
        )  # of this user alone, where ports would be anyone's
        arbiter = Arbiter([workers], minds, tells, check_delay=CHECK_SECONDS, sockets=[listening])
        print(f"listening on http://{host}:{port} (Ctrl+C ends it)", file=sys.stderr)
        failed = arbiter.start().exception()
        if workers.has_failed:
            raise MeritError("serve: a worker can't be started (above is why), so all have ended")
        if failed is not None:
            raise failed
    except OSError as error:
        raise MeritError(f"serve: {host}:{port} can't be used ({error.strerror or error})") from error
    finally:
        shutil.rmtree(room, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
