import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from merit.config.schema.release import Release
from merit.errors import MeritError
from merit.release import engine
from merit.release.engine import Engine
from merit.release.login import log_in

Put = Callable[..., None]
IMAGE = "127.0.0.1:5000/tiny:v1"


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Put programs on an otherwise empty PATH; each notes what it was called with."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(engine, "RETRY_PAUSES_S", (0.0, 0.0))

    def make(name: str, script: str = "") -> None:
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/notes\n{script}\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    return make


def _notes(tmp_path: Path) -> list[str]:
    return (tmp_path / "notes").read_text().splitlines()


def test_auto_takes_the_first_that_works(put: Put) -> None:
    put("docker", "echo no daemon >&2; exit 1")
    put("podman")
    put("buildah")
    assert engine.find_engine("auto") == Engine("podman")
    assert engine.find_engine("buildah") == Engine("buildah")


def test_no_engine_is_one_line_that_names_all(put: Put) -> None:
    put("docker", "echo no daemon >&2; exit 1")
    with pytest.raises(MeritError) as error:
        engine.find_engine("auto")
    told = str(error.value)
    assert "no daemon" in told
    assert "podman is not on PATH; buildah is not on PATH; install docker, podman or buildah" in told
    assert "\n" not in told


def test_a_named_engine_that_does_not_work_is_not_replaced_by_another(put: Put) -> None:
    put("podman")
    with pytest.raises(MeritError, match=r"release\.engine is docker: docker is not on PATH"):
        engine.find_engine("docker")


@pytest.mark.parametrize("name", ["docker", "podman", "buildah"])
def test_each_engine_is_told_base_labels_and_a_form_that_knows_health_checks(
    put: Put, tmp_path: Path, name: str
) -> None:
    put(name)
    Engine(name).build(tmp_path / "context", IMAGE, "python:3.11-slim", {"merit.version": "tiny@v1"})
    (line,) = _notes(tmp_path)
    assert "--build-arg BASE=python:3.11-slim" in line
    assert "--label merit.version=tiny@v1" in line
    assert ("--format docker" in line) == (name != "docker")


def test_of_a_page_of_a_build_only_the_errors_are_told(put: Put, tmp_path: Path) -> None:
    page = "; ".join(f"echo 'STEP {n}: RUN something long'" for n in range(30))
    put("podman", f"{page}; echo 'ERROR: No matching distribution for x'; echo 'Error: building at STEP' >&2; exit 1")
    with pytest.raises(MeritError) as caught:
        Engine("podman").build(tmp_path, IMAGE, "python:3.11-slim", {})
    told = "'podman build' failed: ERROR: No matching distribution for x; Error: building at STEP"
    assert str(caught.value) == told


def test_a_push_is_tried_again_and_then_one_line(put: Put, tmp_path: Path) -> None:
    put("docker", "echo connection refused >&2; exit 1")
    with pytest.raises(MeritError, match="'docker push' failed: connection refused"):
        Engine("docker").push(IMAGE)
    assert len(_notes(tmp_path)) == 3


def test_a_push_that_works_the_second_time_is_done(put: Put, tmp_path: Path) -> None:
    put("docker", f"test -e {tmp_path}/once || {{ : > {tmp_path}/once; exit 1; }}")
    Engine("docker").push(IMAGE)
    assert len(_notes(tmp_path)) == 2


@pytest.mark.parametrize(("image", "is_told"), [(IMAGE, True), ("registry.example.org/tiny:v1", False)])
def test_only_a_registry_on_this_machine_needs_no_tls(put: Put, tmp_path: Path, image: str, is_told: bool) -> None:
    put("podman")
    Engine("podman").push(image)
    assert ("--tls-verify=false" in _notes(tmp_path)[0]) == is_told


def test_buildah_leaves_no_container_behind_when_it_has_looked_inside(put: Put, tmp_path: Path) -> None:
    put("buildah", 'case "$1" in from) echo tiny-working;; run) echo found; exit 1;; esac')
    with pytest.raises(MeritError, match="'buildah run' failed: found"):
        Engine("buildah").run_python(IMAGE, "print()")
    assert _notes(tmp_path)[-1] == "buildah rm tiny-working"


def test_a_program_that_hangs_is_given_up(put: Put) -> None:
    put("docker", f"PATH={os.defpath} exec sleep 30")
    with pytest.raises(MeritError, match=r"'docker push' took more than 0\.1 seconds"):
        engine.run_program(["docker", "push"], 0.1)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Release:
    """A registry that somebody logs in at."""
    for name, value in {
        "MERIT_REGISTRY": "127.0.0.1:5000/house",
        "REGISTRY_USER": "ada",
        "REGISTRY_PASSWORD": "s3cret",
    }.items():
        monkeypatch.setenv(name, value)
    return Release(engine="podman")


def test_a_login_tells_the_password_by_standard_input_alone(put: Put, tmp_path: Path, registry: Release) -> None:
    put("podman", f'[ "$1" = login ] && /bin/cat > {tmp_path}/told; true')
    assert log_in(registry) == "podman: logged in at 127.0.0.1:5000 as ada"
    assert (tmp_path / "told").read_text() == "s3cret"
    assert _notes(tmp_path)[-1] == "podman login --tls-verify=false --username ada --password-stdin 127.0.0.1:5000"


def test_a_registry_that_lets_nobody_in_is_asked_thrice_and_then_one_line(
    put: Put, tmp_path: Path, registry: Release
) -> None:
    put("podman", '[ "$1" != login ] || { echo connection refused >&2; exit 1; }')
    with pytest.raises(MeritError) as error:
        log_in(registry)
    assert str(error.value).startswith("the registry 127.0.0.1:5000 doesn't let ada log in, tried 3 times: ")
    assert "connection refused; is it up, and are REGISTRY_USER and REGISTRY_PASSWORD right?" in str(error.value)
    assert "s3cret" not in str(error.value)
    assert sum("login" in line for line in _notes(tmp_path)) == 3


def test_a_login_without_a_password_is_refused(put: Put, registry: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REGISTRY_PASSWORD")
    with pytest.raises(MeritError, match=r"^REGISTRY_PASSWORD: not set; they say who logs in at the registry"):
        log_in(registry)
