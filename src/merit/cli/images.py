"""Command that builds images: release."""

import click

from merit.cli.group import main


@main.command()
@click.argument("version", metavar="VERSION")
def release(version: str) -> None:
    """Build and push the image of VERSION, such as flights@v3 or v3, and record it as the tag release/flights@v3."""
    from merit.config import lock
    from merit.registry import tags
    from merit.release.release import release as run

    read = lock.read_lock()
    done = run(tags.require_own_name(read.name, version), read.release)
    found = done.release
    click.echo(f"{done.version.name}: {found.image}" + ("" if done.is_new else " (was released before)"))
    if not done.is_new:
        return
    spent = (
        "it was in the registry" if done.build_seconds is None else f"built and pushed in {done.build_seconds:.1f} s"
    )
    click.echo(f"image    {found.bytes / 1e6:.1f} MB to load; {spent}")
    if done.ready is not None:
        told = f"{done.ready:.1f} s after its start" if isinstance(done.ready, float) else f"not measured: {done.ready}"
        click.echo(f"ready    {told}")
    if done.sbom is not None:
        click.echo(f"SBOM     {done.sbom[0]}: {done.sbom[1]} components, {found.sbom}")
