import pytest

from merit.serving.codec.bounds.budget import ByteBudget


def test_a_budget_is_spent_to_its_last_byte_and_no_further() -> None:
    budget = ByteBudget(100)
    budget.spend(40)
    budget.spend(1, 60)  # counts as 60
    budget.spend(0)
    with pytest.raises(ValueError, match=r"^it expands to more than 100 bytes; send fewer rows$"):
        budget.spend(1)


def test_a_size_below_nothing_is_broken_metadata_and_gives_nothing_back() -> None:
    budget = ByteBudget(100, "write less")
    budget.spend(100)
    with pytest.raises(ValueError, match=r"^its metadata is broken$"):
        budget.spend(-1, 50)
    with pytest.raises(ValueError, match=r"; write less$"):
        budget.spend(0, 1)
