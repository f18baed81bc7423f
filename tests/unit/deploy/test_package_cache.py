import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from merit import artifacts
from merit.config.schema import Lock
from merit.deploy import package_cache
from merit.errors import MeritError
from merit.registry.tags import Lineage, Version


@pytest.fixture
def registered(
    workdir: Path, make_package: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> tuple[Version, list[Path]]:
    """A version whose package DVC has, and the folders into which it was fetched."""
    original = make_package(Path("original"))
    lineage = Lineage.model_construct(package=artifacts.hash_package(original), signature=None)
    fetched: list[Path] = []

    def fetch(version: Version, folder: Path) -> None:
        fetched.append(folder)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(original, folder)

    monkeypatch.setattr(package_cache.tags, "fetch_package", fetch)
    return Version("tiny", 1, "c" * 40, lineage, "t", datetime(2026, 1, 1, tzinfo=UTC)), fetched


def test_a_package_is_fetched_once(registered: tuple[Version, list[Path]], lock: Lock) -> None:
    version, fetched = registered
    for _ in range(2):
        folder = package_cache.fetch_package(version, lock, require_signature=False)
        assert artifacts.hash_package(folder) == version.lineage.package
    assert len(fetched) == 1


def test_a_package_that_is_not_here_is_looked_for_in_dvcs_cache(
    registered: tuple[Version, list[Path]], lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, _ = registered
    asked: list[Version] = []
    monkeypatch.setattr(package_cache.tags, "find_package_files", asked.append)
    package_cache.require_package(version)
    package_cache.fetch_package(version, lock, require_signature=False)
    package_cache.require_package(version)
    assert asked == [version]


@pytest.mark.parametrize("defect", ["another whole package", "a changed file"])
def test_a_folder_that_does_not_hold_the_versions_package_is_fetched_again(
    registered: tuple[Version, list[Path]], lock: Lock, make_package: Callable[..., Path], defect: str
) -> None:
    version, fetched = registered
    folder = make_package(
        package_cache.get_folder(version), sections="seed: 8\n" if defect.startswith("another") else ""
    )
    if defect == "a changed file":
        (folder / artifacts.PACKAGED_WEIGHTS).write_bytes(b"other")
    package_cache.fetch_package(version, lock, require_signature=False)
    assert fetched == [folder]
    assert artifacts.hash_package(folder) == version.lineage.package


def test_a_package_of_another_model_is_refused(registered: tuple[Version, list[Path]], lock: Lock) -> None:
    version, _ = registered
    other = replace(version, model="other")
    with pytest.raises(MeritError, match="its package is one of the model tiny; 'merit register' made no such version"):
        package_cache.fetch_package(other, lock, require_signature=False)
