"""What several modules of these tests share: images in one store, and a world in which the workflows are rehearsed."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rehearse.actions import PROGRAMS
from rehearse.world import World
from tests.support import forks
from tests.support.small_project import SMALL

ALOUD = os.environ.get("REHEARSE") == "aloud"
FIRST = "test_a_good_edit_passes_and_is_told_so"
"""The scenario whose log is told where that was asked for."""


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of a run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def images(shared: Path) -> Path:
    """The folder of the store of images: the base and the packages are made once."""
    return shared / "images"


class Log:
    """Keeps the log of each scenario; tells the first aloud where that was asked for."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.is_aloud = False
        self.table: list[tuple[str, str, float]] = []

    def say(self, line: str) -> None:
        self.lines.append(line)
        if self.is_aloud:
            print(line)


@pytest.fixture(scope="module")
def log() -> Iterator[Log]:
    kept = Log()
    yield kept
    if ALOUD:
        print("\n\nrehearsed                                                                   seconds  at the end")
        for name, state, seconds in kept.table:
            print(f"  {name:<72}  {seconds:>6.0f}  {state}")


@pytest.fixture(scope="module")
def small() -> str:
    """The settings that keep the project small."""
    return SMALL


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, log: Log, small: str, shared: Path) -> Iterator[World]:
    if forks.FOLDER in os.environ:
        os.environ[PROGRAMS] = os.environ[forks.FOLDER]
    world = World.make(tmp_path_factory.mktemp("world"), small, log.say, shared / "computed")
    yield world
    world.forge.close()
    assert world.forge.unknown == []


@pytest.fixture
def world(stage: World, log: Log, request: pytest.FixtureRequest) -> Iterator[World]:
    """The world, in which each scenario has branches of its own."""
    log.is_aloud = ALOUD and request.node.name == FIRST
    started, before = time.monotonic(), len(stage.forge.statuses)
    yield stage
    log.is_aloud = False
    new = [f"{each['context']} {each['state']}" for each in stage.forge.statuses[before:]]
    name = request.node.name.removeprefix("test_").replace("_", " ")
    log.table.append((name, ", ".join(new) or "no status", time.monotonic() - started))
