"""Versions: annotated Git tags such as `flights@v3`, whose messages hold the lineage. MLflow is their projection."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from merit import artifacts, git, signing
from merit.config.schema.base import Section
from merit.errors import MeritError

CACHE = Path(".dvc/cache/files/md5")
"""Where DVC keeps what it has, unless its configuration says otherwise."""
FIELDS = ("refname:strip=2", "objecttype", "*objectname", "taggername", "taggerdate:iso-strict", "contents:body")


class Lineage(Section):
    """Where a version comes from, as its tag tells it."""

    commit: str
    """The commit of main whose dvc.lock names the package."""
    package: str
    """The package's digest: `sha256:` and the SHA-256 of its manifest."""
    dvc: str
    """The hash by which DVC knows the package: that of the output `model`, such as `abc.dir`."""
    params: str
    """The SHA-256 of the sections of params.yaml that the package holds."""
    data: str
    """The SHA-256 of data/raw.parquet."""
    data_fingerprint: str
    """The fingerprint of the source, as the lock has it."""
    verdict: str
    """What the gate said."""
    checks: int
    """How many of its checks passed."""
    waived: list[str]
    """The checks that were waived."""
    metrics: dict[str, float]
    """The candidate's metrics on test rows."""
    run: str | None
    """The training's run in MLflow, as long as that store lives."""
    signature: str | None
    """The Sigstore bundle of the package, as JSON."""


@dataclass(frozen=True)
class Version:
    """A version of a model: its tag, read."""

    model: str
    number: int
    commit: str
    lineage: Lineage
    tagger: str
    tagged_at: datetime

    @property
    def name(self) -> str:
        """What it is called, such as `flights@v3`."""
        return f"{self.model}@v{self.number}"


def versions(model: str) -> list[Version]:
    """Return the versions of a model by their numbers, from the tags that are here; other tags are left out."""
    return [found for found in _tags(model).values() if isinstance(found, Version)]


def numbers(model: str) -> list[int]:
    """Return the numbers that are taken, also by tags without a lineage."""
    return [int(name.rpartition("@v")[2]) for name in _tags(model)]


def unreadable(model: str) -> dict[str, str]:
    """Return the tags that are called as versions are and are none, with what is wrong with each."""
    return {name: found for name, found in _tags(model).items() if isinstance(found, str)}


def find(name: str) -> Version:
    """Return the version of a name such as `flights@v3`.

    Raises:
        MeritError: there is none, or its tag holds no lineage.
    """
    model = name.partition("@")[0]
    tags = _tags(model)
    found = tags.get(name)
    if isinstance(found, Version):
        return found
    if found is not None:
        raise MeritError(f"{name}: {found}")
    known = [each for each, version in tags.items() if isinstance(version, Version)]
    there = f"there are {', '.join(known)}" if known else "there are none yet; 'merit register' makes them"
    raise MeritError(f"{name}: no such version here; {there} ('git fetch --tags' brings those of others)")


def message(name: str, lineage: Lineage) -> str:
    """Return the message of a version's tag."""
    body = yaml.safe_dump(lineage.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=1_000_000)
    counted = "1 check" if lineage.checks == 1 else f"{lineage.checks} checks"
    return f"{name}: {counted} passed\n\n{body}"


def _tags(model: str) -> dict[str, Version | str]:
    """Return the tags that are called as versions are, each read, or what is wrong with it."""
    form = "%00".join(f"%({field})" for field in FIELDS) + "%00"
    text = git.git("for-each-ref", f"--format={form}", f"refs/tags/{model}@v*") or ""
    parts = [part.removeprefix("\n") for part in text.split("\0")]
    records = [parts[place : place + len(FIELDS)] for place in range(0, len(parts) - 1, len(FIELDS))]
    found: dict[str, Version | str] = {}
    for record in records:
        if match := re.fullmatch(rf"{re.escape(model)}@v([1-9][0-9]*)", record[0]):
            found[record[0]] = _read(model, int(match[1]), record)
    return dict(sorted(found.items(), key=lambda item: int(item[0].rpartition("@v")[2])))


def _read(model: str, number: int, record: list[str]) -> Version | str:
    name, kind, commit, tagger, at, body = record
    remedy = f"no version that 'merit register' made; take another, or delete it by 'git tag -d {name}'"
    if kind != "tag":
        return f"its tag has no message: {remedy}"
    try:
        lineage = Lineage.model_validate(yaml.safe_load(body))
    except (yaml.YAMLError, ValidationError, RecursionError) as error:
        return f"its tag holds no lineage ({' '.join(str(error).split())[:160]}): {remedy}"
    if lineage.commit != commit:
        return f"its tag is on {commit[:7]}, its lineage on {lineage.commit[:7]}: {remedy}"
    return Version(model, number, commit, lineage, tagger, datetime.fromisoformat(at))


