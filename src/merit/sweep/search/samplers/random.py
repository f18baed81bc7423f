"""The sampler `random`: points drawn independently of each other."""

import optuna

NAME = "random"


def create_sampler(seed: int) -> optuna.samplers.BaseSampler:
    """Return Optuna's random sampler."""
    return optuna.samplers.RandomSampler(seed=seed)
