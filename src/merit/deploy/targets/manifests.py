"""The target for all platforms that apply files: renders them into deploy/NAME, where they are committed."""

import hashlib
import importlib
import shutil
from pathlib import Path
from typing import Any

from merit import artifacts
from merit.deploy.targets import Actual, Desired, Facts
from merit.errors import MeritError

FOLDER = Path("deploy")


class Manifests:
    """A target that writes an environment as files for a platform to apply.

    The module `merit.deploy.targets.NAME` of the platform renders them, such as `kubernetes` or `compose`.

    Args:
        desired: the declared state.
    """

    def __init__(self, desired: Desired) -> None:
        self._desired = desired
        self._folder = FOLDER / desired.name

    def desired(self) -> Facts:
        """Return the path and hash of each file that should exist."""
        told = self._desired.environment
        if told.version is None:
            return {}
        return {_named(self._folder / name): _hash(text) for name, text in self._rendered().items()}

    def actual(self) -> Actual:
        """Return the path and hash of each file that exists; the platform itself reports what it runs."""
        found = sorted(path for path in self._folder.rglob("*") if path.is_file())
        return Actual({_named(path): _hash(path.read_text(encoding="utf-8")) for path in found}, healthy=True)

    def check(self) -> None:
        """Do nothing: rendering needs no input that `desired` doesn't read."""

    def apply(self) -> list[str]:
        """Write stale files and remove obsolete ones."""
        wanted = {} if self._desired.environment.version is None else self._rendered()
        done = []
        for name, text in wanted.items():
            path = self._folder / name
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                artifacts.write_text(path, text)
                done.append(f"wrote {path}")
        for path in sorted(self._folder.rglob("*")):
            if path.is_file() and path.relative_to(self._folder).as_posix() not in wanted:
                path.unlink()
                done.append(f"removed {path}")
        if not wanted:
            shutil.rmtree(self._folder, ignore_errors=True)
        return done

    def _rendered(self) -> dict[str, str]:
        told = self._desired
        target: Any = importlib.import_module(f"merit.deploy.targets.{told.environment.target}")
        try:
            rendered: dict[str, str] = target.render(
                told.environment, told.lock.name, told.releases, told.name, told.lock.serve.auth
            )
        except MeritError as error:
            raise MeritError(f"conf/environment/{told.name}.yaml: {error}") from error
        return rendered


def _named(path: Path) -> str:
    return path.as_posix()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
