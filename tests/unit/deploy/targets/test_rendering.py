import pytest

from merit.deploy.targets.rendering import parse_mebibytes, parse_processors
from merit.errors import MeritError


@pytest.mark.parametrize(
    ("quantity", "mebibytes"),
    [
        ("512Mi", 512),
        ("1Gi", 1024),
        ("1.5Gi", 1536),
        ("1.2Mi", 2),
        ("1025Ki", 2),
        ("1024Ki", 1),
        ("1048577", 2),
        ("1000000000", 954),
    ],
)
def test_memory_is_rounded_up_so_that_a_target_never_gets_less_than_was_asked_for(
    quantity: str, mebibytes: int
) -> None:
    assert parse_mebibytes(quantity) == mebibytes


@pytest.mark.parametrize("quantity", ["1GB", "500m"])
def test_what_is_no_amount_of_memory_is_refused(quantity: str) -> None:
    text = rf"^resources\.memory is {quantity}, which is no amount of memory; such as 512Mi or"
    with pytest.raises(MeritError, match=text):
        parse_mebibytes(quantity)


def test_processors_are_whole_or_thousandths() -> None:
    assert [parse_processors(quantity) for quantity in ("2", "0.5", "500m", "1500m")] == [2.0, 0.5, 0.5, 1.5]
