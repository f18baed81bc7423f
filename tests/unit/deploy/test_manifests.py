"""The targets that are files: rendered, told when stale, written by apply."""

from pathlib import Path

import pytest

from merit.deploy.plan import plan
from merit.errors import MeritError
from tests.unit.deploy.conftest import IMAGE

pytestmark = pytest.mark.usefixtures("mlflow")


@pytest.mark.parametrize("target", ["kubernetes", "compose", "render", "cloudrun", "ecs", "spaces"])
def test_files_are_written_once_and_told_when_somebody_changed_them(repository, lock, mlflow, target):
    repository.release(1)
    repository.declare("staging", f"version: v1\nimage: {IMAGE}\ntarget: {target}\n")
    mlflow["staging"] = "tiny@v1"
    made = plan("staging", lock)
    files = [each.what for each in made.changes]
    assert files
    assert all(name.startswith("deploy/staging/") for name in files)
    assert len(made.target.apply()) == len(files)
    assert not plan("staging", lock).differs
    Path(files[0]).write_text("changed by hand")
    assert [each.what for each in plan("staging", lock).changes] == [files[0]]
    assert plan("staging", lock).target.apply() == [f"wrote {files[0]}"]
    repository.declare("staging", f"version: null\ntarget: {target}\n")
    mlflow.clear()
    assert plan("staging", lock).target.apply()
    assert not Path("deploy/staging").exists()


def test_what_a_platform_can_not_do_is_refused_with_the_file(repository, lock):
    repository.release(1)
    shadow = f"{{version: v1, image: '{IMAGE}', share: 0.1}}"
    repository.declare("staging", f"version: v1\nimage: {IMAGE}\ntarget: compose\ntraffic: {{shadow: {shadow}}}\n")
    with pytest.raises(MeritError, match=r"conf/environment/staging.yaml: traffic.shadow: .* local can"):
        plan("staging", lock)
