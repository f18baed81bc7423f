"""The map of the command line: the sections of `merit --help`, and an example of each command."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """A section of `merit --help`.

    Attributes:
        title: its heading.
        purpose: what its commands do, in a phrase.
        commands: their names.
    """

    title: str
    purpose: str
    commands: tuple[str, ...]


SECTIONS = (
    Section("project", "start a project; resolve and explain what conf/ says",
            ("new", "infer", "compose", "explain", "schema", "upgrade", "doctor")),
    Section("data", "read the table, check it, make arrays of it", ("ingest", "validate", "features")),
    Section("model", "run all, or train, measure and package; reproduce; sweep",
            ("run", "repro", "train", "seeds", "baseline", "evaluate", "package", "pull", "reproduce", "sweep")),
    Section("gate", "judge the candidate against main's model; compare commits", ("gate", "diff", "report")),
    Section("registry", "make versions of what passed; sign them; build their images",
            ("register", "sign", "registry", "release")),
    Section("environments", "deploy what main declares, and see what runs", ("promote", "plan", "apply", "status")),
    Section("serving", "answer requests and events, score tables, give keys", ("serve", "stream", "predict", "keys")),
)  # fmt: skip

EXAMPLES = {
    "new": "merit new shop",
    "infer": "merit infer orders.csv --target returned",
    "compose": "merit compose model=linear optimizer.lr=0.01",
    "explain": "merit explain optimizer.lr",
    "schema": "merit schema --check",
    "upgrade": "merit upgrade --check",
    "doctor": "merit doctor",
    "ingest": "merit ingest",
    "validate": "merit validate --json",
    "features": "merit features",
    "run": "merit run model=linear",
    "repro": "merit repro evaluate",
    "train": "merit train -m model=linear,mlp optimizer.lr=1e-3,3e-3",
    "seeds": "merit seeds",
    "baseline": "merit baseline",
    "evaluate": "merit evaluate",
    "package": "merit package",
    "pull": "merit pull",
    "reproduce": "merit reproduce HEAD~1",
    "sweep list": "merit sweep list",
    "sweep show": "merit sweep show --json",
    "sweep adopt": "merit sweep adopt 3 --branch",
    "gate": "merit gate data --against main",
    "diff": "merit diff flights@v2",
    "report": "merit report reports/gate.json",
    "register": "merit register",
    "sign": "merit sign v3",
    "registry list": "merit registry list",
    "registry show": "merit registry show v3",
    "registry history": "merit registry history production",
    "registry diff": "merit registry diff v2 v3",
    "registry rebuild": "merit registry rebuild",
    "registry check": "merit registry check",
    "release": "merit release v3",
    "promote": "merit promote staging production",
    "plan": "merit plan production",
    "apply": "merit apply staging",
    "status": "merit status",
    "serve": "merit serve --port 8080",
    "stream": "merit stream --metrics-port 9100",
    "predict": "merit predict flights.parquet scored --version v3",
    "keys add": "merit keys add shop --expires 2027-01-31 --quota 600",
    "keys list": "merit keys list",
    "keys revoke": "merit keys revoke shop",
}
"""An example of each command, which ends its help."""
