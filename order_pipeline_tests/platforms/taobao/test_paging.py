"""The walk against a list that changes between any two calls."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from order_pipeline.platforms.protocol import Window
from order_pipeline.platforms.taobao.paging import ListAnswer, Row, WalkedPage, parts_of, walk
from order_pipeline.platforms.taobao.values import CHINA
from order_pipeline.traffic.errors import MalformedAnswerError, TransientError

MIDNIGHT = datetime(2026, 3, 1, tzinfo=CHINA)
DAY = timedelta(days=1)


def at(second: int) -> datetime:
    return MIDNIGHT + timedelta(seconds=second)


class MovingList:
    """A marketplace's list: newest first, computed at each call; `moves` happen between the calls."""

    def __init__(
        self,
        seconds: dict[int, int],
        *,
        page_size: int,
        start_inclusive: bool = True,
        end_inclusive: bool = True,
        moves: Iterator[list[int]] | None = None,
        now: int = 100_000,
    ) -> None:
        self.seconds = dict(seconds)
        self.page_size = page_size
        self.start_inclusive = start_inclusive
        self.end_inclusive = end_inclusive
        self.moves = iter(()) if moves is None else moves
        self.now = now
        self.calls: list[tuple[Window, int, bool]] = []

    def rows(self, window: Window) -> list[tuple[int, datetime]]:
        found = []
        for order, second in self.seconds.items():
            moment = at(second)
            after = moment >= window.start if self.start_inclusive else moment > window.start
            before = moment <= window.end if self.end_inclusive else moment < window.end
            if after and before:
                found.append((order, moment))
        return sorted(found, key=lambda row: (row[1], row[0]), reverse=True)

    def fetch(self, window: Window, page_no: int, use_has_next: bool) -> ListAnswer:
        assert window.start < window.end, "the platform refuses such a window"
        for order in next(self.moves, []) if self.calls else []:
            if order in self.seconds:
                self.now += 1
                self.seconds[order] = self.now
        self.calls.append((window, page_no, use_has_next))
        rows = self.rows(window)
        page = rows[(page_no - 1) * self.page_size : page_no * self.page_size]
        return ListAnswer(
            rows=[Row(f"order {order}", moment) for order, moment in page],
            has_next=page_no * self.page_size < len(rows),
            total_results=None if use_has_next else len(rows),
        )


def delivered(pages: Iterator[WalkedPage]) -> list[Row]:
    return [page.answer.rows[index] for page in pages for index in page.fresh]


@settings(max_examples=500)
@given(
    seconds=st.lists(st.integers(-3, 25), max_size=40),
    page_size=st.integers(1, 5),
    start_inclusive=st.booleans(),
    end_inclusive=st.booleans(),
    moves=st.lists(st.lists(st.integers(0, 40), max_size=3), max_size=60),
    end=st.integers(1, 22),
)
def test_every_row_that_stays_in_the_window_is_delivered_once_while_others_move(
    seconds: list[int],
    page_size: int,
    start_inclusive: bool,
    end_inclusive: bool,
    moves: list[list[int]],
    end: int,
) -> None:
    before = dict(enumerate(seconds))
    market = MovingList(
        before,
        page_size=page_size,
        start_inclusive=start_inclusive,
        end_inclusive=end_inclusive,
        moves=iter(moves),
    )
    rows = delivered(walk(Window(at(0), at(end)), market.fetch, attempted="test"))
    assert len(rows) == len(set(rows))
    wanted = {
        Row(f"order {order}", at(second))
        for order, second in before.items()
        if 0 <= second < end + end_inclusive and market.seconds[order] == second
    }
    assert wanted <= set(rows)
    # A tie costs calls of its own, but each of them belongs to a row.
    assert len(market.calls) <= 8 * (len(seconds) + 2)


