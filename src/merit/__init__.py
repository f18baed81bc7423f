"""merit: a Git repository as the control plane of a machine-learning model.

From Python, in a project's folder:

    import merit

    lock = merit.compose(["model=linear"])      # the configuration, every value resolved; writes nothing
    outcome = merit.run(["model=linear"])       # what is out of date, gate, register; outcome.verdict
    report = merit.gate()                       # the candidate's report; a notebook shows its page
    model = merit.load("model")                 # or "flights@v3", or the path of a package
    model.predict(df)                           # Polars, pandas, a dict or a list of dicts; the endpoint's answers

One's own classes follow `merit.Source`, `merit.Metric`, `merit.Check` and `merit.Target`; errors are
`merit.MeritError`, whose text is one line that says what to change. Everything is imported on first use.

    >>> import merit
    >>> merit.Verdict("pass") == "pass"
    True

The stages of the path have the same names in the code, on the command line, in conf/ and in dvc.yaml:

    compose -> ingest -> validate -> features -> train -> evaluate -> package -> gate -> register -> serve

Imports go one way: cli -> stage packages -> shared packages -> artifacts -> errors. Stage packages don't import one
another; they exchange the files that `merit.artifacts` names.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from merit.api import Outcome, compose, load, run
    from merit.config.schema import Lock
    from merit.data.sources import Source
    from merit.deploy.targets.interface import Target
    from merit.errors import ConfigError, MeritError, Refused
    from merit.gate.checks.protocol import Check
    from merit.gate.evidence import Evidence
    from merit.gate.result import Report
    from merit.gate.result import judge_candidate as gate
    from merit.gate.verdict import Check as CheckResult
    from merit.gate.verdict import Verdict
    from merit.metrics import Estimate, Metric
    from merit.serving.model import Model
    from merit.version import __version__

__all__ = [
    "Check", "CheckResult", "ConfigError", "Estimate", "Evidence", "Lock", "MeritError", "Metric", "Model", "Outcome",
    "Refused", "Report", "Source", "Target", "Verdict", "__version__", "compose", "gate", "load", "run",
]  # fmt: skip

_HOMES = {
    "merit.api": ("Outcome", "compose", "load", "run"),
    "merit.config.schema": ("Lock",),
    "merit.data.sources": ("Source",),
    "merit.deploy.targets.interface": ("Target",),
    "merit.errors": ("ConfigError", "MeritError", "Refused"),
    "merit.gate.checks.protocol": ("Check",),
    "merit.gate.evidence": ("Evidence",),
    "merit.gate.result": ("Report",),
    "merit.gate.verdict": ("Verdict",),
    "merit.metrics": ("Estimate", "Metric"),
    "merit.serving.model": ("Model",),
    "merit.version": ("__version__",),
}
"""The module of each public name; the imports above tell type checkers the same."""
_MODULE_BY_NAME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name == "gate":  # the package itself can be called
        return import_module("merit.gate")
    if name == "CheckResult":
        return import_module("merit.gate.verdict").Check
    if name not in _MODULE_BY_NAME:
        raise AttributeError(f"module 'merit' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULE_BY_NAME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
