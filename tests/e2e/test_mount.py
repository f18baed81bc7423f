import asyncio
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import fastapi
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from starlette.applications import Starlette
from starlette.routing import Mount

from merit.errors import MeritError
from merit.serving import mount

with warnings.catch_warnings(action="ignore"):  # it wants a successor of httpx
    from starlette.testclient import TestClient

GOOD = {"shop": "north", "kind": 2, "size": 50.0, "weight": 0.5}
OPEN = {"method": "proxy"}


@pytest.fixture(scope="session")
def package(make_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_package(tmp_path_factory.mktemp("mounted") / "model")


@pytest.fixture(scope="session")
def model(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[mount.MountedApp]:
    log = {"folder": str(tmp_path_factory.mktemp("kept"))}
    made = mount.app(package, version="tiny@v1", max_rows=5, max_bytes=20_000, auth=OPEN, log=log)
    yield made
    asyncio.run(made.close())


def _in_fastapi(model: mount.MountedApp) -> Any:
    @asynccontextmanager
    async def lifespan(_: fastapi.FastAPI) -> Any:
        yield
        await model.close()

    api = fastapi.FastAPI(lifespan=lifespan)
    api.mount("/models/tiny", model)
    return api


def _in_starlette(model: mount.MountedApp) -> Any:
    return Starlette(routes=[Mount("/models/tiny", app=model)])


@pytest.mark.parametrize("around", [_in_fastapi, _in_starlette])
def test_it_answers_inside_another_app(package: Path, around: Callable[[mount.MountedApp], Any]) -> None:
    model = mount.app(package, version="tiny@v1", auth=OPEN)
    with TestClient(around(model)) as client:
        answer = client.post("/models/tiny/predict", json=[GOOD, GOOD])
        assert answer.status_code == 200
        assert len(answer.json()["predictions"]) == 2
        assert answer.json()["version"] == "tiny@v1"
        assert answer.headers["x-request-id"]
        assert client.post("/models/tiny/predict", json={"shop": 3}).status_code == 400
        assert client.get("/models/tiny/predict").headers["allow"] == "POST"
        assert client.get("/models/tiny/livez").status_code == 200
        assert "merit_requests_total" in client.get("/models/tiny/metrics").text
        assert client.get("/models/tiny/elsewhere").status_code == 404
        document = client.get("/models/tiny/openapi.json").json()
        assert document["servers"] == [{"url": "/models/tiny"}]
        assert list(document["paths"]) == ["/predict"]  # no truth is kept here


def test_what_goes_on_by_itself_ends_with_the_app(package: Path, tmp_path: Path) -> None:
    from merit import prediction_log

    folder = tmp_path / "kept"
    model = mount.app(package, auth=OPEN, log={"folder": str(folder), "seconds": 100})
    with TestClient(_in_fastapi(model)) as client:
        assert client.post("/models/tiny/predict", json=GOOD).status_code == 200
    assert prediction_log.read(folder).collect().height == 1


def test_it_asks_for_keys_where_it_is_told_to(package: Path) -> None:
    """Where nobody says who asks, only this machine's own address is answered."""
    with TestClient(mount.app(package)) as client:
        assert client.post("/predict", json=GOOD).status_code == 403
    with TestClient(mount.app(package), base_url="http://127.0.0.1") as client:
        assert client.post("/predict", json=GOOD).status_code == 200


@pytest.mark.parametrize("told", [{"max_row": 3}, {"max_rows": "three"}, {"auth": {"method": "password"}}])
def test_a_setting_that_is_none_is_refused_in_one_line(package: Path, told: dict[str, Any]) -> None:
    with pytest.raises(MeritError) as caught:
        mount.app(package, **told)
    assert "\n" not in str(caught.value)


def test_tables_are_read_and_answered(package: Path) -> None:
    import io

    import polars as pl

    rows = pl.DataFrame([GOOD, {**GOOD, "size": None}])
    model = mount.app(package, version="v1", max_rows=5, auth=OPEN)
    with TestClient(_in_fastapi(model)) as client:
        url = "/models/tiny/predict"
        expected = client.post(url, json=rows.to_dicts()).json()["predictions"]
        arrow = "application/vnd.apache.arrow"
        bodies = {f"{arrow}.stream": "write_ipc_stream", f"{arrow}.file": "write_ipc"}
        for kind, write in {**bodies, "application/vnd.apache.parquet": "write_parquet"}.items():
            file = io.BytesIO()
            getattr(rows, write)(file)
            answer = client.post(url, content=file.getvalue(), headers={"content-type": kind})
            assert answer.json()["predictions"] == expected, kind
            answer = client.post(
                url, content=file.getvalue(), headers={"content-type": kind, "accept": f"{arrow}.stream"}
            )
            found = pl.read_ipc_stream(answer.content)
            assert found["prediction"].to_list() == expected
            assert found.row(0)[1:] == ("tiny", "v1", "c" * 40)
            broken = client.post(url, content=file.getvalue()[:-40], headers={"content-type": kind})
            assert broken.status_code in (200, 400)
        spoiled = rows.with_columns(more=1, weight=pl.Series([1.0, None]), kind=pl.lit("x")).drop("shop")
        file = io.BytesIO()
        spoiled.write_parquet(file)
        answer = client.post(url, content=file.getvalue(), headers={"content-type": "application/vnd.apache.parquet"})
        assert answer.status_code == 400
        told = json.dumps(answer.json()["problems"])
        for words in (
            "unknown column 'more'",
            "'shop' is missing",
            "'kind': is not an integer in row 0, 1",
            "'weight': is missing in row 1",
        ):
            assert words in told
        file = io.BytesIO()
        pl.concat([rows] * 3).write_parquet(file)
        answer = client.post(url, content=file.getvalue(), headers={"content-type": "application/vnd.apache.parquet"})
        assert "found 6 rows; at most 5" in answer.json()["error"]


def test_a_table_that_would_fill_the_memory_costs_a_helper_and_not_the_worker(package: Path) -> None:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = 5000
    large = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * 3_000_000]))
    others = {name: pa.array([GOOD[name]] * rows) for name in ("kind", "size", "weight")}
    file = io.BytesIO()
    pq.write_table(pa.table({"shop": large, **others}), file, compression="zstd")
    assert len(file.getvalue()) < 50_000
    model = mount.app(package, auth=OPEN, timeout_seconds=2)
    kind = {"content-type": "application/vnd.apache.parquet"}
    with TestClient(_in_fastapi(model)) as client:
        answer = client.post("/models/tiny/predict", content=file.getvalue(), headers=kind)
        assert answer.status_code == 400
        junk = client.post("/models/tiny/predict", content=b"junk" * 99, headers=kind)
        assert junk.status_code == 400
        assert client.post("/models/tiny/predict", json=GOOD).status_code == 200


@pytest.mark.parametrize(("path", "good"), [("/predict", 200), ("/feedback", 202)])
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_the_openapi_document_is_what_it_does(
    model: mount.MountedApp, mode: GenerationMode, path: str, good: int
) -> None:
    # Mounted, for each case begins and ends the app that it asks.
    document = schemathesis.openapi.from_asgi("/models/tiny/openapi.json", _in_starlette(model))
    cases = document[path]["POST"].as_strategy(generation_mode=mode)
    asked = []

    @given(case=cases)
    @settings(max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    def check(case: Any) -> None:
        asked.append(case.call_and_validate().status_code)

    check()
    assert set(asked) >= ({good} if mode is GenerationMode.POSITIVE else {400})
    assert max(asked) < 500
