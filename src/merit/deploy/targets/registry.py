"""Finds the target that an environment's file names."""

from merit.config import extensions
from merit.config.schema.environment import TARGET_PACKAGE
from merit.deploy.targets.interface import DesiredState, Target


def create_target(desired: DesiredState) -> Target:
    """Return the target that an environment's file names; only its module is imported."""
    module = extensions.import_extension(TARGET_PACKAGE, desired.environment.target)
    target: Target = module.create_target(desired)
    return target
