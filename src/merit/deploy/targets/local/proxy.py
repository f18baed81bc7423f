"""Controls the HAProxy in front of an environment's replicas, through its admin socket and without reloads.

Every runtime change is also written to the configuration file, so that a restarted HAProxy has the same state.
"""

import os
import shlex
import shutil
import socket
import time
from pathlib import Path

from merit import artifacts
from merit.deploy.targets.local.state import ROLES, SLOTS_PER_ROLE, LocalState, Replica, RuntimeFolder
from merit.errors import MeritError

PROGRAM_NAME = "proxy"
PROXY_TIMEOUT_S = 10
"""Time limit for the proxy to start, to answer a command, or to report new replicas as healthy."""
LUA_SCRIPT = Path(__file__).with_name("shadow.lua")
MAINTENANCE_BITS, DRAIN_BITS = 0x01 | 0x02 | 0x04, 0x08 | 0x10
"""Bits of a server's administrative state (srv_admin_state) in HAProxy's `show servers state`.

0x04 says that the configuration file put the server into maintenance.
"""


def build_command(runtime: RuntimeFolder) -> str:
    """Return the command line of the proxy; setpriv ends the proxy when the supervisor ends.

    Raises:
        MeritError: HAProxy or setpriv is not installed.
    """
    search_path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    programs = {"haproxy": os.environ.get("MERIT_HAPROXY", "haproxy"), "setpriv": "setpriv"}
    program_paths = {name: shutil.which(program, path=search_path) for name, program in programs.items()}
    if missing := [name for name, program in program_paths.items() if program is None]:
        raise MeritError(f"{missing[0]}: not found; the target local needs it: install it, or name it by MERIT_HAPROXY")
    return shlex.join(
        [
            str(program_paths["setpriv"]),
            "--pdeathsig",
            "TERM",
            str(program_paths["haproxy"]),
            "-db",
            "-f",
            str(_get_config_path(runtime)),
        ]
    )


def _get_config_path(runtime: RuntimeFolder) -> Path:
    return runtime / "haproxy.cfg"


def write_config(runtime: RuntimeFolder, state: LocalState, timeout_s: int) -> None:
    """Write the proxy's configuration files for a state.

    Args:
        runtime: the folder of the environment's files.
        state: the replicas, their phases and the shares of requests.
        timeout_s: the time limit for a replica's response.
    """
    share_lines = "".join(f"{role} {state.shares.get(role, 0)}\n" for role in ROLES[1:])
    texts = {
        "shares.map": share_lines,
        "shadow.lua": LUA_SCRIPT.read_text(encoding="utf-8"),
        "haproxy.cfg": _render_config(runtime, state, timeout_s),
    }
    for name, text in texts.items():
        path = runtime / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            artifacts.write_text(path, text)


def _render_config(runtime: RuntimeFolder, state: LocalState, timeout_s: int) -> str:
    folder = runtime.path
    backends = "".join(_render_backend(role, state) for role in ROLES)
    return f"""global
  stats socket unix@{folder}/haproxy.sock mode 600 level admin
  setenv SHADOW_SOCKET {folder}/copies.sock
  lua-load {folder}/shadow.lua
  tune.bufsize 65536
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout http-keep-alive 60s
  timeout server {timeout_s + 5}s
  timeout check 5s
  retries 3
  option redispatch 1
  # Predictions have no side effects, so a request that a dying replica left unanswered is retried on another replica.
  retry-on conn-failure empty-response
frontend entrance
  bind 127.0.0.1:{state.port}
  http-request set-var(txn.canary) str(canary),map_str_int({folder}/shares.map,0)
  http-request set-var(txn.shadow) str(shadow),map_str_int({folder}/shares.map,0)
  http-request set-var(txn.copied) rand(10000),sub(txn.shadow)
  acl copied var(txn.copied) -m int lt 0
  http-request wait-for-body time {timeout_s}s if METH_POST copied {{ nbsrv(shadow) gt 0 }}
  http-request lua.copy if METH_POST copied {{ nbsrv(shadow) gt 0 }}
  use_backend canary if {{ rand(10000),sub(txn.canary) lt 0 }} {{ nbsrv(canary) gt 0 }}
  default_backend live
frontend copies
  bind unix@{folder}/copies.sock mode 600
  default_backend shadow
{backends}"""


def _render_backend(role: str, state: LocalState) -> str:
    replicas_by_slot = {each.slot: each for each in state.select_replicas(role)}
    lines = [f"  server s{slot} {_render_server(replicas_by_slot.get(slot))}" for slot in range(1, SLOTS_PER_ROLE + 1)]
    header = f"backend {role}\n  option httpchk GET /readyz\n  default-server check inter 2s fall 3 rise 1\n"
    return header + "\n".join(lines) + "\n"


def _render_server(replica: Replica | None) -> str:
    # A free slot needs an address too: port 1, disabled. The admin socket sets the real one later.
    is_serving = replica is not None and replica.phase == "serving"
    return f"127.0.0.1:{replica.port if replica else 1}{'' if is_serving else ' disabled'}"


