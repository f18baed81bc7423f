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
from merit.deploy.targets.local.state import RuntimeFolder
from merit.errors import MeritError, require_modules

SUPERVISOR_TIMEOUT_S = 20
"""Time limit for the supervisor to start, to answer a call, or to stop its processes."""
INHERITED_VARIABLES = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "GOMP_SPINCOUNT",
    "MERIT_HASH_KEY",
)
"""Environment variables that processes inherit from `merit apply`: no tokens, and no key but the hash key of the
prediction log."""
STOPPED_STATES = {"STOPPED", "EXITED", "FATAL", "UNKNOWN"}
"""supervisord's states of a process that doesn't run and isn't being restarted."""


class _UnixConnection(http.client.HTTPConnection):
    """An HTTP connection over a Unix socket, on which supervisord serves its XML-RPC API."""

    def __init__(self, path: Path) -> None:
        super().__init__("supervisor", timeout=SUPERVISOR_TIMEOUT_S)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(SUPERVISOR_TIMEOUT_S)
        self.sock.connect(self._path)


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        return _UnixConnection(self._path)


class Supervisor:
    """The supervisor of one environment.

    Args:
        runtime: the folder of the environment's files.
    """

    def __init__(self, runtime: RuntimeFolder) -> None:
        self._runtime = runtime
        self._config = runtime / "supervisord.conf"
        self._rpc = xmlrpc.client.ServerProxy(
            "http://supervisor/RPC2", transport=_UnixTransport(runtime.control_socket)
        )

    def find_pid(self) -> int | None:
        """Return the process id, or None if it doesn't run."""
        try:
            recorded_pid = int((self._runtime / "supervisord.pid").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return self._find_orphan_pid()
        return recorded_pid if self._is_own_process(recorded_pid) else self._find_orphan_pid()

    def _find_orphan_pid(self) -> int | None:
        """Return the id of a running supervisor without a valid PID file; its files may have been moved or removed."""
        pids = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()]
        return next((pid for pid in sorted(pids) if self._is_own_process(pid)), None)

    def _is_own_process(self, pid: int) -> bool:
        """Return whether a process is this environment's supervisor; the system may have reused its id."""
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            is_here = Path(f"/proc/{pid}/cwd").resolve() == Path.cwd()
        except OSError:
            return False
        return is_here and str(self._config).encode() in command and b"supervisor.supervisord" in command

    def read_states(self) -> dict[str, str]:
        """Return supervisord's state of each process by name; empty if supervisord doesn't run."""
        if self.find_pid() is None:
            return {}
        processes: Any = self._call_method("getAllProcessInfo")
        return {each["name"]: each["statename"] for each in processes}

    def set_programs(self, programs: dict[str, str]) -> list[str]:
        """Run exactly these commands, by program name; start the supervisor if it doesn't run.

        Returns:
            The programs that were started or stopped.
        """
        config = self._render_config(programs)
        if self.find_pid() is None:
            artifacts.write_text(self._config, config)
            self._start_daemon()
            return list(programs)
        if self._config.read_text(encoding="utf-8") != config:
            artifacts.write_text(self._config, config)
        # Reload even if the file is unchanged: an earlier apply may have been killed between writing and reloading it.
        groups: Any = self._call_method("reloadConfig")
        added, changed, removed = groups[0]
        for name in [*changed, *removed]:
            self._call_method("stopProcessGroup", name)
            self._call_method("removeProcessGroup", name)
        for name in [*added, *changed]:
            self._call_method("addProcessGroup", name)
        return [*added, *changed, *removed]

    def start_program(self, name: str) -> None:
        """Start a program that supervisord no longer restarts."""
        self._call_method("startProcess", name, False)

    def restart_program(self, name: str) -> None:
        """Stop a program and start it again."""
        self._call_method("stopProcess", name, True)
        self._call_method("startProcess", name, True)

    def stop_all(self) -> None:
        """Stop all processes and the supervisor, and wait until it has exited."""
        if (pid := self.find_pid()) is None:
            return
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 2 * SUPERVISOR_TIMEOUT_S
        while self.find_pid() is not None:
            if time.monotonic() > deadline:
                raise MeritError(f"supervisord (process {pid}) doesn't end; see {self._runtime / 'supervisord.log'}")
            time.sleep(0.05)

    def _start_daemon(self) -> None:
        require_modules("the target 'local'", "supervisor")
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._config)]
        variables = {name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ}
        completed = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        deadline = time.monotonic() + SUPERVISOR_TIMEOUT_S
        while completed.returncode == 0 and time.monotonic() < deadline:
            if self.find_pid() is not None and self._runtime.control_socket.exists():
                return
            time.sleep(0.05)
        raise MeritError(f"supervisord doesn't start: {' '.join((completed.stdout + completed.stderr).split())[-300:]}")

    def _call_method(self, method: str, *args: Any) -> Any:
        try:
            return getattr(self._rpc.supervisor, method)(*args)
        except (OSError, xmlrpc.client.Error, http.client.HTTPException) as error:
            reason = " ".join(str(error).split())
            raise MeritError(
                f"supervisord of {self._runtime.name} failed at '{method}' ({reason}); see "
                f"{self._runtime / 'supervisord.log'}"
            ) from error

    def _render_config(self, programs: dict[str, str]) -> str:
        folder, control = self._runtime.path, str(self._runtime.control_socket).replace("%", "%%")
        header = f"""[supervisord]
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
        return header + "".join(self._render_program(name, command) for name, command in sorted(programs.items()))

    def _render_program(self, name: str, command: str) -> str:
        log = self._runtime.path / "logs" / f"{name}.log"
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
