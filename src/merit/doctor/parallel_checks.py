"""Runs checks in parallel, with a time limit on each."""

import threading
from collections.abc import Callable, Iterator, Sequence

from merit.console.findings import Finding

Check = tuple[str, Callable[[], Iterator[Finding]]]
"""The name of a check, and the function that yields its findings."""


def run_within(timeout_s: float, checks: Sequence[Check]) -> list[Finding]:
    """Run checks in parallel threads; return their findings in the order of the checks.

    A check that exceeds the limit in seconds is reported as missing, and one that raises as broken; neither affects the
    other checks.
    """
    findings: dict[str, list[Finding]] = {name: [] for name, _ in checks}

    def run_check(name: str, check: Callable[[], Iterator[Finding]]) -> None:
        try:
            findings[name].extend(check())
        except Exception as error:  # noqa: BLE001  # whatever a library raises about what it found is a finding
            message = f"{type(error).__name__}: {error}"
            findings[name].append(Finding(name, "broken", message, "correct it, then run 'merit doctor' again"))

    threads = [(name, threading.Thread(target=run_check, args=(name, check), daemon=True)) for name, check in checks]
    for _, thread in threads:
        thread.start()
    timed_out = []
    for name, thread in threads:
        thread.join(timeout_s)
        if thread.is_alive():
            timed_out.append(
                Finding(name, "missing", f"no answer within {timeout_s:g} s", "see that it is up, and reachable")
            )
    return [each for name, _ in checks for each in [*list(findings[name]), *(f for f in timed_out if f.name == name)]]
