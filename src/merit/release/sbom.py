"""Creates the CycloneDX SBOM of an image: its packages, model and base image. The same image gives the same bytes."""

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from merit.errors import MeritError
from merit.registry.tags import Version
from merit.release.engine import Engine

if TYPE_CHECKING:
    from cyclonedx.model import HashType
    from cyclonedx.model.component import Component

INVENTORY = Path(__file__).with_name("inventory.py")
NAMESPACE = uuid.UUID("6a1d3f55-5b0e-4c53-9a55-5f0a3f7c8f2e")


def text(engine: Engine, image: str, version: Version, base: str) -> tuple[str, int]:
    """Return the SBOM of an image as JSON, and its number of components.

    Args:
        engine: the engine that lists the image's packages.
        image: the image's name, by digest.
        version: the version in the image.
        base: the name of its base image.

    Raises:
        MeritError: the image's packages can't be listed.
    """
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    answer = engine.output(image, INVENTORY.read_text(encoding="utf-8"))
    try:
        found = json.loads(answer)
    except ValueError as error:
        raise MeritError(f"{image}: does not tell what is in it ({answer[:80]!r})") from error
    name, _, digest = image.partition("@")
    whole = Component(
        name=name, version=version.name, type=ComponentType.CONTAINER, hashes=[_hash(digest)], bom_ref=image
    )
    began = Component(name=base, type=ComponentType.CONTAINER, description="the base image", bom_ref=f"base:{base}")
    parts = [_model(version), began, *map(_python, found["python"]), *map(_debian, found["debian"])]
    bom = Bom(
        serial_number=uuid.uuid5(NAMESPACE, image),
        metadata=BomMetaData(component=whole, timestamp=version.tagged_at),
        components=parts,
    )
    bom.register_dependency(whole, parts)
    for each in parts:
        bom.register_dependency(each)
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n", len(parts)


def _model(version: Version) -> "Component":
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType

    told = {"commit": version.commit, "params": version.lineage.params, "data": version.lineage.data}
    return Component(
        name=version.model,
        version=version.short_name,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        hashes=[_hash(version.lineage.package)],
        properties=[Property(name=f"merit:{name}", value=value) for name, value in told.items()],
        bom_ref=version.name,
    )


def _python(each: dict[str, str]) -> "Component":
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    name = each["name"].lower().replace("_", "-").replace(".", "-")
    purl = PackageURL("pypi", name=name, version=each["version"])
    licences = [LicenseFactory().make_from_string(each["license"])] if each["license"] else []
    return Component(
        name=each["name"],
        version=each["version"],
        type=ComponentType.LIBRARY,
        purl=purl,
        licenses=licences,
        bom_ref=str(purl),
    )


def _debian(each: dict[str, str]) -> "Component":
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    qualifiers = {"arch": each["architecture"]}
    purl = PackageURL("deb", "debian", each["name"], each["version"], qualifiers)
    return Component(
        name=each["name"], version=each["version"], type=ComponentType.LIBRARY, purl=purl, bom_ref=str(purl)
    )


def _hash(digest: str) -> "HashType":
    from cyclonedx.model import HashAlgorithm, HashType

    return HashType(alg=HashAlgorithm.SHA_256, content=digest.removeprefix("sha256:"))
