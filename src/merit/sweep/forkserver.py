"""A warmed process that trials are forked from: it has loaded what they need, and no thread and no data yet.

`python -m merit.sweep.forkserver FD`, where FD is a socket. Each message is a trial to begin, with a socket to tell its
process and its end on. When the other side closes the socket, or dies, all trials are killed.
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
"""Threads that libraries would start as they are loaded; a fork would leave them behind. PyTorch's come later."""


class Zygote:
    """The process, as the sweep sees it. Trials may be run from several threads at once."""

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
        """Do a trial in a process forked from the warm one, and return when it has ended."""
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
        """End it, even if it is still loading, and what still runs."""
        self._socket.close()
        self._process.kill()  # its trials ask the system to be killed with it
        self._process.wait()


def main() -> None:
    """Load what trials need, then fork one for each message."""
    process.begin()
    control = socket.socket(fileno=int(sys.argv[1]))
    _load()
    _serve(control)


def _load() -> None:
    import torch._dynamo  # noqa: F401  # what optimizers load when they are first made

    import merit.training.run  # noqa: F401

    gc.collect()
    gc.freeze()  # so that collecting garbage in a trial copies no pages


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
    """Fork the trial that a message asks for; say whether there was one."""
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
