"""The only module that uses private parts of oras: how its client retries and authenticates."""

import os
from pathlib import Path
from typing import Any

from merit.release.engine import LOOPBACK_PREFIXES


def create_client(name: str) -> Any:
    """Return a client of the registry in an image's name, with the login that docker, podman or buildah has stored."""
    import logging

    from oras.auth import TokenAuth
    from oras.client import OrasClient
    from oras.decorator import retry

    logging.getLogger("oras").setLevel(logging.CRITICAL)

    class Client(OrasClient):  # type: ignore[misc]  # oras has few types
        """Gives up after a few seconds; oras itself retries for minutes."""

        do_request = retry(attempts=2, timeout=0)(OrasClient.do_request.__wrapped__)  # retries after 1, then 3 seconds

    class Auth(TokenAuth):  # type: ignore[misc]
        """Supports registries that use HTTP basic authentication as well as those that issue tokens."""

        def authenticate_request(self, original: Any, headers: Any, refresh: bool = False) -> Any:
            challenge = original.headers.get("Www-Authenticate", "")
            if not challenge.lower().startswith("basic") or not hasattr(self, "_basic_auth"):
                return super().authenticate_request(original, headers, refresh)
            self.session.headers["Authorization"] = f"Basic {self._basic_auth}"
            return headers, True

    client = Client(hostname=name.partition("/")[0], insecure=name.startswith(LOOPBACK_PREFIXES))
    auth, original_auth = Auth(), client.auth
    auth.session, auth.prefix, auth._tls_verify = original_auth.session, original_auth.prefix, original_auth._tls_verify
    client.auth = auth
    client.auth.load_configs(client.get_container(name), configs=_find_login_files())
    return client


def _find_login_files() -> list[str]:
    """Return the existing login files of podman and buildah; oras reads docker's by itself."""
    runtime_folders = [
        os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}",
        f"/run/containers/{os.getuid()}",
    ]
    paths = [
        os.environ.get("REGISTRY_AUTH_FILE"),
        f"{runtime_folders[0]}/containers/auth.json",
        f"{runtime_folders[1]}/auth.json",
    ]
    return [place for place in paths if place and Path(place).is_file()]
