"""What a check found, in one line and without secrets; and checks that are given up after a time."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from merit.console.masking import masked

State = Literal["ok", "note", "missing", "broken"]
"""ok: it is there. note: it is not, and nothing that is set up needs it. missing: something needs it. broken: it is
there, and can't be what it should be."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: its name, how it stands, what was found, what to do."""

    name: str
    state: State
    found: str
    do: str = ""

    def __post_init__(self) -> None:
        for field in ("found", "do"):
            object.__setattr__(self, field, masked(" ".join(getattr(self, field).split()))[:400])


Check = tuple[str, Callable[[], Iterator[Finding]]]


def within(seconds: float, checks: Sequence[Check]) -> list[Finding]:
    """Return what the checks find, in their order; they go side by side, and none is waited for longer than that.

    A check that fails in a way that nobody foresaw is told as broken: the others still count.
    """
    found: dict[str, list[Finding]] = {name: [] for name, _ in checks}

    def look(name: str, check: Callable[[], Iterator[Finding]]) -> None:
        try:
            found[name].extend(check())
        except Exception as error:  # noqa: BLE001  # whatever a library raises about what it found is a finding
            told = f"{type(error).__name__}: {error}"
            found[name].append(Finding(name, "broken", told, "mend it, then run 'merit doctor' again"))

    threads = [(name, threading.Thread(target=look, args=(name, check), daemon=True)) for name, check in checks]
    for _, thread in threads:
        thread.start()
    late = []
    for name, thread in threads:
        thread.join(seconds)
        if thread.is_alive():
            late.append(Finding(name, "missing", f"no answer within {seconds:g} s", "see that it is up, and reachable"))
    return [each for name, _ in checks for each in [*list(found[name]), *(f for f in late if f.name == name)]]
