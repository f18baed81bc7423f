from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from merit.errors import MeritError
from merit.serving import mount


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"max_rows": -1}, r"^mount: Expected `int` >= 1 - at `\$\.max_rows`; the settings are those of conf/serve$"),
        ({"timeout_seconds": 0}, r"`\$\.timeout_seconds`"),
        ({"max_concurrent": 0}, r"`\$\.max_concurrent`"),
        ({"max_bytes": -1}, r"`\$\.max_bytes`"),
        ({"log": {"queue": -1}}, r"`\$\.log\.queue`"),
        ({"telemetry": {"sample": 7}}, r"`\$\.telemetry\.sample`"),
        (
            {"auth": {"method": "keys"}},
            r"^serve\.auth names no file; name it \('merit keys add NAME' makes it\); MERIT_KEYS may",
        ),
    ],
)
def test_an_app_is_mounted_with_the_settings_of_conf_serve_alone(
    workdir: Path, make_package: Callable[..., Path], told: dict[str, Any], words: str
) -> None:
    folder = make_package(Path("model"))
    with pytest.raises(MeritError, match=words) as caught:
        mount.app(folder, **told)
    assert "\n" not in str(caught.value)
