"""The target local: runs replicas as supervised processes on loopback, behind HAProxy.

A rollout loses no request: new replicas start, become ready and pass the smoke test before they get requests, and old
replicas stop after their last request.
"""

import hashlib
import json
import secrets
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from merit.deploy import packages
from merit.deploy.targets import Actual, Desired, Facts
from merit.deploy.targets.local import proxy as local_proxy
from merit.deploy.targets.local import replica_start
from merit.deploy.targets.local.state import ROLES, Place, Replica, State, needed, read, units, write
from merit.deploy.targets.local.supervisor import Supervisor
from merit.errors import MeritError, Refused

SHOWN = len("sha256:") + 12
"""The number of characters of a package's digest in messages and facts."""


class Local:
    """A target that runs an environment on this machine.

    Args:
        desired: the declared state.
    """

    def __init__(self, desired: Desired) -> None:
        self._desired = desired
        self._place = Place(desired.name)
        self._supervisor = Supervisor(self._place)
        self._settings = desired.lock.serve.environment()
        self._key = secrets.token_urlsafe(32)

    def desired(self) -> Facts:
        """Return the description of what should run."""
        told = self._desired.environment
        if told.version is None:
            return {}
        return {
            "version": told.version,
            "model": self._desired.lock.name,
            "package": self._package(told.version),
            "replicas": told.replicas,
            **{role: self._split(role) for role in ROLES[1:]},
            "port": told.local.port,
            "settings": _digest(self._settings),
        }

    def _split(self, role: str) -> dict[str, object] | None:
        split = self._desired.splits.get(role)
        if split is None:
            return None
        return {
            "version": split.version,
            "package": self._package(split.version),
            "share": units(split.share) / 10_000,
        }

    def _package(self, version: str) -> str:
        return self._desired.versions[version].lineage.package[:SHOWN]

    def actual(self) -> Actual:
        """Return the running state."""
        state = read(self._place)
        if state is None:
            pid = self._supervisor.pid()
            lost = {"version": "unknown", "lost": f"supervisord (process {pid}), whose files are gone"}
            return Actual({}, healthy=True) if pid is None else Actual(lost, healthy=False)
        well = self._well(state)
        live = state.of("live", "serving")
        facts: Facts = {
            "version": ", ".join(sorted({each.version for each in live})) or None,
            "model": ", ".join(sorted({packages.model(each.package) or "unknown" for each in live})) or None,
            "package": _packages(live),
            "replicas": sum(each.name in well for each in live),
            **{role: self._running(state, role, well) for role in ROLES[1:]},
            "port": state.port,
            "settings": ", ".join(sorted({each.what.partition(" ")[2] for each in state.replicas})),
        }
        if unfinished := len(state.replicas) - len([each for each in state.replicas if each.phase == "serving"]):
            facts["unfinished"] = unfinished
        if (proxy := self._proxy(state)) is not None:
            facts["proxy"] = proxy
        return Actual(facts, len(well) == len(state.replicas) and proxy is None, state.since)

    def _running(self, state: State, role: str, well: set[str]) -> dict[str, object] | None:
        there = state.of(role, "serving")
        if not there:
            return None
        told: dict[str, object] = {"version": ", ".join(sorted({each.version for each in there}))}
        told["package"] = _packages(there)
        told["share"] = state.shares.get(role, 0) / 10_000
        dead = sum(each.name not in well for each in there)
        return {**told, "dead": dead} if dead else told

    def _proxy(self, state: State) -> str | None:
        """Return what is wrong with the proxy; None if nothing is."""
        if not local_proxy.answers(self._place):
            return "down"
        return "changed by hand" if local_proxy.differences(self._place, state) else None

    def _well(self, state: State) -> set[str]:
        """Return the names of the replicas that run and that the proxy reports as healthy."""
        states = self._supervisor.states()
        try:
            up = local_proxy.statuses(self._place)
        except MeritError:
            up = {}
        return {
            each.name
            for each in state.replicas
            if states.get(each.name) == "RUNNING" and up.get((each.role, each.slot), (False, 0))[0]
        }

    def check(self) -> None:
        """Check that the package of every declared version is here or can be fetched."""
        for version in self._desired.versions.values():
            packages.require(version)

    def apply(self) -> list[str]:
        """Roll out the declared state; return the actions taken."""
        before, after = self.actual(), self.desired()
        if before.facts == after:
            return []
        if not after:
            return self._end()
        local_proxy.command(self._place)
        ended = self._end_lost()
        state = read(self._place) or State(after["port"])
        if state.port != after["port"] or not local_proxy.answers(self._place):
            replica_start.check_free(after["port"])
        (self._place / "logs").mkdir(parents=True, exist_ok=True, mode=0o700)
        state = self._mended(state)
        self._start(state)
        return [*ended, *self._switch(state)]

    def _end_lost(self) -> list[str]:
        """Stop a supervisor whose files were removed: it can't be controlled, and its proxy blocks the port."""
        if read(self._place) is not None or (pid := self._supervisor.pid()) is None:
            return []
        self._supervisor.end()
        return [f"ended supervisord (process {pid}), whose files were gone"]

    def _end(self) -> list[str]:
        self._supervisor.end()
        shutil.rmtree(self._place.folder, ignore_errors=True)
        return ["stopped all that ran"]

    def _wanted(self) -> dict[str, tuple[str, str, int]]:
        """Return for each role its version, the digest of package and settings, and its number of replicas."""
        told, splits = self._desired.environment, self._desired.splits
        assert told.version is not None
        asked = {"live": (told.version, None), **{role: (s.version, s.share) for role, s in splits.items()}}
        return {
            role: (version, self._what(version), needed(told.replicas, share))
            for role, (version, share) in asked.items()
        }

    def _what(self, version: str) -> str:
        return f"{self._desired.versions[version].lineage.package} {_digest(self._settings)}"

    def _told(self) -> dict[str, str]:
        """Return a replica's environment variables: settings, and the hash of the smoke test's key (never stored)."""
        return {**self._settings, "MERIT_PROBE": hashlib.sha256(self._key.encode()).hexdigest()}

    def _mended(self, state: State) -> State:
        """Remove dead replicas, and those that an interrupted apply left starting, from the state.

        An unhealthy replica that still runs is marked for replacement and keeps serving until its successor is ready.
        """
        well, states = self._well(state), self._supervisor.states()
        there = [each for each in state.replicas if states.get(each.name) == "RUNNING" and each.phase != "starting"]
        for each in there:
            each.what = each.what if each.name in well else ""
        state.replicas = there
        return state

    def _start(self, state: State) -> None:
        """Start the missing replicas and run their smoke tests; if one fails, stop all new ones.

        Raises:
            Refused: a replica did not become ready, or failed its smoke test.
        """
        fresh: list[Replica] = []
        folders = {}
        for role, (version, what, count) in self._wanted().items():
            folders[version] = self._fetch(version)
            fitting = [each for each in state.of(role, "serving") if each.what == what]
            for _ in range(count - len(fitting)):
                state.made += 1
                slot, port = state.free_slot(role), replica_start.free_port()
                fresh.append(Replica(f"r{state.made}", role, slot, port, "starting", version, what))
                state.replicas.append(fresh[-1])
                replica_start.write(self._place, fresh[-1], self._desired, folders[version], self._told())
        try:
            self._settle(state)
            with ThreadPoolExecutor(max_workers=len(fresh) or 1) as pool:
                list(pool.map(lambda each: self._try(each, folders[each.version]), fresh))
        except MeritError:
            state.replicas = [each for each in state.replicas if each.phase != "starting"]
            if state.replicas:
                self._settle(state)
            else:
                self._end()
            raise

    def _fetch(self, version: str) -> Path:
        told = self._desired
        return packages.fetch(told.versions[version], told.lock, demanded=told.environment.demands.signature)

    def _try(self, replica: Replica, package: Path) -> None:
        """Wait until a replica is ready, then run the smoke test."""
        name = f"{self._desired.lock.name}@{replica.version}"
        address = f"http://127.0.0.1:{replica.port}"
        if not replica_start.becomes_ready(replica, lambda: self._supervisor.states().get(replica.name, "")):
            raise Refused(
                f"{name} does not become ready on {self._desired.name}, so nothing was switched: "
                f"{replica_start.last_words(self._place, replica)}"
            )
        if self._desired.probe is not None:
            commit = self._desired.versions[replica.version].commit
            self._desired.probe(package, replica.version, address, self._key, commit)

    def _settle(self, state: State) -> None:
        """Store the state, and bring the supervisor and the proxy to it."""
        write(self._place, state)
        local_proxy.write(self._place, state, self._desired.lock.serve.timeout_seconds)
        programs = {each.name: replica_start.command(self._place, each) for each in state.replicas}
        self._supervisor.configure({local_proxy.PROGRAM: local_proxy.command(self._place), **programs})
        if self._supervisor.states().get(local_proxy.PROGRAM) in {"FATAL", "STOPPED", "EXITED"}:
            self._supervisor.revive(local_proxy.PROGRAM)
        local_proxy.wait(self._place)
        if steps := local_proxy.differences(self._place, state):
            local_proxy.ask(self._place, *steps)

    def _switch(self, state: State) -> list[str]:
        """Route requests to the new replicas, drain the old ones and stop them; return the actions taken."""
        # The order avoids gaps: new replicas get requests, then are healthy in the proxy, then old ones are drained.
        wanted, told = self._wanted(), self._desired.environment
        done = [f"started {each.version} ({each.role})" for each in state.replicas if each.phase == "starting"]
        former = {(each.version, each.package) for each in state.of("live", "serving", "draining")}
        now = (told.version, wanted["live"][1].partition(" ")[0])
        for each in state.replicas:
            each.phase = "serving" if each.phase == "starting" else each.phase
        state.since = state.since if former == {now} else datetime.now(UTC).isoformat(timespec="seconds")
        moves, state.port = state.port != told.local.port, told.local.port
        self._settle(state)
        if moves:
            self._supervisor.restart(local_proxy.PROGRAM)
            local_proxy.wait(self._place)
        self._await_up(state, wanted)
        old = [each for each in state.replicas if not _fits(state, each, wanted)]
        shares = {role: units(split.share) for role, split in self._desired.splits.items()}
        if shares != state.shares:
            done.append("shares: " + (", ".join(f"{role} {n / 100:g} %" for role, n in shares.items()) or "none"))
        state.shares = shares
        for each in old:
            each.phase = "draining"
        self._settle(state)
        local_proxy.drained(self._place, old, self._desired.lock.serve.timeout_seconds + 5)
        done += [f"stopped {each.version} ({each.role})" for each in old]
        state.replicas = [each for each in state.replicas if each.phase != "draining"]
        self._settle(state)
        for each in old:
            replica_start.forget(self._place, each)
        return done or ["put the proxy right"]

    def _await_up(self, state: State, wanted: dict[str, tuple[str, str, int]]) -> None:
        """Wait until the proxy reports all remaining replicas as healthy.

        Raises:
            Refused: it doesn't in time; the old replicas keep serving.
        """
        left = [each for each in state.replicas if _fits(state, each, wanted)]
        deadline = time.monotonic() + local_proxy.SECONDS
        while time.monotonic() < deadline:
            with suppress(KeyError):
                now = local_proxy.statuses(self._place)
                if all(now[each.role, each.slot][0] for each in left):
                    return
            time.sleep(0.02)
        raise Refused(f"{self._desired.name}: the proxy finds the new replicas unhealthy; the old ones keep serving")


def _fits(state: State, replica: Replica, wanted: dict[str, tuple[str, str, int]]) -> bool:
    """Return whether a replica stays: it serves the declared package and settings, and is not surplus."""
    if replica.role not in wanted or replica.phase != "serving":
        return False
    _, what, count = wanted[replica.role]
    same = [each.name for each in state.of(replica.role, "serving") if each.what == what]
    return replica.name in same[-count:]


def _packages(replicas: list[Replica]) -> str | None:
    return ", ".join(sorted({each.package[:SHOWN] or "unknown" for each in replicas})) or None


def _digest(settings: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
