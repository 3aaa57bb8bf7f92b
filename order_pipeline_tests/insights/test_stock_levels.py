"""The arithmetic of stock: what may be sold, what is written, and bundles taken apart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from order_pipeline.insights.stock_levels import (
    Claim,
    Claims,
    Component,
    expand,
    plan,
    sellable,
    was_carried_out,
)

SET, CUP, LID = ("1", "1"), ("2", "2"), ("3", "3")


def test_what_nobody_knows_is_not_none_left() -> None:
    assert sellable(None, 0, 3) is None
    assert plan(None, 0, 3) is None
    assert sellable(0, 0, 0) == 0


def test_a_hold_is_taken_off_once_however_often_it_is_written() -> None:
    first = plan(100, 0, 10)
    assert first == (100, 90, 10)
    assert plan(90, 10, 10) is None


def test_what_is_held_no_more_is_given_back() -> None:
    assert plan(90, 10, 4) == (90, 96, 4)
    # The final payment: the platform takes one off by itself, the hold shrinks by one.
    assert plan(89, 10, 9) == (89, 90, 9)


def test_no_more_is_held_back_than_there_is() -> None:
    short = plan(4, 0, 10)
    assert short == (4, 0, 4)
    # Six came: they are held back, too.
    assert plan(6, 4, 10) == (6, 0, 10)


@given(st.integers(0, 500), st.integers(0, 500), st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20))))
def test_however_holds_and_sales_go_the_sum_stays(stock: int, first: int, steps: list[tuple[int, int]]) -> None:
    shown, withheld = stock, 0
    for claimed, sold in [(first, 0), *steps]:
        planned = plan(shown, withheld, claimed)
        if planned:
            shown, withheld = planned.target, planned.withheld
        assert shown + withheld == stock
        assert shown == sellable(stock, 0, claimed)
        assert plan(shown, withheld, claimed) is None
        taken = min(sold, shown)
        shown, stock = shown - taken, stock - taken


def test_a_lost_answer_is_judged_by_what_is_shown() -> None:
    assert was_carried_out(100, 90, 90)
    assert was_carried_out(100, 90, 89)
    assert not was_carried_out(100, 90, 100)
    assert not was_carried_out(100, 90, 99)
    # As near to either: as if it had not been, so that it is written once more.
    assert not was_carried_out(100, 90, 95)


def test_bundles_reserve_and_hold_their_parts() -> None:
    parts = [Component(SET, CUP, 2, platform_knows=False), Component(SET, LID, 1, platform_knows=True)]
    found = expand([Claim(SET, 3, 1), Claim(CUP, 5, 0)], parts)
    assert found[SET] == Claims(3, 1, 0, 0, 0)
    assert found[CUP] == Claims(11, 2, 6, 2, 6)
    assert found[LID] == Claims(3, 1, 3, 1, 0)
    # A hold is never known to the platform; a sale inside its own bundles is.
    assert (found[CUP].claimed, found[LID].claimed) == (8, 1)
