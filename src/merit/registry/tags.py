"""Versions: annotated Git tags such as `flights@v3`, whose messages hold the lineage. MLflow is their projection."""

import re
import shutil
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, ValidationError

from merit import artifacts, git, safe_yaml
from merit import dvc as outputs
from merit.config.schema.base import Section
from merit.dvc import cache
from merit.errors import MeritError
from merit.signing import signatures, verification

FIELDS = ("refname:strip=2", "objecttype", "*objectname", "taggername", "taggerdate:iso-strict", "contents:subject",
          "contents:body")  # fmt: skip
DIGITS = 6
"""The most digits of a version's number: one that somebody made up would push every later one out of reach."""

MOST_KEYS = 3
"""Keys of a lineage that are named where more are wrong."""


class Lineage(Section):
    """Where a version comes from, as its tag tells it."""

    commit: str
    """The commit of main whose dvc.lock names the package."""
    package: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    """The package's digest: `sha256:` and the SHA-256 of its manifest."""
    dvc: Annotated[str, Field(pattern=r"^[0-9a-f]{32}\.dir$")]
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
        return f"{self.model}@{self.short_name}"

    @property
    def short_name(self) -> str:
        """What it is called beside its model, as in answers: `v3`."""
        return f"v{self.number}"


def versions(model: str) -> list[Version]:
    """Return the versions of a model by their numbers, from the tags that are here; other tags are left out."""
    return [found for found in _tags(model).values() if isinstance(found, Version)]


def numbers(model: str) -> list[int]:
    """Return the numbers that are taken, also by tags without a lineage; those that are too high don't count."""
    found = [name.rpartition("@v")[2] for name in _tags(model)]
    return [int(number) for number in found if len(number) <= DIGITS]


def unreadable(model: str) -> dict[str, str]:
    """Return the tags that are called as versions are and are none, with what is wrong with each."""
    return {name: found for name, found in _tags(model).items() if isinstance(found, str)}


def whole_name(model: str, name: str) -> str:
    """Return `flights@v3` for `v3` too."""
    return name if "@" in name else f"{model}@{name}"


def own_name(model: str, name: str) -> str:
    """Return `flights@v3` for it and for `v3`.

    Raises:
        MeritError: it is of another model than this repository's.
    """
    whole = whole_name(model, name)
    if whole.rpartition("@")[0] != model:
        raise MeritError(f"'{name}' is no version of {model}, which is this repository's model")
    return whole


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
    there = f"there are {', '.join(known)}" if known else "there are none; 'merit register' makes them"
    raise MeritError(f"{name}: no such version here; {there} ({git.how_to_fetch()} brings those of others)")


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
            found[record[0]] = _read(model, match[1], record)
    return _signed(
        signatures.later(model), _once(dict(sorted(found.items(), key=lambda item: (len(item[0]), item[0]))))
    )


def _signed(late: dict[tuple[str, str], str], found: dict[str, Version | str]) -> dict[str, Version | str]:
    """Return the tags with the signatures that versions without one got later."""
    for name, version in found.items():
        if isinstance(version, Version) and version.lineage.signature is None:
            signature = late.get((name, version.commit))
            found[name] = replace(version, lineage=version.lineage.model_copy(update={"signature": signature}))
    return found


def _once(found: dict[str, Version | str]) -> dict[str, Version | str]:
    """Return the tags, of which no package is two versions: the first one is."""
    first: dict[str, str] = {}
    for name, version in found.items():
        if isinstance(version, Version) and first.setdefault(version.lineage.package, name) != name:
            found[name] = f"its tag names the package that {first[version.lineage.package]} is: {_remedy(name)}"
    return found


def _remedy(name: str) -> str:
    return f"no version that 'merit register' made; take another, or delete it by 'git tag -d {name}'"


def _read(model: str, number: str, record: list[str]) -> Version | str:
    name, _, commit, tagger, at, _, body = record
    if (wrong := _malformed(number, record)) is not None:
        return f"{wrong}: {_remedy(name)}"
    try:
        lineage = Lineage.model_validate(safe_yaml.load(body))
    except (yaml.YAMLError, ValidationError, RecursionError) as error:
        return f"its tag holds no lineage ({_wrong(error)}): {_remedy(name)}"
    if lineage.commit != commit:
        return f"its tag is on {commit[:7]}, its lineage on {lineage.commit[:7]}: {_remedy(name)}"
    return Version(model, int(number), commit, lineage, tagger, datetime.fromisoformat(at))


def _malformed(number: str, record: list[str]) -> str | None:
    """Return what is wrong with a tag before its lineage is read."""
    name, kind, _, _, _, subject, body = record
    titled = subject.partition(":")[0]
    faults = {
        "its tag has no message": kind != "tag",
        f"its number has more than {DIGITS} digits": len(number) > DIGITS,
        "its tag is not UTF-8": git.UNREADABLE in body,
        f"its tag's message is that of '{titled[:80]}'": re.fullmatch(r"\S+@v[0-9]+", titled) and titled != name,
        "its tag holds no lineage (its message doesn't begin with its name)": titled != name,
    }
    return next((fault for fault, holds in faults.items() if holds), None)


