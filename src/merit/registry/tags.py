"""Reads model versions from annotated Git tags such as `flights@v3`, whose messages hold the lineage as YAML.

A tag that is named like a version but is malformed is never a version; `find_malformed_tags` reports it with its fault.
"""

import re
import shutil
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, ValidationError

from merit import artifacts, git, safe_yaml
from merit import dvc as dvc_outputs
from merit.config.schema.base import Section
from merit.dvc import cache
from merit.errors import MeritError
from merit.signing import signatures, verification

TAG_FIELDS = ("refname:strip=2", "objecttype", "*objectname", "taggername", "taggerdate:iso-strict", "contents:subject",
          "contents:body")  # fmt: skip
MAX_DIGITS = 6
"""The most digits in a version number: numbers only increase, so one absurdly high tag would block all later ones."""

MAX_DISPLAYED_KEYS = 3
"""The most invalid lineage keys that an error names."""


class Lineage(Section):
    """The origin of a version, as stored in its tag's message."""

    commit: str
    """The commit of main whose dvc.lock names the package."""
    package: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    """The package's digest: `sha256:` and the SHA-256 of its manifest."""
    dvc: Annotated[str, Field(pattern=r"^[0-9a-f]{32}\.dir$")]
    """DVC's hash of the package, which is the output `model`, such as `abc.dir`."""
    params: str
    """The SHA-256 of the sections of params.yaml that are part of the package."""
    data: str
    """The SHA-256 of data/raw.parquet."""
    data_fingerprint: str
    """The fingerprint of the data source in params.yaml."""
    verdict: str
    """The gate's verdict."""
    checks: int
    """The number of gate checks that passed."""
    waived: list[str]
    """The checks that were waived."""
    metrics: dict[str, float]
    """The model's metrics on its test rows."""
    run: str | None
    """The id of the training run in MLflow; None if it is unknown. The run may no longer exist."""
    signature: str | None
    """The Sigstore bundle of the package as JSON; None if it is not signed."""


@dataclass(frozen=True)
class Version:
    """A version of a model, parsed from its tag.

    Attributes:
        model: the model's name, such as `flights`.
        number: the version's number, from 1.
        commit: the commit that the tag points to.
        lineage: the content of the tag's message.
        tagger: who created the tag.
        tagged_at: when the tag was created.
    """

    model: str
    number: int
    commit: str
    lineage: Lineage
    tagger: str
    tagged_at: datetime

    @property
    def name(self) -> str:
        """The full name, such as `flights@v3`."""
        return f"{self.model}@{self.short_name}"

    @property
    def short_name(self) -> str:
        """The name without the model, as in prediction responses: `v3`."""
        return f"v{self.number}"


def list_versions(model: str) -> list[Version]:
    """Return the versions of a model from local tags, ordered by number; malformed tags are left out."""
    return [found for found in _read_tags(model).values() if isinstance(found, Version)]


def list_numbers(model: str) -> list[int]:
    """Return the version numbers in use, including those of malformed tags; numbers of too many digits don't count."""
    texts = [name.rpartition("@v")[2] for name in _read_tags(model)]
    return [int(number) for number in texts if len(number) <= MAX_DIGITS]


def find_malformed_tags(model: str) -> dict[str, str]:
    """Return the fault of each malformed tag that is named like a version, by tag name."""
    return {name: found for name, found in _read_tags(model).items() if isinstance(found, str)}


def complete_name(model: str, name: str) -> str:
    """Return the full name `flights@v3`, for either `v3` or `flights@v3`."""
    return name if "@" in name else f"{model}@{name}"


def require_own_name(model: str, name: str) -> str:
    """Return the full name `flights@v3`, for either `v3` or `flights@v3`.

    Raises:
        MeritError: the name is that of another model.
    """
    full_name = complete_name(model, name)
    if full_name.rpartition("@")[0] != model:
        raise MeritError(f"'{name}' is no version of {model}, which is this repository's model")
    return full_name


def find_version(name: str) -> Version:
    """Return the version with a full name such as `flights@v3`.

    Raises:
        MeritError: there is no such version, or its tag is malformed.
    """
    model = name.partition("@")[0]
    tags = _read_tags(model)
    result = tags.get(name)
    if isinstance(result, Version):
        return result
    if result is not None:
        raise MeritError(f"{name}: {result}")
    existing = [each for each, version in tags.items() if isinstance(version, Version)]
    hint = f"there are {', '.join(existing)}" if existing else "there are none; 'merit register' makes them"
    raise MeritError(f"{name}: no such version here; {hint} ({git.suggest_fetch_command()} brings those of others)")


