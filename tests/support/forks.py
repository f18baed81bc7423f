"""Forks of one process that has loaded the libraries, in place of many that each load them for seconds.

A folder of programs goes before the others on PATH. Its `merit` and `dvc` hand what they were called with, and their
three files, to a server, which forks; the fork loads merit itself anew, from the caller's PYTHONPATH. A signal is
passed on to the fork, and SIGINT to its group; when the caller is gone the fork and its group are killed. Where it must
be the program itself, as in tests that kill one, the folder is left away: see `small_project.Project`.
"""

import gc
import importlib
import marshal
import os
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

FOLDER = "TESTS_FORKS"
"""The variable that tells the workers of a session where the programs are."""
NONE = {"TESTS_NO_FORK": "yes"}
"""What an environment says in which every program is to be itself."""
PROGRAMS = ("merit", "dvc")
MODULES = ("merit.pipeline.run", "merit.tracking.run_logger", "merit.tracking.sweep_logger")
"""What is called as `python -m NAME`, and forks as well."""
LOADED = ("torch._dynamo", "torch.onnx", "lightning.pytorch", "mlflow", "mlflow.store.tracking.sqlalchemy_store",
          "onnx", "onnxruntime", "onnxscript", "polars", "sklearn.ensemble", "sklearn.linear_model",
          "sklearn.metrics", "hydra", "pydantic", "rich.console", "jinja2", "msgspec", "safetensors.numpy", "dvc.cli",
          "dvc.repo", "dvc.commands.repro", "dvc_data.index", "dvc_objects.fs")  # fmt: skip
CALLER = (Path(__file__).parent / "forked.py").read_text(encoding="utf-8")


def begin() -> Callable[[], None]:
    """Start the server, and name the folder in the environment; return what ends it."""
    folder, real = Path(tempfile.mkdtemp(prefix="forks-")), Path(sys.executable).parent
    for program in real.iterdir():
        (folder / program.name).symlink_to(program)
    for name in {*PROGRAMS, *MODULES}:
        _write(folder / name, f"#!{sys.executable} -IS\n{CALLER}")
    asked = "|".join(f'"-m {name}"' for name in MODULES)
    for name in ("python", "python3"):
        forks = f'case "$1 $2" in {asked}) name=$2; shift 2; exec {folder}/"$name" "$@" ;; esac'
        _write(folder / name, f'#!/bin/sh\n{forks}\nexec {real}/python "$@"\n')
    (folder / "real").symlink_to(real)
    server = subprocess.Popen([sys.executable, __file__, str(folder)], stdin=subprocess.PIPE, start_new_session=True)
    os.environ[FOLDER] = str(folder)

    def end() -> None:
        os.environ.pop(FOLDER, None)
        server.stdin.close()
        server.wait(timeout=60)
        shutil.rmtree(folder)

    return end


def path() -> str:
    """Return the folder as the beginning of a PATH; empty where there is no server."""
    return f"{os.environ[FOLDER]}{os.pathsep}" if FOLDER in os.environ else ""


def _write(file: Path, text: str) -> None:
    file.unlink(missing_ok=True)
    file.write_text(text, encoding="utf-8")
    file.chmod(0o755)


class Server:
    """Forks for whoever asks, until its own standard input ends."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.is_loaded = folder, False
        self.beginning = sys.path[1:]
        self.selector = selectors.DefaultSelector()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(folder / "socket"))
        self.listener.listen(64)
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.selector.register(0, selectors.EVENT_READ)
        self.forks: dict[socket.socket, tuple[int, int]] = {}

    def serve(self) -> None:
        """Answer until the standard input ends; then kill what still runs."""
        while True:
            for key, _ in self.selector.select():
                if key.fileobj == 0:
                    for pid, _ in self.forks.values():
                        os.killpg(pid, signal.SIGKILL)
                    return
                if key.fileobj is self.listener:
                    self._fork(self.listener.accept()[0])
                elif key.data is not None:
                    self._ended(key.data)
                elif key.fileobj in self.forks:  # its caller was killed
                    self.selector.unregister(key.fileobj)
                    os.killpg(self.forks[key.fileobj][0], signal.SIGKILL)

    def _fork(self, caller: socket.socket) -> None:
        if not self.is_loaded:
            self._load()
        size, files, _, _ = socket.recv_fds(caller, 8, 3)
        text = b""
        while len(text) < int(size) and (more := caller.recv(1 << 20)):
            text += more
        if len(files) < 3 or len(text) < int(size):
            return
        pid = os.fork()
        if pid == 0:
            os.setsid()
            for target, file in enumerate(files):
                os.dup2(file, target)
                os.close(file)
            self._close()
            caller.close()
            _become(self.folder, self.beginning, **marshal.loads(text))  # noqa: S302  # our own text
        for file in files:
            os.close(file)
        ended = os.pidfd_open(pid)
        self.forks[caller] = (pid, ended)
        self.selector.register(ended, selectors.EVENT_READ, caller)
        self.selector.register(caller, selectors.EVENT_READ)
        caller.sendall(b"%8d" % pid)

    def _ended(self, caller: socket.socket) -> None:
        pid, ended = self.forks.pop(caller)
        self.selector.unregister(ended)
        os.close(ended)
        if caller in self.selector.get_map():
            self.selector.unregister(caller)
        _, status = os.waitpid(pid, 0)
        with suppress(OSError):  # it was killed meanwhile
            caller.sendall(b"%8d" % status)
        caller.close()

    def _close(self) -> None:
        for caller, (_, ended) in self.forks.items():
            os.close(ended)
            caller.close()
        self.selector.close()
        self.listener.close()

    def _load(self) -> None:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
        for name in LOADED:
            importlib.import_module(name)
        gc.collect()
        gc.freeze()
        self.is_loaded = True


def _become(folder: Path, beginning: list[str], *, args: list[str], cwd: str, env: dict[str, str], umask: int) -> None:
    """Be the program, and end as it would."""
    code: Any = 1
    try:
        os.umask(umask)
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(env)
        sys.argv = [str(folder / "real" / args[0]), *args[1:]]
        sys.path[:] = [str(folder / "real"), *filter(None, env.get("PYTHONPATH", "").split(os.pathsep)), *beginning]
        sys.executable = str(folder / "python")
        sys.dont_write_bytecode = bool(env.get("PYTHONDONTWRITEBYTECODE"))
        sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", closefd=False, buffering=1, errors="backslashreplace")  # noqa: SIM115
        importlib.invalidate_caches()
        code = _main(args[0])
    except SystemExit as ended:
        code = ended.code
    except BaseException as error:  # noqa: BLE001  # it goes no further
        traceback.print_exc()
        if isinstance(error, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
        code = 1
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        importlib.import_module("atexit")._run_exitfuncs()
        sys.stdout.flush()
    except OSError:
        code = 120
    os._exit(code or 0)


def _main(name: str) -> Any:
    if name in PROGRAMS:
        return importlib.import_module(f"{name}.cli").main()
    return runpy.run_module(name, run_name="__main__", alter_sys=True) and None


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.path[0:1] = [entry for entry in sys.path[:1] if entry != str(Path(__file__).parent)]
    Server(Path(sys.argv[1])).serve()
