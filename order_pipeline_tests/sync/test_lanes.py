"""How many calls are in flight: as many as use up what is granted, however long a call takes."""

from __future__ import annotations

import threading
from contextlib import closing
from datetime import UTC, datetime

import pytest

from order_pipeline.sync.lanes import FEWEST_LANES, LEAST_CALLS, MOST_LANES, Lanes, lanes_for
from order_pipeline.traffic.call_log import OK, Call

NOON = datetime(2026, 1, 5, 4, tzinfo=UTC)


def calls(seconds: float, count: int = LEAST_CALLS) -> list[Call]:
    call = Call(
        shop_id="shop",
        method="taobao.time.get",
        started_at=NOON,
        seconds=seconds,
        outcome=OK,
        code=None,
        request_id=None,
    )
    return [call] * count


@pytest.mark.parametrize(
    ("seconds", "calls_per_minute", "lanes"),
    [
        (0.002, 6_000, FEWEST_LANES),
        (0.05, 6_000, FEWEST_LANES),
        (0.25, 6_000, 38),
        (0.2, 600, FEWEST_LANES),
        (0.021, None, 64),
        (5.0, 6_000, MOST_LANES),
    ],
)
def test_the_slower_the_answers_the_more_calls_are_in_flight(
    seconds: float, calls_per_minute: int | None, lanes: int
) -> None:
    assert lanes_for(calls(seconds), calls_per_minute, 0.1, FEWEST_LANES) == lanes


def test_a_process_that_computes_all_the_time_gets_no_more_threads() -> None:
    assert lanes_for(calls(0.2), 6_000, 0.95, FEWEST_LANES) == FEWEST_LANES


def test_a_few_calls_say_nothing_and_quick_ones_take_no_thread_away() -> None:
    assert lanes_for(calls(2.0, LEAST_CALLS - 1), 6_000, 0.1, FEWEST_LANES) == FEWEST_LANES
    assert lanes_for(calls(0.002), 6_000, 0.1, 30) == 30


def test_wider_lanes_take_what_begins_from_then_on_and_lose_nothing_of_what_was_begun() -> None:
    with closing(Lanes(1)) as lanes:
        let_go = threading.Event()

        def wait(number: int) -> int:
            let_go.wait(60)
            return number

        before = lanes.map(wait, range(3))
        lanes.widen(5)
        together = threading.Barrier(5)
        assert list(lanes.map(lambda _number: together.wait(60) < 5, range(5))) == [True] * 5
        let_go.set()
        assert list(before) == [0, 1, 2]
