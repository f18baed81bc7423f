"""The proxy before an environment's replicas: HAProxy, changed while it runs over its socket, never reloaded.

What is changed while it runs is written to its configuration as well: one that is started anew goes on the same.
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
LUA = Path(__file__).with_name("shadow.lua")
MAINTENANCE, DRAIN = 0x01 | 0x02 | 0x04, 0x08 | 0x10
"""Bits of what HAProxy calls a server's administrative state; 0x04 says that its configuration begins so."""


def command(place: Place) -> str:
    """Return the command that the supervisor runs; the proxy ends when the supervisor does.

    Raises:
        MeritError: HAProxy is not installed.
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
    """Write its configuration as the state has it.

    Args:
        place: where the environment's files lie.
        state: which replicas there are.
        seconds: how long a replica may take to answer.
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
  # A prediction changes nothing, so what a dying replica leaves unanswered is asked of another.
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
    serves = replica is not None and replica.phase == "serving"
    return f"127.0.0.1:{replica.port if replica else 1}{'' if serves else ' disabled'}"


def ask(place: Place, *commands: str) -> str:
    """Send commands over its socket and return what it says.

    Raises:
        MeritError: it doesn't answer.
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
    """Say whether it runs."""
    try:
        return "Uptime_sec" in ask(place, "show info")
    except MeritError:
        return False


def wait(place: Place) -> None:
    """Wait until it runs.

    Raises:
        MeritError: it doesn't, such as when its port is taken.
    """
    deadline = time.monotonic() + SECONDS
    while not answers(place):
        if time.monotonic() > deadline:
            log = place / "logs/proxy.log"
            said = log.read_text(encoding="utf-8", errors="replace").split("\n")[-4:] if log.is_file() else []
            raise MeritError(f"the proxy of {place.name} doesn't start: {' '.join(' '.join(said).split())[-300:]}")
        time.sleep(0.05)


def differences(place: Place, state: State) -> list[str]:
    """Return the commands that make the running proxy what the state says; none if it is."""
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
    bits, port = int(found[6]), found[18]
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
    """Return of each server whether it is up, and how many requests it has, by role and slot."""
    lines = [line.split(",") for line in ask(place, "show stat").splitlines()]
    rows = [
        line for line in lines if len(line) > 17 and line[0] in ROLES and line[1][:1] == "s" and line[1][1:].isdigit()
    ]
    return {(row[0], int(row[1][1:])): (row[17].startswith("UP"), int(row[2] or 0) + int(row[4] or 0)) for row in rows}


def drained(place: Place, replicas: list[Replica], seconds: float) -> None:
    """Wait until no request is left at these replicas, but not for longer than one may take."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        now = statuses(place)
        if not any(now[each.role, each.slot][1] for each in replicas):
            return
        time.sleep(0.05)
