"""The project that changes are planted in: January's flights, a small network, a champion on main."""

from pathlib import Path

import pytest

from tests.support import small_project

CONF = f"""# @package _global_
defaults:
  - override /model: mlp
data:{small_project.JANUARY}
trainer: {{max_epochs: 8, batch_size: 512}}
evaluate:
  {{resamples: 200, slice_resamples: 200, blocks: {{by: row}}, seeds: 1, slices: [carrier, origin],
   baseline: {{max_iter: 60}}}}
gate:
  unnamed_slices: null # six days are too few to search for slices, and as single rows they are no evidence
  floors: {{roc_auc: 0.6, log_loss: 0.65}}
  baseline: {{margin: 0.05}}
  champion: [{{metric: roc_auc, margin: 0.02}}, {{metric: log_loss, margin: 0.02}}]
  calibration: 0.1
  slices: {{margin: 0.05}}
  time: {{row_ms: 2, batch_ms: 10}}
  robustness: {{missing: {{amount: 0.5, margin: 0.05}}}}
  behaviour:
    direction:
      less_sight_before: {{column: visib_6h, by: -5, expect: not_lower}}
  replay: null
  data: {{rows: 3000}}
"""


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project after its run, on a branch of its own beside main, where its champion is."""
    return small_project.once(tmp_path_factory, "gates", make)


def make(folder: Path) -> None:
    """Make the project in a folder."""
    made = small_project.make(folder, CONF)
    done = made.merit("run")
    assert done.returncode == 0, done.stdout + done.stderr
    made.commit("champion", "dvc.lock", "params.yaml")
    made.run("git", "switch", "--quiet", "--create", "candidate")
