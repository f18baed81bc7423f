"""Controls the supervisor of an environment's processes: supervisord as a daemon, over its Unix socket."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
import xmlrpc.client
from pathlib import Path
from typing import Any

from merit import artifacts
from merit.deploy.targets.local.state import Place
from merit.errors import MeritError

SECONDS = 20
"""Time limit for the supervisor to start, to answer a call, or to stop its processes."""
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "GOMP_SPINCOUNT", "MERIT_HASH_KEY")
"""Environment variables that processes inherit from `merit apply`: no tokens, and no key but the hash key of the
prediction log."""
GONE = {"STOPPED", "EXITED", "FATAL", "UNKNOWN"}
"""supervisord's states of a process that doesn't run and isn't being restarted."""


class _Connection(http.client.HTTPConnection):
    """An HTTP connection over a Unix socket, on which supervisord serves its XML-RPC API."""

    def __init__(self, path: Path) -> None:
        super().__init__("supervisor", timeout=SECONDS)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(SECONDS)
        self.sock.connect(self._path)


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        return _Connection(self._path)


class Supervisor:
    """The supervisor of one environment.

    Args:
        place: the folder of the environment's files.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._config = place / "supervisord.conf"
        self._rpc = xmlrpc.client.ServerProxy("http://supervisor/RPC2", transport=_Transport(place.control))

    def pid(self) -> int | None:
        """Return the process id, or None if it doesn't run."""
        try:
            noted = int((self._place / "supervisord.pid").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return self._lost()
        return noted if self._is_ours(noted) else self._lost()

    def _lost(self) -> int | None:
        """Return the id of a running supervisor without a valid PID file; its files may have been moved or removed."""
        pids = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()]
        return next((pid for pid in sorted(pids) if self._is_ours(pid)), None)

    def _is_ours(self, pid: int) -> bool:
        """Return whether a process is this environment's supervisor; the system may have reused its id."""
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            is_here = Path(f"/proc/{pid}/cwd").resolve() == Path.cwd()
        except OSError:
            return False
        return is_here and str(self._config).encode() in command and b"supervisor.supervisord" in command

    def states(self) -> dict[str, str]:
        """Return supervisord's state of each process by name; empty if supervisord doesn't run."""
        if self.pid() is None:
            return {}
        found: Any = self._call("getAllProcessInfo")
        return {each["name"]: each["statename"] for each in found}

    def configure(self, programs: dict[str, str]) -> list[str]:
        """Run exactly these commands, by program name; start the supervisor if it doesn't run.

        Returns:
            The programs that were started or stopped.
        """
        text = self._text(programs)
        if self.pid() is None:
            artifacts.write_text(self._config, text)
            self._start()
            return list(programs)
        if self._config.read_text(encoding="utf-8") != text:
            artifacts.write_text(self._config, text)
        # Reload even if the file is unchanged: an earlier apply may have been killed between writing and reloading it.
        found: Any = self._call("reloadConfig")
        added, changed, removed = found[0]
        for name in [*changed, *removed]:
            self._call("stopProcessGroup", name)
            self._call("removeProcessGroup", name)
        for name in [*added, *changed]:
            self._call("addProcessGroup", name)
        return [*added, *changed, *removed]

    def revive(self, name: str) -> None:
        """Start a program that supervisord no longer restarts."""
        self._call("startProcess", name, False)

    def restart(self, name: str) -> None:
        """Stop a program and start it again."""
        self._call("stopProcess", name, True)
        self._call("startProcess", name, True)

    def end(self) -> None:
        """Stop all processes and the supervisor, and wait until it has exited."""
        if (pid := self.pid()) is None:
            return
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 2 * SECONDS
        while self.pid() is not None:
            if time.monotonic() > deadline:
                raise MeritError(f"supervisord (process {pid}) doesn't end; see {self._place / 'supervisord.log'}")
            time.sleep(0.05)

    def _start(self) -> None:
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._config)]
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        done = subprocess.run(command, env=kept, capture_output=True, text=True, check=False)
        deadline = time.monotonic() + SECONDS
        while done.returncode == 0 and time.monotonic() < deadline:
            if self.pid() is not None and self._place.control.exists():
                return
            time.sleep(0.05)
        raise MeritError(f"supervisord doesn't start: {' '.join((done.stdout + done.stderr).split())[-300:]}")

    def _call(self, method: str, *args: Any) -> Any:
        try:
            return getattr(self._rpc.supervisor, method)(*args)
        except (OSError, xmlrpc.client.Error, http.client.HTTPException) as error:
            reason = " ".join(str(error).split())
            raise MeritError(
                f"supervisord of {self._place.name} failed at '{method}' ({reason}); see "
                f"{self._place / 'supervisord.log'}"
            ) from error

    def _text(self, programs: dict[str, str]) -> str:
        folder, control = self._place.folder, str(self._place.control).replace("%", "%%")
        head = f"""[supervisord]
logfile={folder}/supervisord.log
logfile_maxbytes=5MB
logfile_backups=1
pidfile={folder}/supervisord.pid
childlogdir={folder}
umask=077
[unix_http_server]
file={control}
chmod=0600
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
        return head + "".join(self._program(name, command) for name, command in sorted(programs.items()))

    def _program(self, name: str, command: str) -> str:
        log = self._place.folder / "logs" / f"{name}.log"
        return f"""[program:{name}]
command={command.replace("%", "%%")}
autorestart=true
startsecs=1
startretries=3
stopsignal=TERM
stopwaitsecs=15
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile={log}
stdout_logfile_maxbytes=5MB
stdout_logfile_backups=1
"""