def fetch_package(version: Version, folder: Path) -> None:
    """Bring a version's package to a folder, out of DVC's cache or its remote, and its signature, if any, beside it.

    Args:
        version: whose.
        folder: where to; it takes the place of what is there. The signature goes to the same name with `.sig`.

    Raises:
        MeritError: it is nowhere, or it is not the package that the version names.
    """
    from merit.scoring import verified  # it loads ONNX Runtime, which those who only read tags don't need

    files = package_files(version)
    with artifacts.written_aside(folder) as aside:
        aside.mkdir()
        for name, source in files.items():
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, aside / name)
        verified(aside)
        found = artifacts.package_digest(aside)
        if found != version.lineage.package:
            raise MeritError(f"{version.name}: its tag names the package {version.lineage.package}, DVC has {found}")
    beside = folder.with_name(folder.name + signing.SUFFIX)
    beside.unlink(missing_ok=True)
    if version.lineage.signature is not None:
        artifacts.write_text(beside, version.lineage.signature)


def package_files(version: Version) -> dict[str, Path]:
    """Return where DVC's cache holds each file of a version's package, brought from the remote if it is not there.

    Raises:
        MeritError: neither has it.
    """
    bring([version])
    found = _cached(version.lineage.dvc)
    if found is None:
        raise MeritError(
            f"{version.name}: its package ({version.lineage.dvc}) is neither in DVC's cache nor in its remote; 'dvc "
            "push' where it is"
        )
    return found


def bring(wanted: list[Version]) -> None:
    """Bring into DVC's cache what it lacks of the packages of versions, all at once; what is nowhere stays lacking.

    Raises:
        MeritError: DVC's remote can't be asked.
    """
    if lacking := [version for version in wanted if _cached(version.lineage.dvc) is None]:
        _pull(lacking)


def folder_hash(folder: Path) -> str:
    """Return the hash by which DVC knows a folder, such as `abc.dir`."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    listed = [{"md5": _md5(files[name]), "relpath": name} for name in sorted(files)]
    text = json.dumps(listed, sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"


def _md5(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _cached(md5: str) -> dict[str, Path] | None:
    """Return where the cache holds each file of a folder; None if it lacks one."""
    for cache_folder in _caches():
        listing = cache_folder / md5[:2] / md5[2:]
        if not listing.is_file():
            continue
        files = {name: cache_folder / each[:2] / each[2:] for name, each in _listed(listing).items()}
        if all(path.is_file() for path in files.values()):
            return files
    return None


def _listed(listing: Path) -> dict[str, str]:
    """Return the hash of each file that a folder's listing in the cache names."""
    try:
        found: list[Mapping[str, Any]] = json.loads(listing.read_text(encoding="utf-8"))
        files = {str(each["relpath"]): str(each["md5"]) for each in found}
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise MeritError(f"{listing}: can't be read ({' '.join(str(error).split())[:160]}); delete it") from error
    if any(Path(name).is_absolute() or ".." in Path(name).parts for name in files):
        raise MeritError(f"{listing}: names files outside of the package; delete it")
    return files


def _caches() -> Iterator[Path]:
    """Give the places where DVC's cache may be; DVC, slow to load, is asked only if the usual one lacks something."""
    yield CACHE
    if (place := _configured()) != CACHE.absolute():
        yield place


def _configured() -> Path:
    """Return where DVC's configuration puts its cache."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            return Path(repo.cache.local.path)
    except DvcException:
        return CACHE


def _pull(wanted: list[Version]) -> None:
    """Bring packages from DVC's remote into its cache.

    Raises:
        MeritError: the remote can't be asked.
    """
    from dvc.config import NoRemoteError
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc_data.hashfile.hash_info import HashInfo

    names = ", ".join(version.name for version in wanted)
    try:
        with Repo() as repo:
            listings = [version.lineage.dvc for version in wanted]
            repo.cloud.pull([HashInfo("md5", each) for each in listings])
            # It brings what it is told: first the folders' listings, then what those name.
            cache = Path(repo.cache.local.path)
            there = [cache / each[:2] / each[2:] for each in listings]
            files = {md5 for path in there if path.is_file() for md5 in _listed(path).values()}
            repo.cloud.pull([HashInfo("md5", each) for each in sorted(files)])
    except NoRemoteError as error:
        raise MeritError(
            f"{names}: not in DVC's cache, and DVC has no remote here; 'dvc remote add --default' names one"
        ) from error
    except (DvcException, OSError) as error:
        raise MeritError(f"{names}: DVC's remote: {' '.join(str(error).split())[:200]}") from error
