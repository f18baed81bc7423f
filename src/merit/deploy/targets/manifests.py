"""The target for all platforms that apply files: renders them into deploy/NAME, where they are committed."""

import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from merit import artifacts
from merit.config.schema.environment import Environment
from merit.config.schema.serve import Auth
from merit.deploy.targets.interface import ActualState, DesiredState, Facts
from merit.errors import MeritError
from merit.registry.release_tags import Release

DEPLOY_FOLDER = Path("deploy")
Render = Callable[[Environment, str, Mapping[str, Release], str, Auth], dict[str, str]]


class ManifestTarget:
    """A target that writes an environment as files for a platform to apply.

    Args:
        desired: the declared state.
        render: renders the platform's files, by path. Arguments: environment, model, releases, name of the environment
            and authentication of the endpoint.
    """

    def __init__(self, desired: DesiredState, render: Render) -> None:
        self._desired, self._render = desired, render
        self._folder = DEPLOY_FOLDER / desired.name

    def describe_desired(self) -> Facts:
        """Return the path and hash of each file that should exist."""
        environment = self._desired.environment
        if environment.version is None:
            return {}
        return {_format_path(self._folder / name): _hash_text(text) for name, text in self._render_files().items()}

    def read_actual(self) -> ActualState:
        """Return the path and hash of each file that exists; the platform itself reports what it runs."""
        files = sorted(path for path in self._folder.rglob("*") if path.is_file())
        return ActualState(
            {_format_path(path): _hash_text(path.read_text(encoding="utf-8")) for path in files}, healthy=True
        )

    def check_inputs(self) -> None:
        """Do nothing: rendering needs no input that `desired` doesn't read."""

    def apply(self) -> list[str]:
        """Write stale files and remove obsolete ones."""
        expected = {} if self._desired.environment.version is None else self._render_files()
        actions = []
        for name, text in expected.items():
            path = self._folder / name
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                artifacts.write_text(path, text)
                actions.append(f"wrote {path}")
        for path in sorted(self._folder.rglob("*")):
            if path.is_file() and path.relative_to(self._folder).as_posix() not in expected:
                path.unlink()
                actions.append(f"removed {path}")
        if not expected:
            shutil.rmtree(self._folder, ignore_errors=True)
        return actions

    def _render_files(self) -> dict[str, str]:
        desired = self._desired
        try:
            return self._render(
                desired.environment, desired.lock.name, desired.releases, desired.name, desired.lock.serve.auth
            )
        except MeritError as error:
            raise MeritError(f"conf/environment/{desired.name}.yaml: {error}") from error


def _format_path(path: Path) -> str:
    return path.as_posix()


def _hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
