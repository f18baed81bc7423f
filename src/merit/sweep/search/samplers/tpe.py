"""The sampler `tpe`: guided by earlier trials, by tree-structured Parzen estimators (Bergstra et al. 2011)."""

import optuna

NAME = "tpe"


def create_sampler(seed: int) -> optuna.samplers.BaseSampler:
    """Return Optuna's TPE, which considers all keys together."""
    return optuna.samplers.TPESampler(seed=seed, multivariate=True)
