"""Judging a day: what is missing, stale and extra, whether counts agree, whether a day is too quiet."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_pipeline.insights.reconciliation import (
    TOTAL,
    Difference,
    Held,
    Listed,
    compare,
    disagreeing,
    is_unusually_quiet,
    quiet_second,
    statuses_to_count,
)

START = datetime(2026, 3, 1, tzinfo=UTC)
END = START + timedelta(days=1)
LISTED_AT = START + timedelta(days=2)

moments = st.integers(0, 5).map(lambda seconds: START + timedelta(hours=30, seconds=seconds))
statuses = st.sampled_from(["WAIT_BUYER_PAY", "TRADE_FINISHED", "TRADE_CLOSED"])
listings = st.dictionaries(
    st.integers(1, 60).map(str),
    st.builds(
        Listed,
        moments,
        statuses,
        st.integers(0, 3).map(Decimal),
        st.integers(1, 2),
        st.integers(1, 3),
        st.sampled_from([None, "FRONT_NOPAID_FINAL_NOPAID", "FRONT_PAID_FINAL_NOPAID"]),
    ),
    max_size=40,
)


def held_as(listed: Listed, **changes: object) -> Held:
    """The row that a day's order should have, loaded before the day was listed."""
    right = Held(
        moment=START,
        modified_at=listed.modified_at or START,
        status=listed.status or "",
        payment=listed.payment,
        lines=listed.lines or 1,
        quantity=listed.quantity or 1,
        asked_at=LISTED_AT - timedelta(hours=1),
        step_status=listed.step_status,
    )
    return right._replace(**changes)  # type: ignore[arg-type]


@given(listings, st.data())
def test_what_was_spoilt_is_found_exactly(listed: dict[str, Listed], data: st.DataObject) -> None:
    held = {order_id: held_as(order) for order_id, order in listed.items()}
    assert compare(listed, held, listed_at=LISTED_AT) == Difference()
    missing, stale, quarantined = set(), set(), set()
    for order_id, order in listed.items():
        right = held[order_id]
        ways = {
            "leave": right,
            "delete": None,
            "age": right._replace(modified_at=right.modified_at - timedelta(seconds=1)),
            "status": right._replace(status="SOMETHING_ELSE"),
            "payment": right._replace(payment=(order.payment or 0) + Decimal("0.01")),
            "quantity": right._replace(quantity=right.quantity + 1),
            "step": right._replace(step_status="SOMETHING_ELSE") if order.step_status else None,
            "a line": right._replace(lines=right.lines + 1),
            "no details": right._replace(is_whole=False),
            "not as answered": right._replace(is_altered=True),
            "quarantine": right,
        }
        way = data.draw(st.sampled_from(sorted(ways)))
        spoilt = ways[way]
        if spoilt is None:
            del held[order_id]
        else:
            held[order_id] = spoilt
        if spoilt is None or way == "quarantine":
            missing.add(order_id)
        elif way != "leave":
            stale.add(order_id)
        if way == "quarantine":
            quarantined.add(order_id)
    held["999"] = held_as(Listed())
    found = compare(listed, held, listed_at=LISTED_AT, quarantined=frozenset(quarantined | {"of another day"}))
    assert set(found.missing) == missing
    assert set(found.stale) == stale
    assert set(found.quarantined) == quarantined
    assert found.extra == ("999",)
    assert list(found.missing) == sorted(found.missing)


@given(listings)
def test_what_was_fetched_whole_after_the_list_is_right_whatever_the_list_said(listed: dict[str, Listed]) -> None:
    held = {
        order_id: held_as(order, status="CHANGED_SINCE", asked_at=LISTED_AT, modified_at=LISTED_AT)
        for order_id, order in listed.items()
    }
    assert compare(listed, held, listed_at=LISTED_AT) == Difference()
    # Served whole by the platform just now, so it is the list that lacks them.
    assert compare({}, held, listed_at=LISTED_AT) == Difference()


def test_a_detail_older_than_the_list_is_stale_however_late_it_was_fetched() -> None:
    listed = Listed(START + timedelta(seconds=5), "TRADE_FINISHED")
    held = held_as(listed, modified_at=START, asked_at=LISTED_AT)
    assert compare({"1": listed}, {"1": held}, listed_at=LISTED_AT).stale == ("1",)


