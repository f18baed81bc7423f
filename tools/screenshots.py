"""Takes the pictures of the pages in docs/assets with headless Chromium: `python tools/screenshots.py [NAME...]`.

| name | shows | needs |
|---|---|---|
| gate | reports/gate.html | `merit run` of a candidate that is compared with a champion |
| report-refused | reports/gate.html | `merit run` of a candidate that the gate refuses |
| sweep | reports/sweep.html | `merit train -m ...` |
| endpoint | the endpoint's documentation | a package in model/ |

Without names it takes those whose page is there, but for `report-refused`.
"""

import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
PAGES = {"gate": "reports/gate.html", "report-refused": "reports/gate.html", "sweep": "reports/sweep.html"}
HEIGHTS = {"gate": 1150, "report-refused": 1000, "sweep": 1100, "endpoint": 520}
WIDTH = 1100
START_TIMEOUT_S = 60
MAX_KB = 300


def main(names: list[str]) -> None:
    """Take the pictures that are named."""
    if unknown := set(names) - HEIGHTS.keys():
        sys.exit(f"error: no picture is called {', '.join(sorted(unknown))}; allowed: {', '.join(HEIGHTS)}")
    there = [name for name in ("gate", "sweep") if (ROOT / PAGES[name]).exists()]
    for name in names or [*there, *(["endpoint"] if (ROOT / "model").exists() else [])]:
        if name in PAGES:
            take((ROOT / PAGES[name]).as_uri(), name)
        else:
            with endpoint() as address:
                take(address, name)


def take(address: str, name: str) -> None:
    """Write docs/assets/NAME.png: the top of a page, in 256 colours."""
    browser = next((found for each in ("chromium", "google-chrome") if (found := shutil.which(each))), None)
    if browser is None:
        sys.exit("error: no Chromium on PATH (Debian: apt-get install chromium)")
    target = ROOT / "docs/assets" / f"{name}.png"
    with tempfile.TemporaryDirectory() as folder:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=8000"]
        size = [f"--window-size={WIDTH},{HEIGHTS[name]}", f"--user-data-dir={folder}/profile"]
        command = [browser, *options, *size, f"--screenshot={folder}/page.png", address]
        subprocess.run(command, check=True, timeout=120, capture_output=True)
        Image.open(f"{folder}/page.png").convert("RGB").quantize(256).save(target, optimize=True)
    kilobytes = target.stat().st_size // 1024
    print(f"{target.relative_to(ROOT)}: {kilobytes} kB")
    if kilobytes > MAX_KB:
        sys.exit(f"error: {target.name} has {kilobytes} kB; allowed: at most {MAX_KB}; lower its height in HEIGHTS")


@contextmanager
def endpoint() -> Iterator[str]:
    """Serve the package in model/ on loopback while the picture is taken."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(["merit", "serve", "--port", str(port)], cwd=ROOT)
    try:
        address = f"http://127.0.0.1:{port}/"
        wait(f"{address}readyz")
        yield address
    finally:
        server.terminate()
        server.wait(timeout=START_TIMEOUT_S)


def wait(address: str) -> None:
    """Wait until an address answers."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        with suppress(OSError), urllib.request.urlopen(address, timeout=2):  # noqa: S310
            return
        time.sleep(0.2)
    sys.exit(f"error: {address} doesn't answer; 'merit serve' says above why")


if __name__ == "__main__":
    main(sys.argv[1:])