def _wrong(error: Exception) -> str:
    """Return what is wrong with a message in a few words."""
    if not isinstance(error, ValidationError):
        return "its message is no YAML of keys"
    keys = list(dict.fromkeys(".".join(map(str, each["loc"])) for each in error.errors()))
    if keys == [""]:
        return "its message holds no keys"
    more = f" and {len(keys) - MOST_KEYS} more" if len(keys) > MOST_KEYS else ""
    return f"missing or wrong: {', '.join(keys[:MOST_KEYS])}{more}"


def package_at(commit: str) -> str | None:
    """Return the hash by which the dvc.lock of a commit knows the package; None if it names none.

    Raises:
        MeritError: it is not a lock of DVC's.
    """
    return (outputs.at(commit) or {}).get(artifacts.PACKAGE.as_posix())


def model_at(commit: str) -> str | None:
    """Return the model's name as the params.yaml of a commit has it; None if it names none."""
    told = re.search(r"(?m)^name: *(\S+)", git.show(commit, artifacts.LOCK) or "")
    return told[1].strip("'\"") if told else None


def declaring(path: Path, tip: str) -> set[str]:
    """Return the commits of a first-parent history that changed a file which declares versions, or whose they are.

    A version is declared by its number: where the model gets another name, the same number is another version.
    """
    lock = artifacts.LOCK.as_posix()
    log = ("log", "--first-parent", "--format=%H")
    own = git.git(*log, tip, "--", path.as_posix()) or ""
    renamed = git.git(*log, "-m", "-G^name:", tip, "--", lock) or ""
    return {*own.split(), *renamed.split()}


def origin(package: Path) -> str | None:
    """Return the commit that answers of a package name: who asks finds the code, the configuration and the data there.

    That of its version's tag, if it has one. Else, of the package in model/, the commit that is checked out, followed
    by `-dirty` where files that Git tracks differ from it, or dvc.lock names another package: the commit alone does
    not give this package then. None where Git does not know.

    Args:
        package: the folder.
    """
    if (version := of_package(package)) is not None:
        return version.commit
    commit = git.head() if package.absolute() == artifacts.PACKAGE.absolute() else None
    return commit if commit is None or not _is_dirty(package) else f"{commit}-dirty"


def of_package(package: Path) -> Version | None:
    """Return the version that a package is, from the tags that are here; None if it is none."""
    digest, manifest = artifacts.package_digest(package), artifacts.read_json(package / artifacts.MANIFEST, "package")
    model = str(manifest.get("model")) if isinstance(manifest, dict) else ""
    return next((each for each in versions(model) if each.lineage.package == digest), None)


def _is_dirty(package: Path) -> bool:
    """Say whether what is checked out is more than its commit."""
    try:
        named = (outputs.here() or {}).get(artifacts.PACKAGE.as_posix())
    except MeritError:
        return True
    return git.is_dirty() or named not in {None, cache.folder_hash(package)}


def fetch_package(version: Version, folder: Path) -> None:
    """Bring a version's package to a folder, out of DVC's cache or its remote, and its signature, if any, beside it.

    Args:
        version: whose.
        folder: where to; it takes the place of what is there. The signature goes to the same name with `.sig`.

    Raises:
        MeritError: it is nowhere, or it is not the package that the version names.
    """
    from merit.scoring.package import verified  # it loads ONNX Runtime, which those who only read tags don't need

    files = package_files(version)
    with artifacts.written_aside(folder) as aside:
        aside.mkdir()
        for name, source in files.items():
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, aside / name)
        try:
            verified(aside)
        except MeritError as error:
            reason = str(error).removeprefix(f"{aside}: ").partition("; make it again")[0]
            raise MeritError(f"{version.name}: in DVC's cache is {reason}; delete it there") from error
        found = artifacts.package_digest(aside)
        if found != version.lineage.package:
            raise MeritError(f"{version.name}: its tag names the package {version.lineage.package}, DVC has {found}")
    put_signature(version, folder)


def put_signature(version: Version, folder: Path) -> None:
    """Put a version's signature, if it has one, beside the folder of its package, where who serves looks for it."""
    beside = folder.with_name(folder.name + verification.SUFFIX)
    beside.unlink(missing_ok=True)
    if version.lineage.signature is not None:
        artifacts.write_text(beside, version.lineage.signature)


def package_files(version: Version) -> dict[str, Path]:
    """Return where DVC's cache holds each file of a version's package, brought from the remote if it is not there.

    Raises:
        MeritError: neither has it.
    """
    bring([version])
    found = cache.files(version.lineage.dvc)
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
    if lacking := [version for version in wanted if cache.files(version.lineage.dvc) is None]:
        names = ", ".join(version.name for version in lacking)
        try:
            outputs.bring({version.lineage.dvc: artifacts.PACKAGE.as_posix() for version in lacking})
        except MeritError as error:
            raise MeritError(f"{names}: {error}") from error
