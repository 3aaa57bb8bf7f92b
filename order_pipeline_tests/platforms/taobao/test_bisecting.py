"""The walk over a list whose order nobody documents, against lists in every order that change meanwhile."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from order_pipeline.platforms.protocol import Window
from order_pipeline.platforms.taobao.bisecting import walk_unordered
from order_pipeline.platforms.taobao.paging import ListAnswer, Row, WalkedPage
from order_pipeline.traffic.errors import MalformedAnswerError
from order_pipeline_tests.platforms.taobao.test_paging import DAY, MIDNIGHT, Hostile, MovingList, at, delivered


class UnsortedList(MovingList):
    """A moving list in an order of its own: what it is sorted by is drawn for each row, once."""

    def __init__(self, *args: object, order: Callable[[int, datetime], object], **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        self.order = order

    def rows(self, window: Window) -> list[tuple[int, datetime]]:
        return sorted(super().rows(window), key=lambda row: self.order(*row))  # type: ignore[arg-type,return-value]


ORDERS: dict[str, Callable[[int, datetime], object]] = {
    "oldest first": lambda _row, moment: moment,
    "newest first": lambda _row, moment: -moment.timestamp(),
    "by id": lambda row, _moment: row,
    "no order at all": lambda row, _moment: random.Random(row).random(),
    "by status": lambda row, _moment: (row % 3, -row),
}


@settings(max_examples=400)
@given(
    seconds=st.lists(st.integers(-3, 25), max_size=40),
    page_size=st.integers(1, 5),
    start_inclusive=st.booleans(),
    end_inclusive=st.booleans(),
    moves=st.lists(st.lists(st.integers(0, 40), max_size=3), max_size=60),
    end=st.integers(1, 22),
    order=st.sampled_from(sorted(ORDERS)),
)
def test_every_row_that_stays_is_delivered_once_whatever_the_order(
    seconds: list[int],
    page_size: int,
    start_inclusive: bool,
    end_inclusive: bool,
    moves: list[list[int]],
    end: int,
    order: str,
) -> None:
    before = dict(enumerate(seconds))
    market = UnsortedList(
        before,
        page_size=page_size,
        start_inclusive=start_inclusive,
        end_inclusive=end_inclusive,
        moves=iter(moves),
        order=ORDERS[order],
    )
    rows = delivered(walk_unordered(Window(at(0), at(end)), market.fetch, attempted="test"))
    assert len(rows) == len(set(rows))
    wanted = {
        Row(f"order {row}", at(second))
        for row, second in before.items()
        if 0 <= second < end + end_inclusive and market.seconds[row] == second
    }
    assert wanted <= set(rows)


@pytest.mark.parametrize("order", sorted(ORDERS))
def test_a_thousand_rows_of_a_day_cost_a_few_times_their_pages(order: str) -> None:
    chance = random.Random(5)
    market = UnsortedList(
        {row: chance.randrange(86_400) for row in range(1_000)}, page_size=100, order=ORDERS[order], now=10**6
    )
    rows = delivered(walk_unordered(Window(at(0), at(86_400)), market.fetch, attempted="test"))
    assert len(rows) == 1_000
    assert len(market.calls) <= 35


def test_a_window_that_fits_into_a_page_costs_one_call() -> None:
    market = UnsortedList(dict(enumerate(range(100))), page_size=100, order=ORDERS["no order at all"])
    pages = list(walk_unordered(Window(at(0), at(86_400)), market.fetch, attempted="test"))
    assert len(delivered(iter(pages))) == 100
    assert len(market.calls) == 1
    assert not pages[-1].has_more


def test_a_thousand_rows_in_one_second_cost_a_few_times_their_pages() -> None:
    market = UnsortedList(
        dict.fromkeys(range(1_000), 50_000), page_size=100, order=ORDERS["no order at all"], now=10**6
    )
    rows = delivered(walk_unordered(Window(at(0), at(86_400)), market.fetch, attempted="test"))
    assert len(rows) == 1_000
    # Twice for certainty, and once more for each neighbour, as ends that are included show it there too.
    assert len(market.calls) <= 3 * 2 * (10 + 2) + 40


@pytest.mark.parametrize("wrong_by", [-150, -1, 1, 150])
def test_a_wrong_count_loses_no_row_of_a_tie(wrong_by: int) -> None:
    market = UnsortedList(dict.fromkeys(range(60), 5), page_size=7, order=ORDERS["by id"])

    def fetch(window: Window, page_no: int, use_has_next: bool) -> ListAnswer:
        page = market.fetch(window, page_no, use_has_next)
        if page.total_results is None:
            return page
        return ListAnswer(page.rows, page.has_next, max(0, page.total_results + wrong_by))

    rows = delivered(walk_unordered(Window(at(0), at(20)), fetch, attempted="test"))
    assert len(rows) == 60


@pytest.mark.parametrize(
    "habit", ["same_page_for_ever", "has_next_for_ever", "next_page_for_ever", "rows_of_another_day"]
)
def test_a_list_without_end_ends_in_an_error(habit: str) -> None:
    window = Window(MIDNIGHT, MIDNIGHT + DAY)

    def walk_it() -> list[WalkedPage]:
        return list(walk_unordered(window, getattr(Hostile(), habit), attempted="test"))

    with pytest.raises((MalformedAnswerError, AssertionError)) as caught:
        walk_it()
    assert isinstance(caught.value, MalformedAnswerError)


@pytest.mark.parametrize("end", [MIDNIGHT, MIDNIGHT - DAY, MIDNIGHT + timedelta(microseconds=1)])
def test_an_impossible_window_is_refused(end: datetime) -> None:
    with pytest.raises(ValueError, match="window"):
        walk_unordered(Window(MIDNIGHT, end), Hostile().same_page_for_ever, attempted="test")
