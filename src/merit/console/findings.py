"""What a check of `merit doctor` found, as single lines without secrets."""

from dataclasses import dataclass
from typing import Literal

from merit.console.masking import mask_secrets

State = Literal["ok", "note", "missing", "broken"]
"""ok: present. note: absent, but nothing that is configured needs it. missing: absent and needed. broken: present but
unusable."""


@dataclass(frozen=True)
class Finding:
    """The result of one check; its texts are reduced to one line of at most 400 characters, with secrets masked.

    Attributes:
        name: the subject of the check, such as `git`.
        state: its state.
        found: what the check found.
        do: the remedy; empty if there is none.
    """

    name: str
    state: State
    found: str
    do: str = ""

    def __post_init__(self) -> None:
        for field in ("found", "do"):
            object.__setattr__(self, field, mask_secrets(" ".join(getattr(self, field).split()))[:400])
