"""Smoke test of a server: its response to the package's example must equal the package's own prediction."""

import json
import urllib.error
import urllib.request
from pathlib import Path

import msgspec

from merit.errors import Refused
from merit.scoring.package import Package
from merit.serving.app.answers import Answers
from merit.serving.app.handler import PREDICT
from merit.serving.app.rows import BadRows

TOLERANCE = 1e-6
"""Maximum absolute difference of a prediction: the server may run the same graph on another processor."""
SECONDS = 30


def probe(folder: Path, version: str, address: str, key: str = "", commit: str | None = None) -> None:
    """Send the package's example to a server and compare the response.

    Args:
        folder: the package that the server should serve.
        version: the version that the response should name.
        address: base address of the server, such as http://127.0.0.1:3100.
        key: API key, if the server needs one.
        commit: the commit that the response should name; None expects the package's own.

    Raises:
        Refused: the response differs, or there is none.
    """
    package = Package.load(folder)
    body = msgspec.json.encode(package.signature["example"])
    try:
        expected = Answers(package, version, 1).answer(body) | ({} if commit is None else {"commit": commit})
        shown = {"authorization": f"Bearer {key}"} if key else {}
        headers = {"content-type": "application/json", **shown}
        request = urllib.request.Request(address + PREDICT, data=body, headers=headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310  # the deployment's own address
            found = json.loads(answer.read())
    except BadRows as error:
        raise Refused(f"smoke: the package can't answer its own example ({error})") from error
    except (OSError, ValueError) as error:
        raise Refused(f"smoke: {address} does not answer the package's example ({error})") from error
    wrong = [name for name in expected if not _same(expected[name], found.get(name))]
    if wrong:
        told = "; ".join(f"{name} is {found.get(name)!r}, not {expected[name]!r}" for name in wrong)
        raise Refused(f"smoke: {address} answers otherwise than {version} itself: {told}")


def _same(expected: object, found: object) -> bool:
    if isinstance(expected, list):
        return isinstance(found, list) and len(found) == len(expected) and all(map(_same, expected, found))
    if isinstance(expected, float):
        return isinstance(found, (int, float)) and abs(found - expected) <= TOLERANCE
    return expected == found
