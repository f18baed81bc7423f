import io
import re
import time
from pathlib import Path

import pytest
from rich.console import Console

from merit.sweep import record
from merit.sweep.report import labels
from merit.sweep.report import terminal as view
from tests.support import sweep_folders


def _console(*, terminal: bool = False, width: int = 140) -> Console:
    return Console(file=io.StringIO(), width=width, height=40, force_terminal=terminal, color_system=None)


def _text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _sweep(root: Path, **how: object) -> record.Sweep:
    sweep_folders.make(root, "mlp", **how)  # type: ignore[arg-type]
    return record.read_sweep("mlp")


def _now(number: int, told: dict[str, object]) -> None:
    told["started"] = time.time() + number


def test_off_a_terminal_each_trial_that_ends_gets_one_line(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = _sweep(workdir, trials=6, edit=_now)
    with view.LiveTable(_console(), sweep.objectives, 20) as live:
        live.update(sweep)
        live.update(sweep)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert "trial   4  pruned" in lines[0]  # it was the first to end
    first = next(line for line in lines if line.startswith("trial   0"))
    assert re.match(r"trial   0  done    log_loss 0\.4425  6\.6 s  model=linear lr=0\.005997 batch_size=512", first)
    assert "best log_loss" in first
    assert re.search(r"6/20  about .* left", first)


def test_trials_that_ended_before_a_resume_are_counted_and_not_told_again(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = _sweep(workdir, trials=6)
    with view.LiveTable(_console(), sweep.objectives, 20) as live:
        live.update(sweep)
    assert capsys.readouterr().out == "6 trials ended before\n"


def test_a_trial_that_never_began_is_told_too(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    never = {"state": "failed", "started": 0, "seconds": 0, "error": "no"}
    sweep = _sweep(workdir, trials=1, edit=lambda number, told: told.update(never))
    with view.LiveTable(_console(), sweep.objectives, 20) as live:
        live.update(sweep)
    assert "trial   0  failed" in capsys.readouterr().out


def test_a_failed_trial_tells_its_error_in_its_line(workdir: Path) -> None:
    sweep = _sweep(workdir)
    assert sweep_folders.ERROR in view.format_trial_line(sweep, sweep.trials[13], 20)


def test_a_terminal_shows_what_runs_first_and_the_time_left(workdir: Path) -> None:
    def edit(number: int, told: dict[str, object]) -> None:
        if number == 5:
            told.update(state="running", values={}, started=time.time() - 3)

    console = _console(terminal=True)
    sweep = _sweep(workdir, trials=6, edit=edit)
    with view.LiveTable(console, sweep.objectives, 20) as live:
        live.update(sweep)
    shown = _text(console)
    rows = [row for row in shown.splitlines() if re.match(r"\s+\d+ ", row)]
    assert "running" in rows[0]
    assert "about" in shown


def test_the_time_left_is_that_of_the_trials_to_come_side_by_side(workdir: Path) -> None:
    def edit(number: int, told: dict[str, object]) -> None:
        told.update(state="done" if number < 2 else "running", seconds=10.0, started=1000.0)

    sweep = _sweep(workdir, trials=4, edit=edit)
    # Two run for 4 of about 10 seconds, six wait: (2 x 6 + 6 x 10) / 2.
    assert view.estimate_time_left(sweep, 10, 1004.0) == pytest.approx(36.0)
    assert view.estimate_time_left(sweep, None, 1004.0) is None
    assert view.estimate_time_left(sweep, 2, 1004.0) is None


def _running(epochs: int, *, began: float) -> sweep_folders.Edit:
    told = {"state": "running", "values": {}, "seconds": 0, "max_epochs": 8, "epochs": epochs, "started": began}
    return lambda number, known: known.update(told)


def test_before_a_trial_has_ended_the_epochs_of_the_running_ones_foretell(workdir: Path) -> None:
    # Each of two is at 2 of 8 epochs after 4 seconds, eight wait: (2 x 12 + 8 x 16) / 2.
    sweep = _sweep(workdir, trials=2, edit=_running(2, began=1000.0))
    assert view.estimate_time_left(sweep, 10, 1004.0) == pytest.approx(76.0)
    assert view.describe_status(sweep, 10, 1004.0) == ["0/10", "up to 1 min 16 s left"]


def test_nothing_is_foretold_before_the_first_epoch(workdir: Path) -> None:
    sweep = _sweep(workdir, trials=2, edit=_running(0, began=1000.0))
    assert view.estimate_time_left(sweep, 10, 1004.0) is None


def test_off_a_terminal_the_first_estimate_is_a_line_before_any_trial_has_ended(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = _sweep(workdir, trials=2, edit=_running(2, began=time.time() - 4))
    with view.LiveTable(_console(), sweep.objectives, 10) as live:
        live.update(sweep)
        live.update(sweep)
    assert re.fullmatch(r"0/10  up to 1 min 1\d s left\n", capsys.readouterr().out)


def test_a_trial_that_runs_shows_its_epochs_of_all(workdir: Path) -> None:
    console = _console()
    console.print(view.render_table(_sweep(workdir, trials=1, edit=_running(2, began=1000.0))))
    assert " 2/8 " in _text(console)


def test_the_table_has_the_best_first_and_the_failed_last(workdir: Path) -> None:
    console = _console()
    view.print_sweep(console, _sweep(workdir))
    rows = [int(found[1]) for found in re.finditer(r"(?m)^ +(\d+) ", _text(console))]
    assert rows[0] == 16
    assert rows[-2:] == [13, 17]
    assert len(rows) == 20
    assert "20 trials: 16 done, 2 pruned, 1 failed, 1 killed" in _text(console)


def test_of_two_objectives_the_front_comes_first(workdir: Path) -> None:
    sweep = _sweep(workdir, objectives={"log_loss": "minimize", "train_seconds": "minimize"})
    console = _console()
    console.print(view.render_table(sweep))
    rows = [int(found[1]) for found in re.finditer(r"(?m)^ +(\d+) ", _text(console))]
    assert set(rows[: len(sweep.find_front())]) == {trial.number for trial in sweep.find_front()}


def test_a_narrow_terminal_keeps_every_parameter_in_sight(workdir: Path) -> None:
    console = _console(width=60)
    console.print(view.render_table(_sweep(workdir)))
    assert "linear" in _text(console)


def test_what_trials_say_is_no_markup_and_no_control(workdir: Path) -> None:
    def edit(number: int, told: dict[str, object]) -> None:
        told.update(error="[red]x[/red]\x1b[2J\n", overrides={"data.filter": f"[bold]{number}\x1b]0;a\x07"})

    console = _console()
    sweep = _sweep(workdir, trials=14, edit=edit)
    view.print_sweep(console, sweep)
    console.print(view.format_trial_line(sweep, sweep.trials[13], 20), markup=False)
    assert "\x1b" not in _text(console)
    assert "[bold]" in _text(console)


def test_a_sweep_without_a_trial_has_an_empty_table(workdir: Path) -> None:
    console = _console()
    view.print_sweep(console, _sweep(workdir, trials=0))
    assert "No trial is done" in _text(console)


def test_a_reason_that_the_table_cuts_off_stands_whole_below_it_once(workdir: Path) -> None:
    reason = f"optimizer: torch.optim.AdamW refuses its arguments: Invalid learning rate: -1; {'x' * 300} end"
    failed = {"state": "failed", "error": reason, "values": {}}
    console = _console()
    view.print_sweep(console, _sweep(workdir, trials=3, edit=lambda number, told: number == 1 or told.update(failed)))
    assert _text(console).count(f"trials 0, 2: {reason}\n") == 1


def test_what_can_be_adopted_is_told_and_nothing_where_nothing_can(workdir: Path) -> None:
    assert labels.describe_next_step(_sweep(workdir)) == "; next: 'merit sweep adopt'"
    failed = {"state": "failed", "error": "no", "values": {}}
    assert labels.describe_next_step(_sweep(workdir, edit=lambda number, told: told.update(failed))) == ""
    two = {"log_loss": "minimize", "train_seconds": "minimize"}
    told = labels.describe_next_step(_sweep(workdir, trials=6, objectives=two))
    assert re.fullmatch(r"; next: 'merit sweep adopt N' with N from the front: [0-5](, [0-5])*", told)
