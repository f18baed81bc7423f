"""Gate: compares the candidate with the champion, runs the checks and writes the report; only a pass may merge.

The package is also the function `merit.gate(...)`.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from merit.gate.result import Report


class _CallableModule(ModuleType):
    """A module that is also the function `merit.gate`.

    Importing any module of this package makes Python set the attribute `gate` of `merit` to the package, whatever it
    was before. So a function `merit.gate` would exist only until then; a package that can be called always does.
    """

    def __call__(self, against: str | None = None, only: Literal["data", "model"] | None = None) -> "Report":
        """Judge the candidate; `judge_candidate` describes it."""
        from merit.gate.result import judge_candidate

        return judge_candidate(against, only)


sys.modules[__name__].__class__ = _CallableModule