def format_message(name: str, lineage: Lineage) -> str:
    """Return the message of a version's tag: a subject line, and the lineage as YAML."""
    body = yaml.safe_dump(lineage.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=1_000_000)
    check_count = "1 check" if lineage.checks == 1 else f"{lineage.checks} checks"
    return f"{name}: {check_count} passed\n\n{body}"


def _read_tags(model: str) -> dict[str, Version | str]:
    """Return the parsed version, or else the fault, of each tag that is named like a version, by tag name."""
    tag_format = "%00".join(f"%({field})" for field in TAG_FIELDS) + "%00"
    output = git.run_git("for-each-ref", f"--format={tag_format}", f"refs/tags/{model}@v*") or ""
    parts = [part.removeprefix("\n") for part in output.split("\0")]
    records = [parts[place : place + len(TAG_FIELDS)] for place in range(0, len(parts) - 1, len(TAG_FIELDS))]
    tags: dict[str, Version | str] = {}
    for record in records:
        if match := re.fullmatch(rf"{re.escape(model)}@v([1-9][0-9]*)", record[0]):
            tags[record[0]] = _parse_tag(model, match[1], record)
    return _add_signatures(
        signatures.read_signature_tags(model),
        _mark_duplicates(dict(sorted(tags.items(), key=lambda item: (len(item[0]), item[0])))),
    )


def _add_signatures(
    late_signatures: dict[tuple[str, str], str], tags: dict[str, Version | str]
) -> dict[str, Version | str]:
    """Add the signatures that were made by `merit sign` to versions that were registered without one."""
    for name, version in tags.items():
        if isinstance(version, Version) and version.lineage.signature is None:
            signature = late_signatures.get((name, version.commit))
            tags[name] = replace(version, lineage=version.lineage.model_copy(update={"signature": signature}))
    return tags


def _mark_duplicates(tags: dict[str, Version | str]) -> dict[str, Version | str]:
    """Keep the first version of each package; later tags of the same package are marked as faulty."""
    first_names: dict[str, str] = {}
    for name, version in tags.items():
        if isinstance(version, Version) and first_names.setdefault(version.lineage.package, name) != name:
            tags[name] = f"its tag names the package of {first_names[version.lineage.package]}: {_format_remedy(name)}"
    return tags


def _format_remedy(name: str) -> str:
    return f"no version that 'merit register' made; take another, or delete it by 'git tag -d {name}'"


def _parse_tag(model: str, number: str, record: list[str]) -> Version | str:
    name, _, commit, tagger, tagged_at, _, body = record
    if (fault := _find_fault(number, record)) is not None:
        return f"{fault}: {_format_remedy(name)}"
    try:
        lineage = Lineage.model_validate(safe_yaml.load(body))
    except (yaml.YAMLError, ValidationError, RecursionError) as error:
        return f"its tag holds no lineage ({_describe_error(error)}): {_format_remedy(name)}"
    if lineage.commit != commit:
        return f"its tag is on {commit[:7]}, its lineage on {lineage.commit[:7]}: {_format_remedy(name)}"
    return Version(model, int(number), commit, lineage, tagger, datetime.fromisoformat(tagged_at))


def _find_fault(number: str, record: list[str]) -> str | None:
    """Return the fault of a tag's name, kind or subject, before its lineage is parsed; None if there is none."""
    name, kind, _, _, _, subject, body = record
    title = subject.partition(":")[0]
    faults = {
        "its tag has no message": kind != "tag",
        f"its number has more than {MAX_DIGITS} digits": len(number) > MAX_DIGITS,
        "its tag is not UTF-8": git.REPLACEMENT_CHARACTER in body,
        f"its tag's message is that of '{title[:80]}'": re.fullmatch(r"\S+@v[0-9]+", title) and title != name,
        "its tag holds no lineage (its message doesn't begin with its name)": title != name,
    }
    return next((fault for fault, holds in faults.items() if holds), None)


def _describe_error(error: Exception) -> str:
    """Return a short description of a parsing or validation error."""
    if not isinstance(error, ValidationError):
        return "its message is no YAML of keys"
    keys = list(dict.fromkeys(".".join(map(str, each["loc"])) for each in error.errors()))
    if keys == [""]:
        return "its message holds no keys"
    more = f" and {len(keys) - MAX_DISPLAYED_KEYS} more" if len(keys) > MAX_DISPLAYED_KEYS else ""
    return f"missing or wrong: {', '.join(keys[:MAX_DISPLAYED_KEYS])}{more}"


def read_package_hash(commit: str) -> str | None:
    """Return the package's DVC hash in a commit's dvc.lock; None if it names no package.

    Raises:
        MeritError: the dvc.lock is invalid.
    """
    return (dvc_outputs.read_outputs_at(commit) or {}).get(artifacts.PACKAGE.as_posix())


