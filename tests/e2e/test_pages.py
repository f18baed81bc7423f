"""Pages as a newcomer follows them: their blocks of commands in order, each as it is printed, in a small project.

A block that is not run is listed with the reason, and so is what is printed otherwise than it is run.
"""

import csv
import math
import random
import re
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.support.endpoint import free_port
from tests.support.small_project import ROOT, Project

NOT_RUN = {
    "make demo": "it makes an environment, and the tests of tests/; 'merit run' stands for it",
    "merit serve": "it serves until it is stopped: tests/e2e/test_serve.py calls it",
    "curl -s http://127.0.0.1:3000/predict -d '{": "it is asked of 'merit serve'",
    "git push --set-upstream origin less-dropout": "there is no forge: tests/e2e/test_rehearsal.py has one",
}
"""How a block begins that is not run here, and why."""
OTHERWISE = {
    "sweep.trials=20": "sweep.trials=2",  # two trials are a sweep as well
    "model=linear,mlp optimizer.lr=1e-3,3e-3": "model=linear,mlp",
}
"""What is printed, and what of it is run."""
REFUSES = ("merit run", "merit plan", "merit diff")
"""Commands that may exit with 1 and say no: a small model may be refused, a plan shows a difference."""
WALK = ("README.md", "docs/index.md", "docs/tutorials/first-pull-request.md", "docs/tutorials/first-promotion.md")
"""What a newcomer reads, in this order, in one clone."""
PAGES = (*WALK, "docs/how-to/versions.md", "docs/tutorials/own-table.md", "docs/how-to/own-python.md")
STOP = """
git switch --quiet --force main
sed -i 's/^version: v1/version: null/' conf/environment/staging.yaml
git commit --quiet --all --message 'The end'
merit apply staging
"""
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"(merit|git|make|curl|sed|python|openssl|export|dvc|cp|cd) ")


def _blocks(page: str) -> list[str]:
    """Return the blocks of commands of a page; answers, trees and YAML are none."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [body for language, body in FENCE.findall(text) if not language and COMMAND.match(body)]


def _reason(block: str) -> str | None:
    return next((why for begin, why in NOT_RUN.items() if block.startswith(begin)), None)


def _script(block: str, here: dict[str, str]) -> str:
    """Return a block as Bash runs it: it ends with the first command that fails."""
    for printed, run in (OTHERWISE | here).items():
        block = block.replace(printed, run)
    lines = (line.partition("  #")[0].rstrip() for line in block.splitlines())
    return "\n".join(["set -e", *(f"{line} || test $? = 1" if line.startswith(REFUSES) else line for line in lines)])


def _follow(project: Project, page: str, here: dict[str, str]) -> None:
    """Run the blocks of a page; `here` says what is otherwise in this project."""
    for block in _blocks(page):
        if _reason(block) is None:
            done = project.run("bash", "-c", _script(block, here), is_itself="apply" in block)
            assert done.returncode == 0, f"{page}:\n{block}\n{done.stdout}\n{done.stderr}"
            assert "Traceback" not in done.stderr, block


def test_each_block_that_is_not_run_is_still_there() -> None:
    blocks = [block for page in PAGES for block in _blocks(page)]
    assert [begin for begin in NOT_RUN if not any(block.startswith(begin) for block in blocks)] == []
    assert [printed for printed in OTHERWISE if not any(printed in block for block in blocks)] == []


@pytest.fixture
def reader(project: Project) -> Iterator[Project]:
    """A project after its first run, whose staging has a port of its own; what it serves ends with the test."""
    for key, value in {"user.name": "test", "user.email": "test@example.org"}.items():
        project.run("git", "config", key, value)
    staging = project.folder / "conf/environment/staging.yaml"
    staging.write_text(staging.read_text(encoding="utf-8").replace("3100", str(free_port())), encoding="utf-8")
    project.commit("A port of its own", "conf")
    yield project
    if (project.folder / ".merit/environments/staging").exists():
        project.run("bash", "-c", STOP, is_itself=True)


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
def test_the_readme_and_tutorials_are_followed_from_top_to_bottom_and_then_the_version_is_signed(
    reader: Project,
) -> None:
    staging = reader.read("conf/environment/staging.yaml")
    port = re.search(r"local: \{port: (\d+)\}", staging)
    assert port is not None
    for page in WALK:
        _follow(reader, page, {"127.0.0.1:3100": f"127.0.0.1:{port[1]}"})
    assert reader.read("conf/environment/staging.yaml") == staging
    assert reader.run("git", "status", "--porcelain").stdout == ""
    _follow(reader, "docs/how-to/versions.md", {})
    assert "verified by conf/release/merit.pub" in reader.merit("registry", "show", "v1").stdout


@pytest.fixture
def plain(fresh: Project) -> Project:
    """A project without the group by which the small project overrides its data."""
    config = fresh.folder / "conf/config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("  - size: small\n", ""), encoding="utf-8")
    fresh.commit("No group of size", "conf")
    return fresh


def _orders(start: datetime, rows: int) -> Iterator[list[str]]:
    draw = random.Random(0)
    for row in range(rows):
        channel, amount = draw.choice(["web", "shop", "phone"]), draw.uniform(5, 100)
        chance = 1 / (1 + math.exp(2.5 - 1.5 * (channel == "web") - amount / 30))
        ordered = (start + timedelta(hours=2 * row)).isoformat()
        yield [ordered, channel, f"{amount:.4f}", "returned" if draw.random() < chance else "kept"]


def _write(path: Path, columns: list[str], start: datetime, rows: int) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([columns, *_orders(start, rows)])


def test_a_table_of_ones_own_becomes_a_version_that_another_clone_can_compute(plain: Project, tmp_path: Path) -> None:
    _write(plain.folder / "orders.csv", ["ordered", "channel", "amount", "returned"], datetime(2024, 1, 1), 6000)
    _follow(plain, "docs/tutorials/own-table.md", {})
    assert "orders@v1" in plain.merit("registry", "list").stdout
    assert plain.run("git", "ls-files", "orders.csv").stdout == "orders.csv\n"
    assert plain.run("git", "status", "--porcelain").stdout == " M conf/environment/staging.yaml\n"


def test_python_of_ones_own_runs_as_its_page_says(plain: Project) -> None:
    text = (ROOT / "docs/how-to/own-python.md").read_text(encoding="utf-8")
    for name, body in re.findall(
        r"^[^\n]*`((?:mymodels|conf)/[a-z/]+\.\w+)`[^\n]*:\n\n```\w+\n(.*?)```", text, re.M | re.S
    ):
        (plain.folder / name).parent.mkdir(exist_ok=True)
        (plain.folder / name).write_text(body, encoding="utf-8")
    (plain.folder / "mymodels/__init__.py").touch()
    (plain.folder / "pyproject.toml").write_text(
        '[tool.merit]\ntrusted = ["mymodels", "reference"]\n', encoding="utf-8"
    )
    for year in (2023, 2024):
        path = plain.folder / f"orders/{year}.csv"
        _write(path, ["ordered", "channel", "amount", "status"], datetime(year, 1, 1), 4000)
    _follow(plain, "docs/how-to/own-python.md", {})
    assert "name: orders\n" in plain.read("params.yaml")
