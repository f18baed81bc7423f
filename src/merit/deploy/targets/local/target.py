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

from merit.deploy import package_cache
from merit.deploy.targets.interface import ActualState, DesiredState, Facts
from merit.deploy.targets.local import proxy as local_proxy
from merit.deploy.targets.local import replica_start
from merit.deploy.targets.local.declaration import find_problems  # noqa: F401  # called by the name of this extension
from merit.deploy.targets.local.state import (
    ROLES,
    LocalState,
    Replica,
    RuntimeFolder,
    convert_share,
    count_replicas,
    read_state,
    write_state,
)
from merit.deploy.targets.local.supervisor import Supervisor
from merit.errors import MeritError, Refused

NAME = "local"
RUNS_IMAGES = False
RENDERS_FILES = False
DIGEST_CHARS = len("sha256:") + 12
"""The number of characters of a package's digest in messages and facts."""


class LocalTarget:
    """A target that runs an environment on this machine.

    Args:
        desired: the declared state.
    """

    def __init__(self, desired: DesiredState) -> None:
        self._desired = desired
        self._runtime = RuntimeFolder(desired.name)
        self._supervisor = Supervisor(self._runtime)
        self._settings = desired.lock.serve.to_environment_variables()
        self._key = secrets.token_urlsafe(32)

    def describe_desired(self) -> Facts:
        """Return the description of what should run."""
        environment = self._desired.environment
        if environment.version is None:
            return {}
        return {
            "version": environment.version,
            "model": self._desired.lock.name,
            "package": self._shorten_package(environment.version),
            "replicas": environment.replicas,
            **{role: self._describe_split(role) for role in ROLES[1:]},
            "port": environment.local.port,
            "settings": _hash_settings(self._settings),
        }

    def _describe_split(self, role: str) -> dict[str, object] | None:
        split = self._desired.splits.get(role)
        if split is None:
            return None
        return {
            "version": split.version,
            "package": self._shorten_package(split.version),
            "share": convert_share(split.share) / 10_000,
        }

    def _shorten_package(self, version: str) -> str:
        return self._desired.versions[version].lineage.package[:DIGEST_CHARS]

    def read_actual(self) -> ActualState:
        """Return the running state."""
        state = read_state(self._runtime)
        if state is None:
            pid = self._supervisor.find_pid()
            orphan_facts = {"version": "unknown", "lost": f"supervisord (process {pid}), whose files are gone"}
            return ActualState({}, healthy=True) if pid is None else ActualState(orphan_facts, healthy=False)
        healthy = self._find_healthy(state)
        live = state.select_replicas("live", "serving")
        facts: Facts = {
            "version": ", ".join(sorted({each.version for each in live})) or None,
            "model": ", ".join(sorted({package_cache.read_model_name(each.package) or "unknown" for each in live}))
            or None,
            "package": _format_packages(live),
            "replicas": sum(each.name in healthy for each in live),
            **{role: self._describe_running(state, role, healthy) for role in ROLES[1:]},
            "port": state.port,
            "settings": ", ".join(sorted({each.what.partition(" ")[2] for each in state.replicas})),
        }
        if unfinished := len(state.replicas) - len([each for each in state.replicas if each.phase == "serving"]):
            facts["unfinished"] = unfinished
        if (proxy := self._find_proxy_fault(state)) is not None:
            facts["proxy"] = proxy
        return ActualState(facts, len(healthy) == len(state.replicas) and proxy is None, state.since)

    def _describe_running(self, state: LocalState, role: str, healthy: set[str]) -> dict[str, object] | None:
        serving = state.select_replicas(role, "serving")
        if not serving:
            return None
        facts: dict[str, object] = {"version": ", ".join(sorted({each.version for each in serving}))}
        facts["package"] = _format_packages(serving)
        facts["share"] = state.shares.get(role, 0) / 10_000
        dead = sum(each.name not in healthy for each in serving)
        return {**facts, "dead": dead} if dead else facts

    def _find_proxy_fault(self, state: LocalState) -> str | None:
        """Return what is wrong with the proxy; None if nothing is."""
        if not local_proxy.is_running(self._runtime):
            return "down"
        return "changed by hand" if local_proxy.diff_state(self._runtime, state) else None

    def _find_healthy(self, state: LocalState) -> set[str]:
        """Return the names of the replicas that run and that the proxy reports as healthy."""
        states = self._supervisor.read_states()
        try:
            server_statuses = local_proxy.read_statuses(self._runtime)
        except MeritError:
            server_statuses = {}
        return {
            each.name
            for each in state.replicas
            if states.get(each.name) == "RUNNING" and server_statuses.get((each.role, each.slot), (False, 0))[0]
        }

    def check_inputs(self) -> None:
        """Check that the package of every declared version is here or can be fetched."""
        for version in self._desired.versions.values():
            package_cache.require_package(version)

    def apply(self) -> list[str]:
        """Roll out the declared state; return the actions taken."""
        before, after = self.read_actual(), self.describe_desired()
        if before.facts == after:
            return []
        if not after:
            return self._stop_all()
        local_proxy.build_command(self._runtime)
        stop_actions = self._stop_orphan()
        state = read_state(self._runtime) or LocalState(after["port"])
        if state.port != after["port"] or not local_proxy.is_running(self._runtime):
            replica_start.check_port_free(after["port"])
        (self._runtime / "logs").mkdir(parents=True, exist_ok=True, mode=0o700)
        state = self._drop_dead_replicas(state)
        self._start_replicas(state)
        return [*stop_actions, *self._switch_replicas(state)]

    def _stop_orphan(self) -> list[str]:
        """Stop a supervisor whose files were removed: it can't be controlled, and its proxy blocks the port."""
        if read_state(self._runtime) is not None or (pid := self._supervisor.find_pid()) is None:
            return []
        self._supervisor.stop_all()
        return [f"ended supervisord (process {pid}), whose files were gone"]

    def _stop_all(self) -> list[str]:
        self._supervisor.stop_all()
        shutil.rmtree(self._runtime.path, ignore_errors=True)
        return ["stopped all that ran"]

    def _plan_roles(self) -> dict[str, tuple[str, str, int]]:
        """Return for each role its version, the digest of package and settings, and its number of replicas."""
        environment, splits = self._desired.environment, self._desired.splits
        assert environment.version is not None
        role_shares = {
            "live": (environment.version, None),
            **{role: (s.version, s.share) for role, s in splits.items()},
        }
        return {
            role: (version, self._build_fingerprint(version), count_replicas(environment.replicas, share))
            for role, (version, share) in role_shares.items()
        }

    def _build_fingerprint(self, version: str) -> str:
        return f"{self._desired.versions[version].lineage.package} {_hash_settings(self._settings)}"

    def _build_variables(self) -> dict[str, str]:
        """Return a replica's environment variables: settings, and the hash of the smoke test's key (never stored)."""
        return {**self._settings, "MERIT_PROBE": hashlib.sha256(self._key.encode()).hexdigest()}

    def _drop_dead_replicas(self, state: LocalState) -> LocalState:
        """Remove dead replicas, and those that an interrupted apply left starting, from the state.

        An unhealthy replica that still runs is marked for replacement and keeps serving until its successor is ready.
        """
        healthy, states = self._find_healthy(state), self._supervisor.read_states()
        running = [each for each in state.replicas if states.get(each.name) == "RUNNING" and each.phase != "starting"]
        for each in running:
            each.what = each.what if each.name in healthy else ""
        state.replicas = running
        return state

    def _start_replicas(self, state: LocalState) -> None:
        """Start the missing replicas and run their smoke tests; if one fails, stop all new ones.

        Raises:
            Refused: a replica did not become ready, or failed its smoke test.
        """
        new_replicas: list[Replica] = []
        folders = {}
        for role, (version, fingerprint, count) in self._plan_roles().items():
            folders[version] = self._fetch_package(version)
            up_to_date = [each for each in state.select_replicas(role, "serving") if each.what == fingerprint]
            for _ in range(count - len(up_to_date)):
                state.made += 1
                slot, port = state.find_free_slot(role), replica_start.find_free_port()
                new_replicas.append(Replica(f"r{state.made}", role, slot, port, "starting", version, fingerprint))
                state.replicas.append(new_replicas[-1])
                replica_start.write_settings(
                    self._runtime, new_replicas[-1], self._desired, folders[version], self._build_variables()
                )
        try:
            self._apply_state(state)
            with ThreadPoolExecutor(max_workers=len(new_replicas) or 1) as pool:
                list(pool.map(lambda each: self._test_replica(each, folders[each.version]), new_replicas))
        except MeritError:
            state.replicas = [each for each in state.replicas if each.phase != "starting"]
            if state.replicas:
                self._apply_state(state)
            else:
                self._stop_all()
            raise

    def _fetch_package(self, version: str) -> Path:
        desired = self._desired
        return package_cache.fetch_package(
            desired.versions[version], desired.lock, require_signature=desired.environment.demands.signature
        )

    def _test_replica(self, replica: Replica, package: Path) -> None:
        """Wait until a replica is ready, then run the smoke test."""
        name = f"{self._desired.lock.name}@{replica.version}"
        address = f"http://127.0.0.1:{replica.port}"
        if not replica_start.wait_until_ready(replica, lambda: self._supervisor.read_states().get(replica.name, "")):
            raise Refused(
                f"{name} does not become ready on {self._desired.name}, so nothing was switched: "
                f"{replica_start.read_last_log_line(self._runtime, replica)}"
            )
        if self._desired.probe is not None:
            commit = self._desired.versions[replica.version].commit
            self._desired.probe(package, replica.version, address, self._key, commit)

    def _apply_state(self, state: LocalState) -> None:
        """Store the state, and bring the supervisor and the proxy to it."""
        write_state(self._runtime, state)
        local_proxy.write_config(self._runtime, state, self._desired.lock.serve.timeout_seconds)
        programs = {each.name: replica_start.build_command(self._runtime, each) for each in state.replicas}
        self._supervisor.set_programs({local_proxy.PROGRAM_NAME: local_proxy.build_command(self._runtime), **programs})
        if self._supervisor.read_states().get(local_proxy.PROGRAM_NAME) in {"FATAL", "STOPPED", "EXITED"}:
            self._supervisor.start_program(local_proxy.PROGRAM_NAME)
        local_proxy.wait_until_running(self._runtime)
        if commands := local_proxy.diff_state(self._runtime, state):
            local_proxy.send_commands(self._runtime, *commands)

    def _switch_replicas(self, state: LocalState) -> list[str]:
        """Route requests to the new replicas, drain the old ones and stop them; return the actions taken."""
        # The order avoids gaps: new replicas get requests, then are healthy in the proxy, then old ones are drained.
        required_roles, environment = self._plan_roles(), self._desired.environment
        actions = [f"started {each.version} ({each.role})" for each in state.replicas if each.phase == "starting"]
        previous_live = {(each.version, each.package) for each in state.select_replicas("live", "serving", "draining")}
        new_live = (environment.version, required_roles["live"][1].partition(" ")[0])
        for each in state.replicas:
            each.phase = "serving" if each.phase == "starting" else each.phase
        state.since = state.since if previous_live == {new_live} else datetime.now(UTC).isoformat(timespec="seconds")
        port_changes, state.port = state.port != environment.local.port, environment.local.port
        self._apply_state(state)
        if port_changes:
            self._supervisor.restart_program(local_proxy.PROGRAM_NAME)
            local_proxy.wait_until_running(self._runtime)
        self._wait_until_healthy(state, required_roles)
        obsolete = [each for each in state.replicas if not _is_current(state, each, required_roles)]
        shares = {role: convert_share(split.share) for role, split in self._desired.splits.items()}
        if shares != state.shares:
            actions.append("shares: " + (", ".join(f"{role} {n / 100:g} %" for role, n in shares.items()) or "none"))
        state.shares = shares
        for each in obsolete:
            each.phase = "draining"
        self._apply_state(state)
        local_proxy.wait_until_drained(self._runtime, obsolete, self._desired.lock.serve.timeout_seconds + 5)
        actions += [f"stopped {each.version} ({each.role})" for each in obsolete]
        state.replicas = [each for each in state.replicas if each.phase != "draining"]
        self._apply_state(state)
        for each in obsolete:
            replica_start.remove_files(self._runtime, each)
        return actions or ["put the proxy right"]

    def _wait_until_healthy(self, state: LocalState, required_roles: dict[str, tuple[str, str, int]]) -> None:
        """Wait until the proxy reports all remaining replicas as healthy.

        Raises:
            Refused: it doesn't in time; the old replicas keep serving.
        """
        remaining = [each for each in state.replicas if _is_current(state, each, required_roles)]
        deadline = time.monotonic() + local_proxy.PROXY_TIMEOUT_S
        while time.monotonic() < deadline:
            with suppress(KeyError):
                statuses = local_proxy.read_statuses(self._runtime)
                if all(statuses[each.role, each.slot][0] for each in remaining):
                    return
            time.sleep(0.02)
        raise Refused(f"{self._desired.name}: the proxy finds the new replicas unhealthy; the old ones keep serving")


def _is_current(state: LocalState, replica: Replica, required_roles: dict[str, tuple[str, str, int]]) -> bool:
    """Return whether a replica stays: it serves the declared package and settings, and is not surplus."""
    if replica.role not in required_roles or replica.phase != "serving":
        return False
    _, fingerprint, count = required_roles[replica.role]
    current_names = [each.name for each in state.select_replicas(replica.role, "serving") if each.what == fingerprint]
    return replica.name in current_names[-count:]


def _format_packages(replicas: list[Replica]) -> str | None:
    return ", ".join(sorted({each.package[:DIGEST_CHARS] or "unknown" for each in replicas})) or None


def _hash_settings(settings: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def create_target(desired: DesiredState) -> LocalTarget:
    """Return the target."""
    return LocalTarget(desired)