def read_model_name(commit: str) -> str | None:
    """Return the model's name in a commit's params.yaml; None if it has none."""
    match = re.search(r"(?m)^name: *(\S+)", git.read_file(commit, artifacts.LOCK) or "")
    return match[1].strip("'\"") if match else None


def find_declaring_commits(path: Path, tip: str) -> set[str]:
    """Return the commits of a first-parent history that changed an environment's file or the model's name.

    An environment declares a version by its number only, so after a rename of the model the same number means another
    version.
    """
    lock_file = artifacts.LOCK.as_posix()
    log_command = ("log", "--first-parent", "--format=%H")
    changed = git.run_git(*log_command, tip, "--", path.as_posix()) or ""
    renamed = git.run_git(*log_command, "-m", "-G^name:", tip, "--", lock_file) or ""
    return {*changed.split(), *renamed.split()}


def find_origin(package: Path) -> str | None:
    """Return the commit that predictions of a package name as their origin (code, configuration, data).

    A registered package has the commit of its version's tag. For an unregistered package in model/ it is HEAD, with
    the suffix `-dirty` if tracked files differ from HEAD or dvc.lock names another package, because HEAD alone doesn't
    give this package then. None for other packages, and without Git.

    Args:
        package: the folder.
    """
    if (version := find_package_version(package)) is not None:
        return version.commit
    commit = git.get_head() if package.absolute() == artifacts.PACKAGE.absolute() else None
    return commit if commit is None or not _is_dirty(package) else f"{commit}-dirty"


def find_package_version(package: Path) -> Version | None:
    """Return the version of a package folder, by its digest in local tags; None if it is not registered."""
    digest, manifest = artifacts.hash_package(package), artifacts.read_json(package / artifacts.MANIFEST, "package")
    model = str(manifest.get("model")) if isinstance(manifest, dict) else ""
    return next((each for each in list_versions(model) if each.lineage.package == digest), None)


def _is_dirty(package: Path) -> bool:
    """Return whether tracked files or the package differ from HEAD."""
    try:
        locked_hash = (dvc_outputs.read_outputs() or {}).get(artifacts.PACKAGE.as_posix())
    except MeritError:
        return True
    return git.is_dirty() or locked_hash not in {None, cache.hash_folder(package)}


def fetch_package(version: Version, folder: Path) -> None:
    """Copy a version's package to a folder, from DVC's cache or its remote, and its signature, if any, beside it.

    Args:
        version: the version.
        folder: the destination; existing content is replaced. The signature is written to the same name with `.sig`.

    Raises:
        MeritError: neither cache nor remote has the package, or it is not the package that the tag names.
    """
    # Imported late: it loads ONNX Runtime, which reading tags doesn't need.
    from merit.scoring.package import PackageError, verify_package

    files = find_package_files(version)
    with artifacts.write_atomically(folder) as aside:
        aside.mkdir()
        for name, source in files.items():
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, aside / name)
        try:
            verify_package(aside)
        except MeritError as error:
            reason = error.reason if isinstance(error, PackageError) else "a package without a readable manifest"
            raise MeritError(f"{version.name}: in DVC's cache is {reason}; delete it there") from error
        digest = artifacts.hash_package(aside)
        if digest != version.lineage.package:
            raise MeritError(f"{version.name}: its tag names the package {version.lineage.package}, DVC has {digest}")
    write_signature(version, folder)


def write_signature(version: Version, folder: Path) -> None:
    """Write a version's signature, if it has one, beside its package's folder, where serving looks for it."""
    signature_file = folder.with_name(folder.name + verification.SIGNATURE_SUFFIX)
    signature_file.unlink(missing_ok=True)
    if version.lineage.signature is not None:
        artifacts.write_text(signature_file, version.lineage.signature)


def find_package_files(version: Version) -> dict[str, Path]:
    """Return the path in DVC's cache of each file of a version's package, downloaded if the cache lacks it.

    Raises:
        MeritError: neither the cache nor the remote has it.
    """
    fetch_packages([version])
    files = cache.find_files(version.lineage.dvc)
    if files is None:
        raise MeritError(
            f"{version.name}: its package ({version.lineage.dvc}) is neither in DVC's cache nor in its remote; 'dvc "
            "push' where it is"
        )
    return files


def fetch_packages(wanted_versions: list[Version]) -> None:
    """Download the packages of versions that DVC's cache lacks, in one batch; skip those that the remote lacks.

    Raises:
        MeritError: DVC's remote can't be reached.
    """
    if missing := [version for version in wanted_versions if cache.find_files(version.lineage.dvc) is None]:
        names = ", ".join(version.name for version in missing)
        try:
            dvc_outputs.fetch_to_cache({version.lineage.dvc: artifacts.PACKAGE.as_posix() for version in missing})
        except MeritError as error:
            raise MeritError(f"{names}: {error}") from error