@settings(max_examples=150)
@given(
    tied=st.lists(st.integers(0, 60), min_size=1, max_size=4),
    first=st.integers(2, 20),
    page_size=st.integers(1, 5),
    start_inclusive=st.booleans(),
    end_inclusive=st.booleans(),
    moves=st.lists(st.lists(st.integers(0, 120), max_size=3), max_size=60),
)
def test_neighbouring_seconds_that_hold_many_pages_are_read_whole(
    tied: list[int],
    first: int,
    page_size: int,
    start_inclusive: bool,
    end_inclusive: bool,
    moves: list[list[int]],
) -> None:
    orders = [first + place for place, rows in enumerate(tied) for _ in range(rows)]
    random.Random(len(orders)).shuffle(orders)
    before = dict(enumerate(orders))
    market = MovingList(
        before,
        page_size=page_size,
        start_inclusive=start_inclusive,
        end_inclusive=end_inclusive,
        moves=iter(moves),
    )
    rows = delivered(walk(Window(at(0), at(30)), market.fetch, attempted="test"))
    wanted = {Row(f"order {order}", at(second)) for order, second in before.items() if market.seconds[order] == second}
    assert wanted <= set(rows)
    assert len(rows) == len(set(rows))


@pytest.mark.parametrize("end_inclusive", [True, False])
def test_without_ties_the_walk_costs_hardly_more_calls_than_there_are_pages(end_inclusive: bool) -> None:
    market = MovingList({i: i * 8 for i in range(10_000)}, page_size=100, end_inclusive=end_inclusive)
    rows = delivered(walk(Window(at(0), at(80_001)), market.fetch, attempted="test"))
    assert len(rows) == 10_000
    assert len(market.calls) <= 1.05 * 100


def test_five_thousand_rows_in_one_second_cost_their_pages_twice_at_most() -> None:
    market = MovingList(dict.fromkeys(range(5000), 500) | {9_000: 400, 9_001: 600}, page_size=100)
    rows = delivered(walk(Window(at(0), at(1000)), market.fetch, attempted="test"))
    assert len(rows) == 5_002
    assert len(market.calls) <= 60


def test_a_row_that_moves_to_page_one_is_not_lost() -> None:
    moves = iter([[first, first + 1, first + 2] for first in range(999, 0, -7)])
    market = MovingList({i: i * 10 for i in range(1_000)}, page_size=40, moves=moves, now=20_000)
    rows = {row.key for row in delivered(walk(Window(at(0), at(10_001)), market.fetch, attempted="test"))}
    still_there = {f"order {order}" for order, second in market.seconds.items() if second < 10_001}
    assert still_there <= rows


def test_an_empty_window_is_one_page_without_rows() -> None:
    pages = list(walk(Window(at(0), at(10)), MovingList({}, page_size=5).fetch, attempted="test"))
    assert [(page.page_no, page.fresh, page.has_more) for page in pages] == [(1, (), False)]


def test_only_the_last_page_says_that_nothing_follows() -> None:
    market = MovingList({i: i for i in range(20)}, page_size=6)
    pages = list(walk(Window(at(0), at(30)), market.fetch, attempted="test"))
    assert [page.has_more for page in pages] == [True] * (len(pages) - 1) + [False]


def test_a_page_in_hand_is_handed_over_before_the_next_call_fails() -> None:
    market = MovingList({i: i for i in range(20)}, page_size=6)

    def fetch(window: Window, page_no: int, use_has_next: bool) -> ListAnswer:
        if market.calls:
            raise TransientError("test", "reset", remedy="none")
        return market.fetch(window, page_no, use_has_next)

    pages = walk(Window(at(0), at(30)), fetch, attempted="test")
    assert len(next(pages).fresh) == 6
    with pytest.raises(TransientError):
        next(pages)


