"""The sampler `cmaes`: covariance matrix adaptation (Hansen and Ostermeier 2001), for numbers and one objective."""

import optuna

NAME = "cmaes"
CHOICES = False
SEVERAL_OBJECTIVES = False


def create_sampler(seed: int) -> optuna.samplers.BaseSampler:
    """Return Optuna's CMA-ES."""
    return optuna.samplers.CmaEsSampler(seed=seed)
