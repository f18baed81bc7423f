"""Finds the sampler that conf/sweep names."""

import optuna

from merit.config import extensions
from merit.config.schema.sweep import SAMPLER_PACKAGE


def create_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of that name; only its module is imported."""
    sampler: optuna.samplers.BaseSampler = extensions.import_extension(SAMPLER_PACKAGE, name).create_sampler(seed)
    return sampler
