"""release: a version as an image."""

import click

from merit.cli.group import main


@main.command()
@click.argument("version", metavar="MODEL@vN")
def release(version: str) -> None:
    """Make the image of a version, push it, and record its digest as the tag release/MODEL@vN."""
    from merit.config import lock
    from merit.release.release import release as run

    done = run(version, lock.read().release)
    found = done.release
    click.echo(f"{done.version.name}: {found.image}" + ("" if done.is_new else " (was released before)"))
    if not done.is_new:
        return
    spent = (
        "it was in the registry" if done.built_seconds is None else f"built and pushed in {done.built_seconds:.1f} s"
    )
    click.echo(f"image    {found.bytes / 1e6:.1f} MB to load; {spent}")
    if done.ready is not None:
        told = f"{done.ready:.1f} s after its start" if isinstance(done.ready, float) else f"not measured: {done.ready}"
        click.echo(f"ready    {told}")
    if done.sbom is not None:
        click.echo(f"SBOM     {done.sbom[0]}: {done.sbom[1]} components, {found.sbom}")
