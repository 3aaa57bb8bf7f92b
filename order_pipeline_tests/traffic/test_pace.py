"""A pace slower than the budget, on a clock that the test drives."""

from __future__ import annotations

from order_pipeline.traffic.pace import Pace


class Clock:
    """Monotonic seconds that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_calls_are_spread_evenly_and_idle_time_is_not_made_up_for() -> None:
    clock = Clock()
    pace = Pace(30, monotonic=lambda: clock.now, sleep=clock.sleep)
    moments = []
    for _ in range(4):
        pace.wait()
        moments.append(clock.now)
    assert moments == [100, 102, 104, 106]
    clock.sleep(60)
    pace.wait()
    pace.wait()
    assert clock.now == 168


def test_without_a_limit_nobody_waits() -> None:
    clock = Clock()
    pace = Pace(None, monotonic=lambda: clock.now, sleep=clock.sleep)
    for _ in range(5):
        pace.wait()
    assert clock.now == 100
