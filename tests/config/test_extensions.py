"""A file that sets NAME is an extension of its package: found by that name, and not imported before it is used."""

import subprocess
import sys

import pytest

from merit.config import extensions


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "merit" / "stream" / "brokers"
    (folder / "parts").mkdir(parents=True)
    (folder / "pulsar.py").write_text('import nowhere\n\nNAME = "pulsar"\nURL_SCHEMES = ("pulsar", "pulsars")\n')
    (folder / "parts" / "zebra.py").write_text('NAME = "zebra"\n')
    (folder / "helper.py").write_text('QUEUE_NAME = "none"\n')
    monkeypatch.setattr(extensions, "LIBRARY", tmp_path / "merit")
    extensions.read_constants.cache_clear()
    yield "merit.stream.brokers"
    extensions.read_constants.cache_clear()


def test_a_file_that_sets_name_is_found_and_not_imported(package):
    assert extensions.list_names(package) == ("pulsar", "zebra")
    assert extensions.find_modules(package)["zebra"] == "merit.stream.brokers.parts.zebra"
    assert extensions.read_constants(package, "URL_SCHEMES") == {"merit.stream.brokers.pulsar": ("pulsar", "pulsars")}


def test_names_that_come_first_keep_their_order_and_a_missing_file_has_no_name(package):
    assert extensions.list_names(package, first=("zebra", "nats")) == ("zebra", "pulsar")


def test_the_schema_takes_a_new_broker_target_and_tracker_of_one_file_each(tmp_path):
    code = (
        "from pathlib import Path\n"
        "from merit.config import extensions\n"
        "find = extensions.find_modules\n"
        "extensions.find_modules = lambda package: {**find(package), 'mine': next(iter(find(package).values()))}\n"
        "from merit.config.schema import Tracking\n"
        "from merit.config.schema.environment import Environment\n"
        "from merit.config.schema.stream import Stream\n"
        "Tracking(to='mine', experiment='x'), Environment(version=None, target='mine')\n"
        "Stream(broker='mine', url='kafka://host')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=tmp_path)