def test_a_newer_version_with_its_details_is_ahead_of_the_list_not_wrong() -> None:
    listed = Listed(START, "WAIT_BUYER_PAY")
    held = held_as(listed, modified_at=START + timedelta(seconds=9), status="TRADE_FINISHED")
    assert compare({"1": listed}, {"1": held}, listed_at=LISTED_AT) == Difference()
    assert compare({"1": listed}, {"1": held._replace(is_whole=False)}, listed_at=LISTED_AT).stale == ("1",)


def test_an_unreadable_list_record_is_right_only_once_its_details_were_fetched() -> None:
    held = held_as(Listed(START, "TRADE_FINISHED"))
    assert compare({"1": Listed()}, {"1": held}, listed_at=LISTED_AT).stale == ("1",)
    assert compare({"1": Listed()}, {"1": held._replace(asked_at=LISTED_AT)}, listed_at=LISTED_AT) == Difference()


def placed(*at: tuple[datetime, str]) -> list[Held]:
    return [held_as(Listed(), moment=moment, status=status) for moment, status in at]


@given(st.lists(st.tuples(st.integers(0, 86_400), statuses), max_size=50), st.booleans(), st.booleans())
def test_counts_agree_whichever_end_of_the_window_the_platform_takes_in(
    at: list[tuple[int, str]], with_start: bool, with_end: bool
) -> None:
    held = placed(*((START + timedelta(seconds=second), status) for second, status in at))
    inside = [order for order in held if (with_start or order.moment > START) and (with_end or order.moment < END)]
    counts = Counter(order.status for order in inside)
    counted: dict[str | None, int] = {TOTAL: len(inside), "TRADE_FINISHED": counts["TRADE_FINISHED"]}
    assert disagreeing(counted, held, START, END) == frozenset()
    # Orders in the seconds at the ends may hide one; away from them nothing does.
    if not any(order.moment in (START, END) for order in held):
        assert disagreeing(counted | {TOTAL: len(inside) + 1}, held, START, END) == {TOTAL}


def test_the_ends_count_for_all_totals_alike() -> None:
    held = placed((START, "TRADE_FINISHED"), (START + timedelta(hours=1), "WAIT_BUYER_PAY"))
    assert disagreeing({TOTAL: 2, "TRADE_FINISHED": 1}, held, START, END) == frozenset()
    assert disagreeing({TOTAL: 1, "TRADE_FINISHED": 0}, held, START, END) == frozenset()
    assert disagreeing({TOTAL: 2, "TRADE_FINISHED": 0}, held, START, END) != frozenset()


def test_the_statuses_with_most_orders_are_counted_if_the_platform_can_count_them() -> None:
    held = placed(*[(START, "A")] * 3, *[(START, "NEW_TO_US")] * 9, *[(START, "B")] * 5, (START, "C"))
    assert statuses_to_count(held, {"A", "B", "C"}, 2) == ("B", "A")


@pytest.mark.parametrize(
    ("expected", "before", "quiet"),
    [
        (0, [200, 180, 220, 190, 210, 205, 195], True),
        (0, [7, 9, 8], True),
        (19, [200] * 7, True),
        (20, [200] * 7, False),
        (0, [2, 1, 0, 3, 2, 1, 2], False),
        (0, [200, 200], False),
        (0, [], False),
        # One sale does not make the day after it quiet.
        (150, [20_000, 160, 150, 140, 150, 155, 160], False),
    ],
)
def test_a_day_is_quiet_only_beside_busy_ones(expected: int, before: list[int], quiet: bool) -> None:
    assert is_unusually_quiet(expected, before) is quiet


def test_a_quiet_second_is_the_nearest_one_without_orders() -> None:
    second = timedelta(seconds=1)
    placed = {START, START + second, START + 3 * second}
    assert quiet_second(placed, START, second, 60) == START + 2 * second
    assert quiet_second(placed, START, -second, 60) == START - second
    assert quiet_second(placed, START - second, second, 60) == START - second
    assert quiet_second(placed, START, second, 2) is None