def test_no_call_asks_for_more_than_the_longest_span() -> None:
    market = MovingList({i: i * 10 for i in range(8_640)}, page_size=100)
    rows = delivered(walk(Window(at(0), at(86_400)), market.fetch, attempted="test", longest=DAY))
    assert len(rows) == 8_640
    assert all(window.end - window.start <= DAY for window, _, _ in market.calls)
    assert len(market.calls) <= 1.05 * 87


@given(st.integers(1, 400_000))
def test_parts_share_a_second_and_cover_the_window(span: int) -> None:
    window = Window(at(0), at(span))
    parts = parts_of(window, DAY)
    assert parts[0].end == window.end
    assert parts[-1].start == window.start
    assert all(newer.start == older.end for newer, older in pairwise(parts))
    assert all(part.start < part.end for part in parts)
    assert all(part.end - part.start <= DAY - timedelta(seconds=1) for part in parts)


def test_a_row_without_a_readable_moment_is_delivered_and_does_not_stop_the_walk() -> None:
    market = MovingList({i: i for i in range(20)}, page_size=5)

    def fetch(window: Window, page_no: int, use_has_next: bool) -> ListAnswer:
        answer = market.fetch(window, page_no, use_has_next)
        return ListAnswer([Row("broken", None), *answer.rows], answer.has_next, answer.total_results)

    rows = delivered(walk(Window(at(0), at(30)), fetch, attempted="test"))
    assert sorted(str(row.key) for row in rows) == sorted(["broken", *(f"order {i}" for i in range(20))])


def test_a_list_that_is_not_sorted_is_walked_by_its_pages() -> None:
    market = MovingList({i: (i * 7) % 20 for i in range(20)}, page_size=5)

    def fetch(window: Window, page_no: int, use_has_next: bool) -> ListAnswer:
        rows = sorted(market.rows(window))
        page = rows[(page_no - 1) * 5 : page_no * 5]
        return ListAnswer(
            [Row(order, moment) for order, moment in page],
            page_no * 5 < len(rows),
            None if use_has_next else len(rows),
        )

    assert len(delivered(walk(Window(at(0), at(30)), fetch, attempted="test"))) == 20


def test_a_platform_that_serves_smaller_pages_than_asked_for_loses_nothing_in_a_tie() -> None:
    market = MovingList(dict.fromkeys(range(50), 7), page_size=4)
    assert len(delivered(walk(Window(at(0), at(30)), market.fetch, attempted="test"))) == 50


@pytest.mark.parametrize("wrong_by", [-1, 1])
def test_a_count_that_is_wrong_by_one_loses_no_row_of_a_tie(wrong_by: int) -> None:
    market = MovingList(dict.fromkeys(range(41), 7), page_size=4)

    def fetch(window: Window, page_no: int, use_has_next: bool) -> ListAnswer:
        answer = market.fetch(window, page_no, use_has_next)
        total = None if answer.total_results is None else answer.total_results + wrong_by
        return ListAnswer(answer.rows, answer.has_next, total)

    assert len(delivered(walk(Window(at(0), at(30)), fetch, attempted="test"))) == 41


