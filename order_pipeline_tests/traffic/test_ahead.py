"""Iterating ahead: in order, bounded, with its errors in their place, and over when nobody listens any more."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from order_pipeline.traffic.ahead import Ahead
from order_pipeline.traffic.time_limit import over_within, seconds_left

PATIENCE_SECONDS = 5.0


def test_items_come_in_order_and_the_next_is_made_while_one_is_worked_on() -> None:
    second_was_made = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        second_was_made.set()
        yield 2

    with Ahead(items(), most=1) as ahead:
        came = []
        for item in ahead:
            # The first one is still in hand.
            assert second_was_made.wait(PATIENCE_SECONDS)
            came.append(item)
    assert came == [1, 2]


def test_no_more_are_made_than_there_is_room_for() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            yield number

    with Ahead(items(), most=2) as ahead:
        numbers = iter(ahead)
        next(numbers)
        time.sleep(0.2)
        # One was taken, two wait, one is in the hand of who found no room for it.
        assert len(made) <= 4
        assert list(numbers) == list(range(1, 10))


def test_an_error_comes_where_the_next_item_would_have_come() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise LookupError("no second")

    with Ahead(items(), most=4) as ahead:
        numbers = iter(ahead)
        assert next(numbers) == 1
        with pytest.raises(LookupError, match="no second"):
            next(numbers)


def test_who_leaves_early_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    with Ahead(iter(range(1_000_000)), most=1) as ahead:
        next(iter(ahead))
    assert threading.active_count() == before


def test_it_says_whether_something_waits() -> None:
    with Ahead(iter([1]), most=2) as ahead:
        numbers = iter(ahead)
        next(numbers)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not ahead.is_waiting and time.monotonic() < deadline:
            time.sleep(0.001)
        # The end.
        assert ahead.is_waiting
        assert list(numbers) == []
        assert not ahead.is_waiting


def test_the_time_limit_of_who_started_it_holds() -> None:
    def limits() -> Iterator[float]:
        yield seconds_left()

    with over_within(7.0), Ahead(limits(), most=1) as ahead:
        (left,) = ahead
    assert 0.0 < left <= 7.0
