import json
from collections.abc import Callable
from pathlib import Path

import pytest

from merit.sweep.record import Trial
from tests.support import sweep_folders

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def sweep(workdir: Path) -> Path:
    """The folder of a sweep of twenty trials."""
    return sweep_folders.make(workdir)


def test_sweeps_as_json_say_what_the_list_says(call: Call, sweep: Path) -> None:
    code, out, err = call("sweep", "list", "--json")
    (found,) = json.loads(out)
    assert (code, err, found["name"]) == (0, "", "mlp")
    best = found["best"]
    assert call("sweep", "list")[1] == (
        f"mlp  {found['finished']} of {found['planned']} trials  trial {best['number']}: "
        f"log_loss {best['values']['log_loss']:.4f}\n"
    )


def test_a_sweep_as_json_has_every_fact_of_each_trial(call: Call, sweep: Path) -> None:
    found = json.loads(call("sweep", "show", "--json")[1])
    assert [trial["number"] for trial in found["trials"]] == list(range(20))
    assert set(found["trials"][13]) == {name for name in Trial.__dataclass_fields__ if name != "folder"}
    assert (found["trials"][13]["state"], found["trials"][13]["error"]) == ("failed", sweep_folders.ERROR)
    assert found["damaged"] == {}


def test_a_damaged_sweep_is_named_in_json_and_is_an_error(call: Call, sweep: Path) -> None:
    (sweep / "sweep.json").write_text("{")
    code, out, err = call("sweep", "list", "--json")
    assert code == 2
    assert [(each["name"], each["error"] in err) for each in json.loads(out)] == [("mlp", True)]
    assert err.startswith("error: ")
