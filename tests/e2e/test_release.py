"""`merit release` for real: buildah builds, a registry on loopback keeps, podman runs by digest."""

import json
import os
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests import containers as tools
from tests import released
from tests.containers import Containers
from tests.endpoint import free_port
from tests.released import EXAMPLE
from tests.small_project import Project

from merit.releases import Release

pytestmark = tools.needed


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    with tools.containers(tmp_path_factory.mktemp("containers")) as made:
        yield made


def test_it(containers, tmp_path, make_package):
    project = released.make(tmp_path / "project", make_package, base=tools.BASE, engine="buildah")
    for name in range(2):
        t = time.time()
        done = subprocess.run(
            ["merit", "release", "tiny@v1"],
            cwd=project.folder,
            env={**project.environment(), **containers.environment},
            capture_output=True,
            text=True,
        )
        print(done.returncode, done.stdout, done.stderr, time.time() - t)
    print(project.run("git", "show", "--no-patch", "release/tiny@v1").stdout)
    print(subprocess.run(["find", project.folder / ".merit"]))
