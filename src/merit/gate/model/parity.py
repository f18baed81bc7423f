"""Parity: the package on raw rows is the network that was evaluated."""

import numpy as np

from merit.gate.evidence import Evidence
from merit.gate.verdict import Check, Verdict


def check(evidence: Evidence) -> Check:
    """Compare the package on raw rows with the network that was evaluated; what the manifest says is not enough."""
    limit = evidence.lock.gate.parity
    greatest = float(np.abs(evidence.candidate - evidence.network).max()) / evidence.unit
    verdict = Verdict.PASS if greatest <= limit else Verdict.FAIL
    found = f"{greatest:.1e} on {len(evidence.candidate):,} rows"
    advice = "the package is not the network that was evaluated: make both again with 'merit run'"
    return Check("parity", verdict, found, f"at most {limit:.0e}", advice)
