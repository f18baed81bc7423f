"""The target local without processes: what its proxy and its supervisor are told."""

import json
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from merit import artifacts
from merit.config.schema.environment import Environment
from merit.deploy import package_cache
from merit.deploy.targets.interface import DesiredState
from merit.deploy.targets.local import proxy
from merit.deploy.targets.local.state import (
    LocalState,
    Replica,
    RuntimeFolder,
    convert_share,
    count_replicas,
    read_state,
    write_state,
)
from merit.deploy.targets.registry import create_target
from merit.dvc import cache
from merit.errors import MeritError
from merit.registry import tags
from merit.registry.tags import Lineage, Version

PLACE = RuntimeFolder("staging")
NOW = datetime.now(UTC)


def replica(number: int, phase="serving", role="live") -> Replica:
    return Replica(f"r{number}", role, number, 4000 + number, phase, "v1", "sha256:0 s")


def served(state: LocalState, spoil=()) -> str:
    """Return what a proxy that does as the state says answers to `show servers state`."""
    bits = {"serving": 4, "draining": 12, "starting": 5}
    lines = ["1", "# be_id be_name"]
    for role in ("live", "canary", "shadow"):
        there = {each.slot: each for each in state.select_replicas(role)}
        for slot in range(1, 33):
            each = there.get(slot)
            found = bits[each.phase] if each else 5
            words = ["4", role, str(slot), f"s{slot}", "127.0.0.1", "2", str(found)] + ["0"] * 11
            lines.append(" ".join([*words, str(each.port if each else 1), "-"]))
    return "\n".join(lines)


@pytest.fixture
def said(monkeypatch):
    """What the proxy says to each question."""
    answers: dict[str, str] = {}
    monkeypatch.setattr(
        proxy, "send_commands", lambda place, *asked: answers["map" if "map" in asked[0] else "servers"]
    )
    return answers


def test_a_proxy_that_is_as_the_state_says_is_told_nothing(said):
    state = LocalState(
        3100, replicas=[replica(1), replica(2, "draining"), replica(3, "starting")], shares={"canary": 2500}
    )
    said.update(servers=served(state), map="0x1 canary 2500\n0x2 shadow 0\n")
    assert proxy.diff_state(PLACE, state) == []


def test_a_proxy_is_told_what_differs_and_no_more(said):
    before = LocalState(3100, replicas=[replica(1), replica(2)])
    said.update(servers=served(before), map="0x1 canary 0\n0x2 shadow 0\n")
    after = LocalState(3100, replicas=[replica(1, "draining"), replica(3)], shares={"shadow": 1})
    assert proxy.diff_state(PLACE, after) == [
        "set server live/s1 state drain",
        "set server live/s2 state maint",
        "set server live/s3 addr 127.0.0.1 port 4003",
        "set server live/s3 state ready",
        "set map .merit/environments/staging/shares.map shadow 1",
    ]


def test_a_proxy_that_is_started_anew_goes_on_the_same(workdir):
    state = LocalState(
        3100, replicas=[replica(1), replica(2, "draining"), replica(1, role="canary")], shares={"canary": 500}
    )
    proxy.write_config(PLACE, state, 10)
    text = (PLACE / "haproxy.cfg").read_text()
    assert "  server s1 127.0.0.1:4001\n  server s2 127.0.0.1:4002 disabled\n" in text
    assert (PLACE / "shares.map").read_text() == "canary 500\nshadow 0\n"
    assert "bind 127.0.0.1:3100\n" in text


def test_a_state_is_read_back_as_it_was_written(workdir):
    state = LocalState(3100, 4, "2024-01-01", {"canary": 1}, [replica(1)])
    write_state(PLACE, state)
    assert read_state(PLACE) == state


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"port": 3100, "replicas": [], "shares": []}',
        '{"port": "3100", "replicas": []}',
        json.dumps({"port": 3100, "replicas": [{**vars(replica(1)), "what": 5}]}),
        json.dumps({"port": 3100, "replicas": [{**vars(replica(1)), "phase": "x"}]}),
        b'{"port": 3100, "since": "\xe9"}',
    ],
)
def test_a_state_of_another_form_is_one_line(workdir, text):
    PLACE.path.mkdir(parents=True)
    (PLACE / "state.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(
        MeritError, match=r"state\.json: can't be read \(.+; stop what .+'merit apply staging' again"
    ) as caught:
        read_state(PLACE)
    assert "\n" not in str(caught.value)


