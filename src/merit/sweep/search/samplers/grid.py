"""The sampler `grid`: every combination. All points are enqueued beforehand, so that nothing is left to draw."""

import optuna

NAME = "grid"
EXHAUSTIVE = True


def create_sampler(seed: int) -> optuna.samplers.BaseSampler:
    """Return a sampler that Optuna needs and never asks."""
    return optuna.samplers.RandomSampler(seed=seed)