def send_commands(runtime: RuntimeFolder, *commands: str) -> str:
    """Send commands to HAProxy's admin socket; return its output.

    Raises:
        MeritError: the proxy doesn't answer.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(PROXY_TIMEOUT_S)
            connection.connect(str(runtime / "haproxy.sock"))
            connection.sendall(("; ".join(commands) + "\n").encode())
            chunks = []
            while chunk := connection.recv(1 << 16):
                chunks.append(chunk)
    except OSError as error:
        raise MeritError(f"the proxy of {runtime.name} doesn't answer ({error.strerror or error})") from error
    return b"".join(chunks).decode()


def is_running(runtime: RuntimeFolder) -> bool:
    """Return whether the proxy runs and answers on its socket."""
    try:
        return "Uptime_sec" in send_commands(runtime, "show info")
    except MeritError:
        return False


def wait_until_running(runtime: RuntimeFolder) -> None:
    """Wait until the proxy runs.

    Raises:
        MeritError: it doesn't start, such as when its port is in use.
    """
    deadline = time.monotonic() + PROXY_TIMEOUT_S
    while not is_running(runtime):
        if time.monotonic() > deadline:
            log = runtime / "logs/proxy.log"
            log_lines = log.read_text(encoding="utf-8", errors="replace").split("\n")[-4:] if log.is_file() else []
            raise MeritError(
                f"the proxy of {runtime.name} doesn't start: {' '.join(' '.join(log_lines).split())[-300:]}"
            )
        time.sleep(0.05)


def diff_state(runtime: RuntimeFolder, state: LocalState) -> list[str]:
    """Return the commands that bring the running proxy to a state; empty if it has that state."""
    server_fields = [line.split(" ") for line in send_commands(runtime, "show servers state").splitlines()]
    servers = {(line[1], line[3]): line for line in server_fields if len(line) > 18 and line[1] in ROLES}
    commands: list[str] = []
    for role in ROLES:
        replicas_by_slot = {each.slot: each for each in state.select_replicas(role)}
        for slot in range(1, SLOTS_PER_ROLE + 1):
            commands += _diff_server(f"{role}/s{slot}", replicas_by_slot.get(slot), servers[role, f"s{slot}"])
    map_entries = [
        line.split()[1:]
        for line in send_commands(runtime, f"show map {runtime / 'shares.map'}").splitlines()
        if line.strip()
    ]
    shares = {line[0]: line[1] for line in map_entries if len(line) == 2}
    for role in ROLES[1:]:
        if shares.get(role) != (share := str(state.shares.get(role, 0))):
            commands.append(f"set map {runtime / 'shares.map'} {role} {share}")
    return commands


def _diff_server(server: str, replica: Replica | None, fields: list[str]) -> list[str]:
    """Return the commands that bring one server to its replica's phase and port.

    Args:
        server: backend and server, such as live/s1.
        replica: the replica of the slot; None if the slot is free.
        fields: the server's fields in `show servers state`.
    """
    bits, port = int(fields[6]), fields[18]
    # 0x04 only says how the configuration file began: `state ready` doesn't clear it, so it doesn't count.
    is_in_maintenance, is_draining = bool(bits & (MAINTENANCE_BITS & ~0x04)), bool(bits & DRAIN_BITS)
    if replica is None or replica.phase == "starting":
        return [] if is_in_maintenance else [f"set server {server} state maint"]
    if replica.phase == "draining":
        return [] if is_draining or is_in_maintenance else [f"set server {server} state drain"]
    address_commands = [] if port == str(replica.port) else [f"set server {server} addr 127.0.0.1 port {replica.port}"]
    maintenance_commands = [f"set server {server} state maint"] if address_commands and not is_in_maintenance else []
    ready_commands = (
        [f"set server {server} state ready"] if is_in_maintenance or is_draining or address_commands else []
    )
    return [*maintenance_commands, *address_commands, *ready_commands]


def read_statuses(runtime: RuntimeFolder) -> dict[tuple[str, int], tuple[bool, int]]:
    """Return whether each server is up, and its number of queued and active requests, by role and slot."""
    lines = [line.split(",") for line in send_commands(runtime, "show stat").splitlines()]
    rows = [
        line for line in lines if len(line) > 17 and line[0] in ROLES and line[1][:1] == "s" and line[1][1:].isdigit()
    ]
    return {(row[0], int(row[1][1:])): (row[17].startswith("UP"), int(row[2] or 0) + int(row[4] or 0)) for row in rows}


def wait_until_drained(runtime: RuntimeFolder, replicas: list[Replica], timeout_s: float) -> None:
    """Wait until these replicas have no requests left, for at most `seconds`."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        current = read_statuses(runtime)
        if not any(current[each.role, each.slot][1] for each in replicas):
            return
        time.sleep(0.05)