def test_shares_and_replicas_are_never_rounded_to_nothing():
    assert [convert_share(share) for share in (0.00001, 0.25, 1)] == [1, 2500, 10_000]
    assert [count_replicas(4, share) for share in (None, 0.01, 0.5, 1)] == [4, 1, 2, 4]


def _version(model: str, digest: str) -> Version:
    lineage = Lineage.model_construct(package=digest)
    return Version(model, 1, "c" * 40, lineage, "t", NOW)


def test_another_package_of_the_same_number_is_a_difference(workdir, lock, monkeypatch):
    old, new = ("sha256:" + digit * 64 for digit in "12")
    artifacts.write_json(package_cache.PACKAGES_FOLDER / old[7:] / "model/manifest.json", {"model": "former"})
    monkeypatch.setattr(proxy, "is_running", lambda place: False)
    target = create_target(DesiredState("staging", Environment(version="v1"), lock, {"v1": _version("tiny", new)}))
    settings = target.describe_desired()["settings"]
    write_state(
        PLACE, LocalState(3100, replicas=[Replica("r1", "live", 1, 4001, "serving", "v1", f"{old} {settings}")])
    )
    now, declared = target.read_actual().facts, target.describe_desired()
    assert {name: now[name] for name in ("version", "model", "package", "settings")} == {
        "version": "v1",
        "model": "former",
        "package": "sha256:" + "1" * 12,
        "settings": settings,
    }
    assert (declared["version"], declared["model"], declared["package"]) == ("v1", "tiny", "sha256:" + "2" * 12)


def test_a_package_that_is_nowhere_is_told_by_the_plan(workdir, lock, monkeypatch):
    monkeypatch.setattr(tags, "fetch_packages", lambda wanted: None)
    monkeypatch.setattr(cache, "find_files", lambda md5: None)
    lacking = Version("tiny", 1, "c" * 40, Lineage.model_construct(package="sha256:" + "1" * 64, dvc="a.dir"), "t", NOW)
    target = create_target(DesiredState("staging", Environment(version="v1"), lock, {"v1": lacking}))
    with pytest.raises(
        MeritError, match=r"^tiny@v1: its package \(a\.dir\) is neither in DVC's cache nor in its remote"
    ):
        target.check_inputs()
    package_cache.get_folder(lacking).mkdir(parents=True)
    target.check_inputs()


def test_a_supervisor_whose_files_were_moved_away_is_found_told_and_ended(workdir, lock):
    command = ["-c", "import time; time.sleep(60)", "-m", "supervisor.supervisord", "-c"]
    with subprocess.Popen([sys.executable, *command, str(PLACE / "supervisord.conf")]) as lost:
        other = create_target(DesiredState("production", Environment(version=None), lock))
        assert other.read_actual().facts == {}
        target = create_target(DesiredState("staging", Environment(version=None), lock))
        found = target.read_actual()
        assert (found.facts["lost"], found.healthy) == (
            f"supervisord (process {lost.pid}), whose files are gone",
            False,
        )
        waiting = threading.Thread(target=lost.wait)
        waiting.start()
        assert target.apply() == ["stopped all that ran"]
        waiting.join(10)
        assert lost.returncode == -signal.SIGTERM
    assert target.read_actual().facts == {}


def test_where_nothing_runs_and_nothing_is_declared_nothing_differs(workdir, lock):
    target = create_target(DesiredState("staging", Environment(version=None), lock))
    assert target.describe_desired() == target.read_actual().facts == {}
    assert target.apply() == []
    assert not Path(".merit").exists()
