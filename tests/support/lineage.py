"""The tag of a version, as `merit register` would write it, for tests that register nothing."""

import yaml

LINEAGE = {
    "params": "p" * 64,
    "data": "d" * 64,
    "data_fingerprint": "sha256:" + "0" * 64,
    "verdict": "pass",
    "checks": 12,
    "waived": [],
    "metrics": {"roc_auc": 0.7},
    "run": None,
    "signature": None,
}


def message(name: str, **told: object) -> str:
    """Return the message of a version's tag; `commit`, `package` and `dvc` must be told."""
    lineage = LINEAGE | told
    return f"{name}: {lineage['checks']} checks passed\n\n{yaml.safe_dump(lineage, sort_keys=False)}"
