"""Prints the installed Python and Debian packages as JSON.

Runs inside the image with the image's own Python, so it imports the standard library only.
"""

import importlib.metadata
import json
import pathlib
import platform

STATUS = pathlib.Path("/var/lib/dpkg/status")


def _python() -> list[dict[str, str]]:
    found = [each.metadata for each in importlib.metadata.distributions()]
    return [
        {"name": each["Name"], "version": each["Version"], "license": each["License-Expression"] or ""}
        for each in found
    ]


def _debian() -> list[dict[str, str]]:
    if not STATUS.is_file():
        return []
    entries = STATUS.read_text(encoding="utf-8").split("\n\n")
    fields = [dict(line.split(": ", 1) for line in entry.splitlines() if ": " in line) for entry in entries]
    return [
        {"name": each["Package"], "version": each["Version"], "architecture": each.get("Architecture", "")}
        for each in fields
        if "installed" in each.get("Status", "").split()
    ]


if __name__ == "__main__":
    print(json.dumps({"interpreter": platform.python_version(), "python": _python(), "debian": _debian()}))
