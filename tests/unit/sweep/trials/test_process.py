import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

from merit.errors import MeritError
from merit.sweep import record
from merit.sweep.trials import process, supervise


def test_a_trial_counts_its_parameters_by_the_header_of_its_weights(tmp_path: Path) -> None:
    save_file({"a": np.zeros((3, 4), np.float32), "b": np.zeros(5, np.float32)}, tmp_path / "weights.safetensors")
    assert process.count_parameters(tmp_path / "weights.safetensors") == 17


@pytest.mark.parametrize(
    ("error", "state", "told"),
    [
        (MeritError("train: the loss is not a number"), "failed", "train: the loss is not a number"),
        (ValueError("bad\nworse"), "failed", "ValueError: bad"),
        (SystemExit(3), "failed", "SystemExit: 3"),
        (MemoryError(), "killed", "out of memory (MemoryError); raise sweep.memory_mb, or make the trial smaller"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: 9"),
            "killed",
            "out of memory (RuntimeError: Default",
        ),
    ],
)
def test_what_a_trial_raises_is_told_in_a_line(error: BaseException, state: str, told: str) -> None:
    assert process._classify_error(error) == state
    assert process.format_error(error).startswith(told)
    assert "\n" not in process.format_error(error)


def test_each_epoch_is_a_line_and_a_stop_ends_the_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tell = process._make_epoch_callback()
    tell({"epoch": 0.0, "train_loss": 0.5})
    Path(process.STOP_FILE).touch()
    with pytest.raises(process.Pruned):
        tell({"epoch": 1.0, "train_loss": 0.25})
    assert record.read_epochs(tmp_path) == [{"epoch": 0.0, "train_loss": 0.5}, {"epoch": 1.0, "train_loss": 0.25}]


def test_the_parts_of_what_a_trial_waits_for_add_up() -> None:
    told = process._measure_phases(10.0, {"forked": 10.5, "isolated": 10.75, "first batch": 12.0})
    assert told == {
        "first_batch_seconds": 2.0,
        "parts": {"forked": 0.5, "isolated": 0.25, "first batch": 1.25},
    }


def test_a_rank_of_a_trial_tells_its_stop_by_the_last_line_of_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert process._is_pruned(process.Pruned())
    assert not process._is_pruned(MeritError("merit.sweep.trials.process.Pruned"))  # nobody asked for it
    Path(process.STOP_FILE).touch()
    assert process._is_pruned(MeritError("merit.sweep.trials.process.Pruned"))
    assert not process._is_pruned(MeritError("train: the loss is not a number"))


def test_a_trial_keeps_what_libraries_put_aside_in_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "sweeps" / "one" / "trials" / "0000"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TMPDIR", "elsewhere")
    monkeypatch.setattr(tempfile, "tempdir", "/elsewhere")  # as in a fork of a process that has asked for it
    bounds = SimpleNamespace(enter=lambda: "nothing")
    process._enter_folder({"project": str(tmp_path), "links": []}, bounds)  # type: ignore[arg-type]
    with tempfile.NamedTemporaryFile() as file:
        assert Path(file.name).parent == folder / ".tmp"


@pytest.mark.parametrize("device", [None, "1"])
def test_a_trials_process_has_the_variables_of_the_sweep_and_its_own_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str | None
) -> None:
    started: list[dict[str, str]] = []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(subprocess, "Popen", lambda *_, env, **__: started.append(env) or SimpleNamespace(kill=None))
    monkeypatch.setattr(supervise, "supervise_process", lambda *_: None)
    supervise.spawn_trial(tmp_path, None if device is None else {"CUDA_VISIBLE_DEVICES": device})
    (found,) = started
    assert (found["CUDA_VISIBLE_DEVICES"], found["OMP_NUM_THREADS"]) == (device or "0,1", "3")
    assert float(found["MERIT_ASKED"]) <= time.time()


def _attended(folder: Path, code: str) -> dict[str, object]:
    record.update_trial_json(folder, number=0, overrides={}, state="running")
    child = subprocess.Popen([sys.executable, "-c", code])

    def ended() -> int | None:
        time.sleep(0.02)
        return child.poll()

    supervise.supervise_process(folder, ended, child.kill)
    return record.read_trial_json(folder)


def test_a_process_that_dies_without_a_word_is_told_as_killed(tmp_path: Path) -> None:
    told = _attended(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert told["state"] == "killed"
    assert "often because memory ran out" in str(told["error"])
    assert _attended(tmp_path, "raise SystemExit(3)")["error"] == (
        "ended with exit code 3 before its end; its log.txt may say more"
    )


def test_a_trial_is_killed_for_a_reason_which_is_told(tmp_path: Path) -> None:
    supervise.request_kill(tmp_path, "took too long")
    assert _attended(tmp_path, "import time; time.sleep(60)")["error"] == "took too long"


def test_a_trial_that_is_interrupted_has_no_final_state_so_that_it_is_done_again(tmp_path: Path) -> None:
    supervise.request_kill(tmp_path, supervise.INTERRUPTED)
    assert _attended(tmp_path, "import time; time.sleep(60)")["state"] == "running"
    assert not record.is_final(tmp_path)


def test_a_trial_is_alive_by_its_process_here_and_by_its_beats_elsewhere(tmp_path: Path) -> None:
    record.update_trial_json(tmp_path, state="running", pid=1, host="elsewhere")
    assert not supervise.is_alive(tmp_path)
    (tmp_path / supervise.HEARTBEAT_FILE).touch()
    assert supervise.is_alive(tmp_path)
    import os
    import socket

    (tmp_path / supervise.HEARTBEAT_FILE).write_text(f"{socket.gethostname()} {os.getpid()}")
    assert supervise.is_alive(tmp_path)
    (tmp_path / supervise.HEARTBEAT_FILE).write_text(
        f"{socket.gethostname()} {2**22 + 1}"
    )  # a process that Linux never has
    assert not supervise.is_alive(tmp_path)
    record.update_trial_json(tmp_path, pid=1, host=socket.gethostname())  # another process, which is no trial
    assert not supervise.is_alive(tmp_path)


def test_trial_json_is_final_only_at_an_end(tmp_path: Path) -> None:
    assert not record.is_final(tmp_path)
    (tmp_path / record.TRIAL_JSON).write_text("{", encoding="utf-8")
    assert not record.is_final(tmp_path)
    (tmp_path / record.TRIAL_JSON).write_text(json.dumps({"state": "pruned"}), encoding="utf-8")
    assert record.is_final(tmp_path)
