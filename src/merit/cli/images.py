"""Command that builds images: release."""

import click

from merit.cli.group import main
from merit.errors import require_modules


@main.command()
@click.argument("version", metavar="VERSION")
def release(version: str) -> None:
    """Build and push the image of VERSION, such as flights@v3 or v3, and record it as the tag release/flights@v3."""
    require_modules("merit release", "bentoml", "oras", "cyclonedx")
    from merit.config import lock
    from merit.registry import tags
    from merit.release.release import release as run

    project_lock = lock.read_lock()
    result = run(tags.require_own_name(project_lock.name, version), project_lock.release)
    released = result.release
    click.echo(f"{result.version.name}: {released.image}" + ("" if result.is_new else " (was released before)"))
    if not result.is_new:
        return
    duration_text = (
        "it was in the registry"
        if result.build_seconds is None
        else f"built and pushed in {result.build_seconds:.1f} s"
    )
    click.echo(f"image    {released.bytes / 1e6:.1f} MB to load; {duration_text}")
    if result.ready is not None:
        ready_text = (
            f"{result.ready:.1f} s after its start"
            if isinstance(result.ready, float)
            else f"not measured: {result.ready}"
        )
        click.echo(f"ready    {ready_text}")
    if result.sbom is not None:
        click.echo(f"SBOM     {result.sbom[0]}: {result.sbom[1]} components, {released.sbom}")
