"""BentoML's workers, started and minded by circus, as `bentoml serve` does.

`bentoml serve` loads all of BentoML and the service to learn what is known here, before the first worker loads them
again; without that the first answer comes a third sooner.
"""

import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

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


def mind(host: str, port: int, count: int) -> NoReturn:
    """Go on as the program below, which needs half the memory of what has checked that it may begin."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", __name__, host, str(port), str(count)])  # noqa: S606  # ours


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
        MeritError: the address can't be listened on.
    """
    from circus.arbiter import Arbiter
    from circus.sockets import CircusSocket
    from circus.watcher import Watcher

    room = Path(tempfile.mkdtemp(prefix="merit-serve-"))
    (counts := room / "prometheus").mkdir()
    args = ["-m", WORKER, SERVICE, "--fd", "$(circus.sockets.http)", "--worker-id", "$(CIRCUS.WID)"]
    try:
        workers = Watcher(
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
        if (failed := arbiter.start().exception()) is not None:
            raise failed
    except OSError as error:
        raise MeritError(f"serve: {host}:{port} can't be used ({error.strerror or error})") from error
    finally:
        shutil.rmtree(room, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
