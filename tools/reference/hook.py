"""Writes the generated part of the site: the reference of conf/ and of the command line.

MkDocs loads this file as a hook (`hooks:` in mkdocs.yml) and calls `on_files` at each build, so the pages are always
those of the schemas in conf/.schema, of the files in conf/ and of the commands of `merit.cli`. Nothing is committed.
"""

from commands import cli_page
from configuration import configuration_pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to those of docs/."""
    for path, text in {**configuration_pages(), "reference/cli.md": cli_page()}.items():
        files.append(File.generated(config, path, content=text))
    return files
