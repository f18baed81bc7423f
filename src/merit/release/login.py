"""Logs the container engine in to the image registry, with credentials from a workflow's secrets."""

import os

from merit.config.schema.release import Release as How
from merit.errors import MeritError
from merit.release import engine, images

USER, PASSWORD = "REGISTRY_USER", "REGISTRY_PASSWORD"  # the names of variables


def login(how: How) -> str:
    """Log in as REGISTRY_USER with REGISTRY_PASSWORD; return a line about it.

    Args:
        how: the section `release` of the lock.

    Raises:
        MeritError: one of the two variables is not set, no engine is usable, or the registry rejects the login.
    """
    host = images.registry_of(how.registry).partition("/")[0]
    lacking = [name for name in (USER, PASSWORD) if not os.environ.get(name)]
    if lacking:
        raise MeritError(f"{' and '.join(lacking)}: not set; they say who logs in at the registry {host}")
    chosen, user = engine.find(how.engine), os.environ[USER]
    try:
        chosen.login(host, user, os.environ[PASSWORD])
    except MeritError as error:
        raise MeritError(
            f"the registry {host} doesn't let {user} log in, tried {len(engine.PAUSES) + 1} times: {error}; is it up, "
            f"and are {USER} and {PASSWORD} right?"
        ) from error
    return f"{chosen.name}: logged in at {host} as {user}"
