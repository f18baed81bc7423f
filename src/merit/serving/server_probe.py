"""Smoke test of a server: its response to the package's example must equal the package's own prediction."""

import json
import urllib.error
import urllib.request
from pathlib import Path

import msgspec

from merit.errors import Refused
from merit.scoring.package import Package
from merit.serving.app.handler import PREDICT_ROUTE
from merit.serving.app.row_values import BadRows
from merit.serving.app.served_model import ServedModel

TOLERANCE = 1e-6
"""Maximum absolute difference of a prediction: the server may run the same graph on another processor."""
TIMEOUT_S = 30


def check_example(folder: Path, version: str, address: str, key: str = "", commit: str | None = None) -> None:
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
        expected = ServedModel(package, version, 1).predict(body) | ({} if commit is None else {"commit": commit})
        credentials = {"authorization": f"Bearer {key}"} if key else {}
        headers = {"content-type": "application/json", **credentials}
        request = urllib.request.Request(address + PREDICT_ROUTE, data=body, headers=headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310  # the deployment's own address
            received = json.loads(response.read())
    except BadRows as error:
        raise Refused(f"smoke: the package can't answer its own example ({error})") from error
    except (OSError, ValueError) as error:
        raise Refused(f"smoke: {address} does not answer the package's example ({error})") from error
    different = [name for name in expected if not _is_same(expected[name], received.get(name))]
    if different:
        differences = "; ".join(f"{name} is {received.get(name)!r}, not {expected[name]!r}" for name in different)
        raise Refused(f"smoke: {address} answers otherwise than {version} itself: {differences}")


def _is_same(expected: object, received: object) -> bool:
    if isinstance(expected, list):
        return isinstance(received, list) and len(received) == len(expected) and all(map(_is_same, expected, received))
    if isinstance(expected, float):
        return isinstance(received, (int, float)) and abs(received - expected) <= TOLERANCE
    return expected == received
