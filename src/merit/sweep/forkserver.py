"""The forkserver: a warm process that has imported what trials need, has no threads or data, and forks each trial.

`python -m merit.sweep.forkserver FD`, where FD is a socket. Each message requests a trial and carries a second socket,
on which the forkserver sends the trial's pid and exit status. If the sweep closes the socket or dies, all trials are
killed.
"""

import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from merit.sweep import isolation, process, record, supervise

LARGEST = 65_536
THREADS = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
"""Prevents thread pools at import, which a fork wouldn't inherit. PyTorch starts its threads later, in the trial."""


class Zygote:
    """The sweep's client of the forkserver process. `run` may be called from several threads at once."""

    def __init__(self) -> None:
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(other.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
                start_new_session=True,  # Ctrl-C is for the sweep to hear
                env={**os.environ, **THREADS},
            )

    def run(self, folder: Path) -> None:
        """Run a trial in a fork of the warm process, and return when it has exited."""
        mine, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with mine:
            with other:
                message = json.dumps({"folder": str(folder), "asked": time.time()}).encode()
                with suppress(BrokenPipeError):
                    socket.send_fds(self._socket, [message], [other.fileno()])
            mine.settimeout(supervise.PATIENCE)
            told: dict[str, int] = {}

            def ended() -> int | None:
                with suppress(TimeoutError):
                    received = mine.recv(LARGEST)
                    told.update(json.loads(received) if received else {"status": -signal.SIGKILL})
                return told.get("status")

            def kill() -> None:
                if "pid" in told and "status" not in told:
                    with suppress(ProcessLookupError):
                        os.kill(told["pid"], signal.SIGKILL)

            supervise.attend(folder, ended, kill)

    def close(self) -> None:
        """Kill the forkserver, even if it is still importing, and all running trials."""
        self._socket.close()
        self._process.kill()  # its trials die with it (PR_SET_PDEATHSIG)
        self._process.wait()


def main() -> None:
    """Import what trials need, then fork a trial for each message."""
    process.begin()
    control = socket.socket(fileno=int(sys.argv[1]))
    _load()
    _serve(control)


def _load() -> None:
    import torch._dynamo  # noqa: F401  # which optimizers import when the first is created

    import merit.training.run  # noqa: F401

    gc.collect()
    gc.freeze()  # garbage collection in a trial then doesn't copy shared pages


def _serve(control: socket.socket) -> None:
    children: dict[int, socket.socket] = {}
    bounds: dict[Path, isolation.Bounds] = {}
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is woken:
                    woken.recv(LARGEST)
                    _reap(children)
                elif not _begin(control, children, bounds):
                    _end(children)
                    return


def _begin(control: socket.socket, children: dict[int, socket.socket], bounds: dict[Path, isolation.Bounds]) -> bool:
    """Fork the trial that the next message requests; return False if the socket was closed."""
    message, sockets, _, _ = socket.recv_fds(control, LARGEST, 1)
    if not message:
        return False
    asked = json.loads(message)
    folder = Path(asked["folder"])
    if (sweep := folder.resolve().parents[1]) not in bounds:
        bounds[sweep] = process.bounds_of(sweep)
    pid = os.fork()
    if pid == 0:
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for each in (control.fileno(), *sockets, *(child.fileno() for child in children.values())):
                os.close(each)
            _child(folder, asked["asked"], bounds[sweep])
        finally:
            os._exit(0)
    reply = socket.socket(fileno=sockets[0])
    reply.send(json.dumps({"pid": pid}).encode())
    children[pid] = reply
    return True


def _child(folder: Path, asked: float, bounds: isolation.Bounds) -> None:
    started = time.time()
    process.begin()
    with (folder / record.LOG).open("wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    process.run(folder, asked, {"forked": started}, bounds=bounds)
    sys.stdout.flush()
    sys.stderr.flush()


def _reap(children: dict[int, socket.socket]) -> None:
    for pid in list(children):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            with children.pop(pid) as reply, suppress(OSError):
                reply.send(json.dumps({"status": os.waitstatus_to_exitcode(status)}).encode())


def _end(children: dict[int, socket.socket]) -> None:
    for pid in children:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for pid in children:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
