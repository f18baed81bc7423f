"""Logs the container engine in to the image registry, with credentials from a workflow's secrets."""

import os

from merit.config.schema.release import Release as ReleaseSettings
from merit.errors import MeritError
from merit.release import engine, images

USER_VARIABLE, PASSWORD_VARIABLE = "REGISTRY_USER", "REGISTRY_PASSWORD"  # the names of variables


def log_in(settings: ReleaseSettings) -> str:
    """Log in as REGISTRY_USER with REGISTRY_PASSWORD; return a line about it.

    Args:
        settings: the section `release` of the lock.

    Raises:
        MeritError: one of the two variables is not set, no engine is usable, or the registry rejects the login.
    """
    host = images.resolve_registry(settings.registry).partition("/")[0]
    missing = [name for name in (USER_VARIABLE, PASSWORD_VARIABLE) if not os.environ.get(name)]
    if missing:
        raise MeritError(f"{' and '.join(missing)}: not set; they say who logs in at the registry {host}")
    container_engine, user = engine.find_engine(settings.engine), os.environ[USER_VARIABLE]
    try:
        container_engine.log_in(host, user, os.environ[PASSWORD_VARIABLE])
    except MeritError as error:
        raise MeritError(
            f"the registry {host} doesn't let {user} log in, tried {len(engine.RETRY_PAUSES_S) + 1} times: {error}; is "
            "it up, "
            f"and are {USER_VARIABLE} and {PASSWORD_VARIABLE} right?"
        ) from error
    return f"{container_engine.name}: logged in at {host} as {user}"
