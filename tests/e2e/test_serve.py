"""`merit serve` and the Bento: the package of model/ behind POST /predict."""

import json
import re
import subprocess
import sys
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.endpoint import Endpoint, free_port, serving
from tests.support.small_project import ROOT


@pytest.fixture(scope="module")
def start(finished):
    with ExitStack() as running:

        def begin(*command: str, cwd: Path | None = None) -> Endpoint:
            return running.enter_context(serving(finished, *command, cwd=cwd))

        yield begin


@pytest.fixture(scope="module")
def endpoint(start):
    return start("merit", "serve")


def test_one_row_and_many_get_the_same_answers_with_their_origin(endpoint, finished):
    status, one = endpoint.predict(endpoint.example)
    assert status == 200
    assert 0 < one["predictions"][0] < 1
    head = finished.run("git", "rev-parse", "HEAD").stdout.strip()
    assert (one["model"], one["version"][:7], one["commit"]) == ("flights", "sha256:", head)
    status, many = endpoint.predict([endpoint.example] * 3)
    assert status == 200
    assert many["predictions"] == one["predictions"] * 3  # to the last digit


def test_the_endpoint_answers_what_the_evaluation_measured(endpoint, finished):
    import polars as pl

    rows = pl.read_parquet(finished.folder / "data/features/test.parquet").head(500)
    expected = pl.read_parquet(finished.folder / "reports/predictions.parquet").head(500)["prediction"]
    status, answer = endpoint.predict(rows.select(list(endpoint.example)).to_dicts())
    assert status == 200
    assert max(abs(a - b) for a, b in zip(answer["predictions"], expected, strict=True)) < 1e-5


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda row: {**row, "carier": "AA"}, ["unknown column 'carier'", "did you mean 'carrier'?"]),
        (lambda row: {name: value for name, value in row.items() if name != "carrier"}, ["'carrier' is missing"]),
        (lambda row: {**row, "distance": "far"}, ["distance", "float"]),
        (lambda row: {**row, "origin": 3}, ["origin", "str"]),
        (lambda row: [], ["no row"]),
        (lambda row: "text", ["object"]),
        (lambda row: json.dumps({**row, "distance": float("nan")}).encode(), ["not JSON"]),
        (lambda row: b"\xff\xfe\x00" * 333_333, ["not JSON"]),
        (lambda row: b"", ["not JSON"]),
        (lambda row: b"{" * 100_000, ["JSON"]),
    ],
)
def test_a_bad_request_gets_400_and_a_reason(endpoint, spoil, words):
    status, answer = endpoint.predict(spoil(endpoint.example))
    assert status == 400
    assert all(word in answer["error"] for word in words), answer


def test_the_curl_of_the_readme_works_when_pasted(endpoint, finished):
    blocks = re.findall(r"```\n(curl .*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 1
    done = finished.run("bash", "-c", blocks[0].replace(":3000", f":{endpoint.port}"))
    assert 0 < json.loads(done.stdout)["predictions"][0] < 1


def test_health_metrics_and_documentation_are_there(endpoint):
    for path in ("/livez", "/readyz", "/"):
        assert endpoint.call(path)[0] == 200
    endpoint.predict(endpoint.example)
    status, metrics = endpoint.call("/metrics")
    assert status == 200
    assert re.search(rb'merit_requests_total\{[^}]*route="/predict",status="200"\} ', metrics)
    assert b"bentoml_service_request_total" in metrics
    assert endpoint.call("/docs.json") == endpoint.call("/openapi.json")
    described = json.loads(endpoint.call("/docs.json")[1])["paths"]["/predict"]["post"]
    assert "carrier" in json.dumps(described["requestBody"])


def test_the_page_of_documentation_loads_nothing_from_elsewhere(endpoint):
    with urllib.request.urlopen(f"http://127.0.0.1:{endpoint.port}/") as answer:
        policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "http" not in policy


def test_bentomls_own_client_is_answered(endpoint, finished):
    code = (
        "import bentoml, json, sys\n"
        "with bentoml.SyncHTTPClient(sys.argv[1]) as client: print(json.dumps(client.predict(json.loads(sys.argv[2]))))"
    )
    address = f"http://127.0.0.1:{endpoint.port}"
    done = finished.run(sys.executable, "-c", code, address, json.dumps(endpoint.example))
    assert json.loads(done.stdout)["predictions"] == endpoint.predict(endpoint.example)[1]["predictions"], done.stderr


def test_the_serving_process_loads_neither_torch_nor_lightning(endpoint):
    begun = [endpoint.process.pid]
    for pid in begun:
        found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
        begun += map(int, found.stdout.split())
    maps = "".join(Path(f"/proc/{pid}/maps").read_text() for pid in begun)
    assert "onnxruntime" in maps
    assert "libtorch" not in maps


def test_the_service_imports_neither_torch_nor_lightning(finished):
    heavy = "('torch', 'lightning', 'mlflow', 'dvc')"
    code = f"import sys, merit.serving.service; print([m for m in {heavy} if m in sys.modules])"
    done = finished.run(sys.executable, "-c", code)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_taken_port_is_one_line(endpoint, finished):
    done = finished.merit("serve", "--port", str(endpoint.port))
    assert done.returncode == 2
    assert "--port" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("change", ["changed", "missing", "extra"])
def test_a_package_that_is_not_its_manifest_is_not_served(project, change):
    graph = project.folder / "model/model.onnx"
    if change == "changed":
        content = graph.read_bytes()
        graph.unlink()  # it may be a link into DVC's cache
        graph.write_bytes(content[:-1] + b"\0")
    elif change == "missing":
        graph.unlink()
    else:
        (project.folder / "model/extra.txt").write_text("not in the manifest")
    done = project.merit("serve", "--port", str(free_port()))
    assert done.returncode == 2
    assert {"changed": "was changed", "missing": "is missing", "extra": "is not in the manifest"}[change] in done.stderr


def test_a_built_bento_serves(finished, start, endpoint, tmp_path):
    built = finished.run("bentoml", "build")
    assert built.returncode == 0, built.stdout + built.stderr
    bento = start("bentoml", "serve", "flights:latest", "--host", "127.0.0.1", cwd=tmp_path)
    status, answer = bento.predict(bento.example)
    assert status == 200
    assert answer["predictions"] == endpoint.predict(endpoint.example)[1]["predictions"]
