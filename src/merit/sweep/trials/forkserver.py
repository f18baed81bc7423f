"""The forkserver: a warm process that has imported what trials need, has no threads or data, and forks each trial.

`python -m merit.sweep.trials.forkserver FD`, where FD is a socket. Each message requests a trial and carries a second
socket, on which the forkserver sends the trial's pid and exit status. If the sweep closes the socket or dies, all
trials are killed.
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

from merit.sweep import record
from merit.sweep.trials import isolation, process, supervise

MAX_MESSAGE_BYTES = 65_536
THREAD_LIMITS = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
"""Prevents thread pools at import, which a fork wouldn't inherit. PyTorch starts its threads later, in the trial."""


class Forkserver:
    """The sweep's client of the forkserver process. `run_trial` may be called from several threads at once."""

    def __init__(self) -> None:
        self._socket, remote_socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with remote_socket:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(remote_socket.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[remote_socket.fileno()],
                start_new_session=True,  # Ctrl-C is for the sweep to hear
                env={**os.environ, **THREAD_LIMITS},
            )

    def run_trial(self, folder: Path) -> None:
        """Run a trial in a fork of the warm process, and return when it has exited."""
        reply_socket, remote_socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with reply_socket:
            with remote_socket:
                message = json.dumps({"folder": str(folder), "asked": time.time()}).encode()
                with suppress(BrokenPipeError):
                    socket.send_fds(self._socket, [message], [remote_socket.fileno()])
            reply_socket.settimeout(supervise.POLL_INTERVAL_S)
            state: dict[str, int] = {}

            def poll_exit() -> int | None:
                with suppress(TimeoutError):
                    received = reply_socket.recv(MAX_MESSAGE_BYTES)
                    state.update(json.loads(received) if received else {"status": -signal.SIGKILL})
                return state.get("status")

            def kill() -> None:
                if "pid" in state and "status" not in state:
                    with suppress(ProcessLookupError):
                        os.kill(state["pid"], signal.SIGKILL)

            supervise.supervise_process(folder, poll_exit, kill)

    def close(self) -> None:
        """Kill the forkserver, even if it is still importing, and all running trials."""
        self._socket.close()
        self._process.kill()  # its trials die with it (PR_SET_PDEATHSIG)
        self._process.wait()


def main() -> None:
    """Import what trials need, then fork a trial for each message."""
    process.detach_process()
    control = socket.socket(fileno=int(sys.argv[1]))
    _preload_modules()
    _serve_requests(control)


def _preload_modules() -> None:
    import torch

    import merit.training.train  # noqa: F401

    torch.optim.SGD([torch.zeros(1, requires_grad=True)])  # the first optimizer of a process imports slow modules
    gc.collect()
    gc.freeze()  # garbage collection in a trial then doesn't copy shared pages


def _serve_requests(control: socket.socket) -> None:
    children: dict[int, socket.socket] = {}
    sandboxes: dict[Path, isolation.Sandbox] = {}
    wakeup_reader, wakeup_writer = socket.socketpair()
    wakeup_writer.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakeup_writer.fileno(), warn_on_full_buffer=False)
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(wakeup_reader, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is wakeup_reader:
                    wakeup_reader.recv(MAX_MESSAGE_BYTES)
                    _reap_children(children)
                elif not _fork_trial(control, children, sandboxes):
                    _kill_children(children)
                    return


def _fork_trial(
    control: socket.socket, children: dict[int, socket.socket], sandboxes: dict[Path, isolation.Sandbox]
) -> bool:
    """Fork the trial that the next message requests; return False if the socket was closed."""
    message, sockets, _, _ = socket.recv_fds(control, MAX_MESSAGE_BYTES, 1)
    if not message:
        return False
    request = json.loads(message)
    folder = Path(request["folder"])
    if (sweep := folder.resolve().parents[1]) not in sandboxes:
        sandboxes[sweep] = process.load_sandbox(sweep)
    pid = os.fork()
    if pid == 0:
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for each in (control.fileno(), *sockets, *(child.fileno() for child in children.values())):
                os.close(each)
            _run_child(folder, request["asked"], sandboxes[sweep])
        finally:
            os._exit(0)
    reply = socket.socket(fileno=sockets[0])
    reply.send(json.dumps({"pid": pid}).encode())
    children[pid] = reply
    return True


def _run_child(folder: Path, requested_at: float, sandbox: isolation.Sandbox) -> None:
    started = time.time()
    process.detach_process()
    with (folder / record.LOG_FILE).open("wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    process.run_trial(folder, requested_at, {"forked": started}, sandbox=sandbox)
    sys.stdout.flush()
    sys.stderr.flush()


def _reap_children(children: dict[int, socket.socket]) -> None:
    for pid in list(children):
        ended_pid, status = os.waitpid(pid, os.WNOHANG)
        if ended_pid:
            with children.pop(pid) as reply, suppress(OSError):
                reply.send(json.dumps({"status": os.waitstatus_to_exitcode(status)}).encode())


def _kill_children(children: dict[int, socket.socket]) -> None:
    for pid in children:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for pid in children:
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
