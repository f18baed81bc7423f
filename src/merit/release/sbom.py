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

INVENTORY_SCRIPT = Path(__file__).with_name("inventory.py")
SERIAL_NUMBER_NAMESPACE = uuid.UUID("6a1d3f55-5b0e-4c53-9a55-5f0a3f7c8f2e")


def create_sbom(engine: Engine, image: str, version: Version, base: str) -> tuple[str, int]:
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

    output = engine.run_python(image, INVENTORY_SCRIPT.read_text(encoding="utf-8"))
    try:
        inventory = json.loads(output)
    except ValueError as error:
        raise MeritError(f"{image}: doesn't list its contents ({output[:80]!r})") from error
    name, _, digest = image.partition("@")
    image_component = Component(
        name=name, version=version.name, type=ComponentType.CONTAINER, hashes=[_create_hash(digest)], bom_ref=image
    )
    base_component = Component(
        name=base, type=ComponentType.CONTAINER, description="the base image", bom_ref=f"base:{base}"
    )
    components = [
        _create_model_component(version),
        base_component,
        *map(_create_python_component, inventory["python"]),
        *map(_create_debian_component, inventory["debian"]),
    ]
    bom = Bom(
        serial_number=uuid.uuid5(SERIAL_NUMBER_NAMESPACE, image),
        metadata=BomMetaData(component=image_component, timestamp=version.tagged_at),
        components=components,
    )
    bom.register_dependency(image_component, components)
    for each in components:
        bom.register_dependency(each)
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n", len(components)


def _create_model_component(version: Version) -> "Component":
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType

    properties = {"commit": version.commit, "params": version.lineage.params, "data": version.lineage.data}
    return Component(
        name=version.model,
        version=version.short_name,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        hashes=[_create_hash(version.lineage.package)],
        properties=[Property(name=f"merit:{name}", value=value) for name, value in properties.items()],
        bom_ref=version.name,
    )


def _create_python_component(package: dict[str, str]) -> "Component":
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    name = package["name"].lower().replace("_", "-").replace(".", "-")
    purl = PackageURL("pypi", name=name, version=package["version"])
    licences = [LicenseFactory().make_from_string(package["license"])] if package["license"] else []
    return Component(
        name=package["name"],
        version=package["version"],
        type=ComponentType.LIBRARY,
        purl=purl,
        licenses=licences,
        bom_ref=str(purl),
    )


def _create_debian_component(package: dict[str, str]) -> "Component":
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    qualifiers = {"arch": package["architecture"]}
    purl = PackageURL("deb", "debian", package["name"], package["version"], qualifiers)
    return Component(
        name=package["name"], version=package["version"], type=ComponentType.LIBRARY, purl=purl, bom_ref=str(purl)
    )


def _create_hash(digest: str) -> "HashType":
    from cyclonedx.model import HashAlgorithm, HashType

    return HashType(alg=HashAlgorithm.SHA_256, content=digest.removeprefix("sha256:"))
