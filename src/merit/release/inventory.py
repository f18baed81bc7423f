"""Prints the installed Python and Debian packages as JSON.

Runs inside the image with the image's own Python, so it imports the standard library only.
"""

import importlib.metadata
import json
import pathlib
import platform

DPKG_STATUS = pathlib.Path("/var/lib/dpkg/status")


def _list_python_packages() -> list[dict[str, str]]:
    metadata = [each.metadata for each in importlib.metadata.distributions()]
    return [
        {"name": each["Name"], "version": each["Version"], "license": each["License-Expression"] or ""}
        for each in metadata
    ]


def _list_debian_packages() -> list[dict[str, str]]:
    if not DPKG_STATUS.is_file():
        return []
    entries = DPKG_STATUS.read_text(encoding="utf-8").split("\n\n")
    fields = [dict(line.split(": ", 1) for line in entry.splitlines() if ": " in line) for entry in entries]
    return [
        {"name": each["Package"], "version": each["Version"], "architecture": each.get("Architecture", "")}
        for each in fields
        if "installed" in each.get("Status", "").split()
    ]


if __name__ == "__main__":
    print(
        json.dumps(
            {
                "interpreter": platform.python_version(),
                "python": _list_python_packages(),
                "debian": _list_debian_packages(),
            }
        )
    )
