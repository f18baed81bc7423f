"""What stands for `merit` in tests ends as it does: its output, its exit code, a signal, and a kill."""

import fcntl
import os
import signal
import subprocess
from collections.abc import Callable

import pytest
from tests.support import forks
from tests.support.small_project import Project

from merit.process import workspace_lock


def _running(project: Project) -> subprocess.Popen[str]:
    """Return a run that has begun to train, by a fork."""
    environment = project.environment()
    environment["PATH"] = forks.path() + environment["PATH"]
    running = subprocess.Popen(
        ["merit", "run", "trainer.max_epochs=500", "trainer.patience=500"],
        cwd=project.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert running.stdout is not None
    assert any(line.startswith("epoch") for line in running.stdout)
    return running


def _is_free(project: Project) -> bool:
    """Say whether neither a run nor a stage holds the project."""
    for name in (workspace_lock.RUN_LOCK, workspace_lock.STAGE_LOCK):
        with (project.folder / name).open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
    return True


@pytest.mark.parametrize("command", ["merit no-such", "merit compose seed=x", "merit --version", "dvc status no-such"])
def test_a_fork_says_what_the_program_says(project: Project, command: str) -> None:
    fork, program = project.run(*command.split()), project.run(*command.split(), is_itself=True)
    assert (fork.returncode, fork.stdout, fork.stderr) == (program.returncode, program.stdout, program.stderr)


def test_a_signal_reaches_the_fork_and_all_that_it_has_started(project: Project) -> None:
    running = _running(project)
    os.killpg(running.pid, signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode == 130
    assert _is_free(project)


def test_a_fork_is_killed_with_what_it_has_started_as_soon_as_its_caller_is(
    project: Project, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    running = _running(project)
    assert not _is_free(project)
    os.killpg(running.pid, signal.SIGKILL)
    running.communicate()
    eventually(lambda: _is_free(project))
