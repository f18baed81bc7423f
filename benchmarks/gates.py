"""How well the gates tell bad changes from harmless ones: caught, missed and false alarms, and the time they take.

The changes are those of tests/support: planted failures, each with the check that must refuse it, and harmless changes,
in a small model of January's flights with a champion on main. The time is that of judging alone, after the stages.

Usage, in the root of the repository: python benchmarks/gates.py
"""

import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.gates.conftest import make
from tests.support.champion_project import Outcome, judged
from tests.support.harmless_changes import HARMLESS
from tests.support.planted_failures import PLANTED

FALSE_ALARMS = 1
"""Harmless changes that may be refused."""


def main() -> None:
    """Judge all changes and print what became of them; exit with 1 if the gates miss one or cry wolf."""
    with tempfile.TemporaryDirectory(prefix="merit-gates-") as folder:
        home, place = Path(folder) / "home", Path(folder) / "copy"
        make(home)
        planted = {}
        for case in track(PLANTED, "planted failures", disable=not sys.stdout.isatty()):
            planted[case] = _quietly(lambda case=case: judged(home, place, case.plant, case.first, case.part))
        harmless = {}
        for case in track(HARMLESS, "harmless changes", disable=not sys.stdout.isatty()):
            harmless[case] = _quietly(lambda case=case: judged(home, place, case.make, case.first, None))
    missed = {case: each for case, each in planted.items() if each.verdict == "pass"}
    caught = {case: each for case, each in planted.items() if case not in missed}
    others = {case: each for case, each in caught.items() if case.refused_by not in each.refused}
    alarms = {case: each for case, each in harmless.items() if each.verdict != "pass"}
    console = Console()
    table = Table("changes", "judged", "refused", "by the check meant", "seconds to judge (median)")
    table.add_row("planted failures", *_counts(planted), str(len(caught) - len(others)), _time(planted))
    table.add_row("harmless", *_counts(harmless), "", _time(harmless))
    console.print(table)
    for title, found in (("missed", missed), ("refused by another check", others), ("false alarm", alarms)):
        for case, outcome in found.items():
            console.print(f"{title}: {case.name}: {', '.join(outcome.refused) or 'nothing'}", highlight=False)
    print(f"load of the machine: {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")
    sys.exit(bool(missed or others or len(alarms) > FALSE_ALARMS))


def _quietly(run: Callable[[], Outcome]) -> Outcome:
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        return run()


def _counts(found: dict[object, Outcome]) -> tuple[str, str]:
    return str(len(found)), str(sum(each.verdict != "pass" for each in found.values()))


def _time(found: dict[object, Outcome]) -> str:
    return f"{statistics.median(each.seconds for each in found.values()):.1f}"


if __name__ == "__main__":
    main()
