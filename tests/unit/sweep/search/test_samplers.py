from pathlib import Path

import optuna
import pytest

from merit.config.schema.sweep import EXHAUSTIVE_SAMPLERS, SAMPLER_NAMES
from merit.sweep.search import samplers
from merit.sweep.search.samplers.registry import create_sampler


def test_the_files_of_the_folder_are_the_samplers_that_a_sweep_may_name() -> None:
    files = {path.stem for path in Path(samplers.__file__).parent.glob("*.py")}
    assert files - {"__init__", "registry"} == set(SAMPLER_NAMES)
    assert EXHAUSTIVE_SAMPLERS == ("grid",)


@pytest.mark.parametrize("name", SAMPLER_NAMES)
def test_a_sampler_is_made_by_its_name(name: str) -> None:
    sampler = create_sampler(name, 7)
    assert isinstance(sampler, optuna.samplers.BaseSampler)
    assert name in {"grid", type(sampler).__name__.removesuffix("Sampler").replace("-", "").lower()}
