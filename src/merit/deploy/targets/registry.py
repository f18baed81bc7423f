"""Finds the target that an environment's file names."""

from collections.abc import Iterator

from merit.config import extensions
from merit.config.schema.environment import TARGET_PACKAGE
from merit.deploy.environments import DeclaredEnvironment
from merit.deploy.targets.interface import DesiredState, Target
from merit.errors import Problem


def create_target(desired: DesiredState) -> Target:
    """Return the target that an environment's file names; only its module is imported."""
    module = extensions.import_extension(TARGET_PACKAGE, desired.environment.target)
    target: Target = module.create_target(desired)
    return target


def find_problems(declared: DeclaredEnvironment) -> Iterator[Problem]:
    """Yield what the target of an environment finds wrong in the environment's file; most targets find nothing."""
    module = extensions.import_extension(TARGET_PACKAGE, declared.environment.target)
    yield from getattr(module, "find_problems", lambda _: ())(declared)
