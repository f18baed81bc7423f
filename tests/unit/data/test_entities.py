import polars as pl
import pytest

from merit.data.entities import detect_entity, is_recurring_id

ROWS = 400


@pytest.mark.parametrize(
    "name",
    ["patient_id", "PatientID", "patientid", "Patient", "customer No.", "KundenNr", "id_cliente", "user.id", "case_id",
     "ID", "MRN", "pid"],
)  # fmt: skip
def test_an_id_that_repeats_is_an_entity(name: str) -> None:
    found = detect_entity(pl.Series(name, [1000 + i // 5 for i in range(ROWS)]))
    assert found is not None
    assert (found.name, found.values, found.rows) == (name, 80, ROWS)


@pytest.mark.parametrize(
    "name", ["patient_age", "user_agent", "patients", "product_id", "device", "zip", "store_nr", "age", "x"]
)
def test_what_is_called_otherwise_is_none(name: str) -> None:
    assert detect_entity(pl.Series(name, [1000 + i // 5 for i in range(ROWS)])) is None


@pytest.mark.parametrize("form", ["{:032x}", "{:08x}-0000-0000-0000-000000000000", "someone{}@example.org"])
def test_hashes_and_addresses_that_repeat_are_an_entity_whatever_their_name(form: str) -> None:
    assert detect_entity(pl.Series("x", [form.format(i // 5) for i in range(ROWS)])) is not None
    assert detect_entity(pl.Series("x", [form.format(i) for i in range(ROWS)])) is None


@pytest.mark.parametrize(
    "values",
    [
        [float(i // 5) if i else None for i in range(ROWS)],
        [f"p{i // 5}" for i in range(ROWS)],
        [i % 3 for i in range(ROWS)],
    ],
    ids=["numbers with one missing", "text", "three"],
)
def test_an_entitys_values_may_be_of_any_type_and_few(values: list[object]) -> None:
    assert detect_entity(pl.Series("patient_id", values)) is not None


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("patient_id", list(range(ROWS))),
        ("patient_id", [i % 2 for i in range(ROWS)]),
        ("record_id", [i % 10 for i in range(ROWS)]),
        ("device", [["mobile", "desktop"][i % 2] for i in range(ROWS)]),
        ("patient_id", [i // 5 + 0.5 for i in range(ROWS)]),
        ("patient_id", [None] * ROWS),
        ("patient_id", [*range(ROWS - 10), *range(10)]),
    ],
    ids=["each once", "two values", "few of an id", "kinds of a thing", "fractions", "missing", "a few twice"],
)
def test_values_that_do_not_repeat_or_are_few_name_no_entity(name: str, values: list[object]) -> None:
    assert detect_entity(pl.Series(name, values, strict=False)) is None


def test_ids_of_what_recurs_are_known_by_their_name() -> None:
    names = ["product_id", "store_nr", "zip_code", "PULocationID", "patient_id", "id", "product"]
    assert [is_recurring_id(name) for name in names] == [True] * 4 + [False] * 3
