from collections.abc import Callable
from pathlib import Path

import pytest

from merit import artifacts, pipeline
from merit.errors import MeritError


@pytest.mark.parametrize("text", ["", "schema: '2.0'\nstages: [x", "\udcff"])
def test_a_damaged_dvc_lock_is_told_with_how_to_mend_it(
    git_repo: Callable[..., str], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvc.repo import Repo

    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    Repo.init().close()
    Path("dvc.yaml").write_text("stages:\n  features:\n    cmd: 'true'\n    outs: [x]\n", encoding="utf-8")
    artifacts.DVC_LOCK.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(MeritError) as caught:
        pipeline.reproduce()
    assert str(caught.value).startswith("pipeline: ")
    assert str(caught.value).endswith("; run 'git checkout dvc.lock', or remove it and run again")
    assert "\n" not in str(caught.value)