class Hostile:
    """A platform that never comes to an end."""

    def __init__(self) -> None:
        self.calls = 0

    def count(self) -> None:
        self.calls += 1
        assert self.calls < 5_000, "the walk does not end"

    def same_page_for_ever(self, _window: Window, _page_no: int, use_has_next: bool) -> ListAnswer:
        self.count()
        rows = [Row(order, at(second)) for order, second in enumerate(range(20, 10, -1))]
        return ListAnswer(rows, has_next=True, total_results=None if use_has_next else 10)

    def has_next_for_ever(self, window: Window, _page_no: int, use_has_next: bool) -> ListAnswer:
        self.count()
        rows = [Row(order, at(order)) for order in (20, 15, 5) if window.start <= at(order) <= window.end]
        return ListAnswer(rows, has_next=True, total_results=None if use_has_next else 3)

    def next_page_for_ever(self, _window: Window, _page_no: int, use_has_next: bool) -> ListAnswer:
        self.count()
        rows = [Row(order, at(7)) for order in range(5)]
        return ListAnswer(rows, has_next=True, total_results=None if use_has_next else 10)

    def rows_of_another_day(self, _window: Window, _page_no: int, use_has_next: bool) -> ListAnswer:
        self.count()
        rows = [Row("stranger", at(0) - DAY)]
        return ListAnswer(rows, has_next=True, total_results=None if use_has_next else 1)

    def empty_page_with_has_next(self, _window: Window, _page_no: int, use_has_next: bool) -> ListAnswer:
        self.count()
        return ListAnswer([], has_next=True, total_results=None if use_has_next else 0)

    def a_count_beyond_belief(self, _window: Window, page_no: int, use_has_next: bool) -> ListAnswer:
        self.count()
        rows = [Row(order, at(7)) for order in range(5)] if page_no == 1 else []
        return ListAnswer(rows, has_next=page_no == 1, total_results=None if use_has_next else 10**12)

    def a_count_with_empty_pages(self, _window: Window, page_no: int, use_has_next: bool) -> ListAnswer:
        self.count()
        rows = [Row(order, at(7)) for order in range(5)] if page_no == 1 else []
        return ListAnswer(rows, has_next=page_no == 1, total_results=None if use_has_next else 90_000)

    def a_count_of_broken_rows(self, _window: Window, page_no: int, use_has_next: bool) -> ListAnswer:
        self.count()
        rows = [Row("broken", None)] if page_no == 1 else []
        return ListAnswer(rows, has_next=page_no == 1, total_results=None if use_has_next else 10**12)


@pytest.mark.parametrize(
    ("habit", "named"),
    [
        ("same_page_for_ever", "has_next stays true|not one of 10 rows"),
        ("has_next_for_ever", "has_next stays true|said to go on"),
        ("next_page_for_ever", "has_next stays true"),
        ("rows_of_another_day", "not one of 1 rows lies in the window"),
        ("empty_page_with_has_next", "is empty, but the list is said to go on"),
        ("a_count_beyond_belief", "claims 1000000000000 rows"),
        ("a_count_with_empty_pages", "page after page is empty"),
        ("a_count_of_broken_rows", "page after page is empty"),
    ],
)
def test_a_list_without_end_ends_in_an_error_that_names_it(habit: str, named: str) -> None:
    with pytest.raises(MalformedAnswerError, match=named):
        list(walk(Window(at(0), at(30)), getattr(Hostile(), habit), attempted="test"))


def test_a_window_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValueError, match="not behind its start"):
        walk(Window(at(5), at(5)), MovingList({}, page_size=5).fetch, attempted="test")


def test_memory_does_not_grow_with_the_length_of_the_walk() -> None:
    market = MovingList({i: i * 8 for i in range(10_000)}, page_size=100)
    pages = walk(Window(at(0), at(80_001)), market.fetch, attempted="test")
    next(pages)
    inner = pages.gi_frame.f_locals["pages"]  # type: ignore[attr-defined]
    largest = 0
    for _ in pages:
        if inner.gi_frame is not None:
            largest = max(largest, len(inner.gi_frame.f_locals["self"]._seen))
    assert 0 < largest <= 300


@pytest.mark.parametrize("end_inclusive", [True, False])
def test_rows_that_slide_to_page_one_while_a_second_is_walked_are_not_lost(end_inclusive: bool) -> None:
    # The newest row of the second leaves before each call, so every other row slides towards page one.
    market = MovingList(
        dict.fromkeys(range(40), 7),
        page_size=5,
        end_inclusive=end_inclusive,
        moves=iter([[order] for order in range(39, -1, -1)]),
    )
    rows = {row.key for row in delivered(walk(Window(at(0), at(30)), market.fetch, attempted="test"))}
    assert {f"order {order}" for order, second in market.seconds.items() if second == 7} <= rows
