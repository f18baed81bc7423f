"""gate: checks, verdict, report; only a pass passes."""
