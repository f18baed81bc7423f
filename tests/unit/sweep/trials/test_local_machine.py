"""How many trials a machine runs at once, and which device each gets."""

from pathlib import Path

import pytest

from merit.sweep import record
from merit.sweep.trials import local_machine, supervise
from merit.sweep.trials.local_machine import LocalMachine


@pytest.mark.parametrize(
    ("visible", "devices"), [("", []), ("-1", []), ("0", ["0"]), ("0,2", ["0", "2"]), ("GPU-a,-1", ["GPU-a"])]
)
def test_the_devices_are_those_that_cuda_may_see(
    monkeypatch: pytest.MonkeyPatch, visible: str, devices: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert local_machine.list_gpus() == devices


@pytest.mark.parametrize(
    ("cores", "threads", "gpus", "width"),
    [(8, 1, None, 8), (8, 3, None, 2), (2, 4, None, 1), (8, 1, "0,1", 2), (2, 2, "0,1", 1), (8, 1, "", 1)],
)
def test_trials_share_neither_cores_nor_devices(
    monkeypatch: pytest.MonkeyPatch, cores: int, threads: int, gpus: str | None, width: int
) -> None:
    monkeypatch.setattr(local_machine, "count_cores", lambda: cores)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus or "")
    found = LocalMachine().width(threads, gpu=gpus is not None)
    assert (found, type(found)) == (width, int)


def test_a_trial_on_a_gpu_has_a_device_that_no_other_has_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    machine, seen = LocalMachine(), []
    record.update_trial_json(tmp_path, accelerator="gpu")

    def spawn(folder: Path, env: dict[str, str] | None) -> None:
        seen.append(env)
        if len(seen) < 3:
            machine.run(folder)

    monkeypatch.setattr(supervise, "spawn_trial", spawn)
    machine.run(tmp_path)
    assert seen == [{"CUDA_VISIBLE_DEVICES": "1"}, {"CUDA_VISIBLE_DEVICES": "0"}, None]
    seen.append(None)
    machine.run(tmp_path)
    assert seen[-1] == {"CUDA_VISIBLE_DEVICES": "1"}, "a device was not given back"


class Forkserver:
    """Notes what it runs, and that it was closed."""

    started: list["Forkserver"]

    def __init__(self) -> None:
        self.ran: list[Path] = []
        self.is_closed = False
        self.started.append(self)

    def run_trial(self, folder: Path) -> None:
        """Note the trial."""
        self.ran.append(folder)

    def close(self) -> None:
        """Note the end."""
        self.is_closed = True


def test_trials_on_the_processor_are_forked_of_one_process_that_ends_with_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Forkserver, "started", [], raising=False)
    monkeypatch.setattr(local_machine, "Forkserver", Forkserver)
    monkeypatch.setattr(local_machine, "_forkserver", None)
    record.update_trial_json(tmp_path, accelerator="cpu")
    machine = LocalMachine()
    for _ in range(2):
        machine.run(tmp_path)
    (server,) = Forkserver.started
    assert (server.ran, server.is_closed) == ([tmp_path] * 2, False)
    machine.close()
    assert server.is_closed
    local_machine.stop_forkserver()  # nothing is left to stop
    machine.run(tmp_path)
    assert len(Forkserver.started) == 2
