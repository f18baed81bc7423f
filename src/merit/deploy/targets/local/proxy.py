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
from merit.deploy.targets.local.state import ROLES, SLOTS, Place, Replica, State
from merit.errors import MeritError

PROGRAM = "proxy"
SECONDS = 10
"""Time limit for the proxy to start, to answer a command, or to report new replicas as healthy."""
LUA = Path(__file__).with_name("shadow.lua")
MAINTENANCE, DRAIN = 0x01 | 0x02 | 0x04, 0x08 | 0x10
"""Bits of a server's administrative state (srv_admin_state) in HAProxy's `show servers state`.

0x04 says that the configuration file put the server into maintenance.
"""


def command(place: Place) -> str:
    """Return the command line of the proxy; setpriv ends the proxy when the supervisor ends.

    Raises:
        MeritError: HAProxy or setpriv is not installed.
    """
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    named = {"haproxy": os.environ.get("MERIT_HAPROXY", "haproxy"), "setpriv": "setpriv"}
    found = {name: shutil.which(program, path=path) for name, program in named.items()}
    if lacking := [name for name, program in found.items() if program is None]:
        raise MeritError(f"{lacking[0]}: not found; the target local needs it: install it, or name it by MERIT_HAPROXY")
    return shlex.join(
        [str(found["setpriv"]), "--pdeathsig", "TERM", str(found["haproxy"]), "-db", "-f", str(_cfg(place))]
    )


def _cfg(place: Place) -> Path:
    return place / "haproxy.cfg"


def write(place: Place, state: State, seconds: int) -> None:
    """Write the proxy's configuration files for a state.

    Args:
        place: the folder of the environment's files.
        state: the replicas, their phases and the shares of requests.
        seconds: the time limit for a replica's response.
    """
    shares = "".join(f"{role} {state.shares.get(role, 0)}\n" for role in ROLES[1:])
    texts = {
        "shares.map": shares,
        "shadow.lua": LUA.read_text(encoding="utf-8"),
        "haproxy.cfg": _text(place, state, seconds),
    }
    for name, text in texts.items():
        path = place / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            artifacts.write_text(path, text)


def _text(place: Place, state: State, seconds: int) -> str:
    folder = place.folder
    backends = "".join(_backend(role, state) for role in ROLES)
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
  timeout server {seconds + 5}s
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
  http-request wait-for-body time {seconds}s if METH_POST copied {{ nbsrv(shadow) gt 0 }}
  http-request lua.copy if METH_POST copied {{ nbsrv(shadow) gt 0 }}
  use_backend canary if {{ rand(10000),sub(txn.canary) lt 0 }} {{ nbsrv(canary) gt 0 }}
  default_backend live
frontend copies
  bind unix@{folder}/copies.sock mode 600
  default_backend shadow
{backends}"""


def _backend(role: str, state: State) -> str:
    there = {each.slot: each for each in state.of(role)}
    lines = [f"  server s{slot} {_server(there.get(slot))}" for slot in range(1, SLOTS + 1)]
    head = f"backend {role}\n  option httpchk GET /readyz\n  default-server check inter 2s fall 3 rise 1\n"
    return head + "\n".join(lines) + "\n"


def _server(replica: Replica | None) -> str:
    # A free slot needs an address too: port 1, disabled. The admin socket sets the real one later.
    serves = replica is not None and replica.phase == "serving"
    return f"127.0.0.1:{replica.port if replica else 1}{'' if serves else ' disabled'}"


def ask(place: Place, *commands: str) -> str:
    """Send commands to HAProxy's admin socket; return its output.

    Raises:
        MeritError: the proxy doesn't answer.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(SECONDS)
            line.connect(str(place / "haproxy.sock"))
            line.sendall(("; ".join(commands) + "\n").encode())
            parts = []
            while part := line.recv(1 << 16):
                parts.append(part)
    except OSError as error:
        raise MeritError(f"the proxy of {place.name} doesn't answer ({error.strerror or error})") from error
    return b"".join(parts).decode()


def answers(place: Place) -> bool:
    """Return whether the proxy runs and answers on its socket."""
    try:
        return "Uptime_sec" in ask(place, "show info")
    except MeritError:
        return False


def wait(place: Place) -> None:
    """Wait until the proxy runs.

    Raises:
        MeritError: it doesn't start, such as when its port is in use.
    """
    deadline = time.monotonic() + SECONDS
    while not answers(place):
        if time.monotonic() > deadline:
            log = place / "logs/proxy.log"
            said = log.read_text(encoding="utf-8", errors="replace").split("\n")[-4:] if log.is_file() else []
            raise MeritError(f"the proxy of {place.name} doesn't start: {' '.join(' '.join(said).split())[-300:]}")
        time.sleep(0.05)


def differences(place: Place, state: State) -> list[str]:
    """Return the commands that bring the running proxy to a state; empty if it has that state."""
    found = [line.split(" ") for line in ask(place, "show servers state").splitlines()]
    servers = {(line[1], line[3]): line for line in found if len(line) > 18 and line[1] in ROLES}
    made: list[str] = []
    for role in ROLES:
        there = {each.slot: each for each in state.of(role)}
        for slot in range(1, SLOTS + 1):
            made += _steps(f"{role}/s{slot}", there.get(slot), servers[role, f"s{slot}"])
    told = [line.split()[1:] for line in ask(place, f"show map {place / 'shares.map'}").splitlines() if line.strip()]
    shares = {line[0]: line[1] for line in told if len(line) == 2}
    for role in ROLES[1:]:
        if shares.get(role) != (share := str(state.shares.get(role, 0))):
            made.append(f"set map {place / 'shares.map'} {role} {share}")
    return made


def _steps(server: str, replica: Replica | None, found: list[str]) -> list[str]:
    """Return the commands that bring one server to its replica's phase and port.

    Args:
        server: backend and server, such as live/s1.
        replica: the replica of the slot; None if the slot is free.
        found: the server's fields in `show servers state`.
    """
    bits, port = int(found[6]), found[18]
    # 0x04 only says how the configuration file began: `state ready` doesn't clear it, so it doesn't count.
    is_off, drains = bool(bits & (MAINTENANCE & ~0x04)), bool(bits & DRAIN)
    if replica is None or replica.phase == "starting":
        return [] if is_off else [f"set server {server} state maint"]
    if replica.phase == "draining":
        return [] if drains or is_off else [f"set server {server} state drain"]
    move = [] if port == str(replica.port) else [f"set server {server} addr 127.0.0.1 port {replica.port}"]
    off = [f"set server {server} state maint"] if move and not is_off else []
    ready = [f"set server {server} state ready"] if is_off or drains or move else []
    return [*off, *move, *ready]


def statuses(place: Place) -> dict[tuple[str, int], tuple[bool, int]]:
    """Return whether each server is up, and its number of queued and active requests, by role and slot."""
    lines = [line.split(",") for line in ask(place, "show stat").splitlines()]
    rows = [
        line for line in lines if len(line) > 17 and line[0] in ROLES and line[1][:1] == "s" and line[1][1:].isdigit()
    ]
    return {(row[0], int(row[1][1:])): (row[17].startswith("UP"), int(row[2] or 0) + int(row[4] or 0)) for row in rows}


def drained(place: Place, replicas: list[Replica], seconds: float) -> None:
    """Wait until these replicas have no requests left, for at most `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        now = statuses(place)
        if not any(now[each.role, each.slot][1] for each in replicas):
            return
        time.sleep(0.05)
