"""Sweep configuration: conf/sweep, the search space, and the Hydra multirun."""
