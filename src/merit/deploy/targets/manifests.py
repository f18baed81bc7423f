"""The targets whose platform applies files: they are rendered into deploy/NAME, and committed there."""

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
    """An environment as files that a platform reads.

    Args:
        desired: what it is declared to be.
    """

    def __init__(self, desired: Desired) -> None:
        self._desired = desired
        self._folder = FOLDER / desired.name

    def desired(self) -> Facts:
        """Return what should run: the version, and each file by its hash."""
        told = self._desired.environment
        if told.version is None:
            return {}
        return {_named(self._folder / name): _hash(text) for name, text in self._rendered().items()}

    def actual(self) -> Actual:
        """Return what the files say; what the platform makes of them, it tells itself."""
        found = sorted(path for path in self._folder.rglob("*") if path.is_file())
        return Actual({_named(path): _hash(path.read_text(encoding="utf-8")) for path in found}, healthy=True)

    def check(self) -> None:
        """Files need no more than what `desired` has read."""

    def apply(self) -> list[str]:
        """Write the files that are stale and remove those that nobody asks for."""
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
