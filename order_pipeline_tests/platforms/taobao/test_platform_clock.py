"""The platform tells whole seconds; what is made of them is never ahead of its clock, and soon hardly behind it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from order_pipeline.platforms.taobao.platform_clock import MOST_QUESTIONS, SHARP_ENOUGH, PlatformClock

START = datetime(2026, 3, 15, 12, tzinfo=UTC)


class Machine:
    """A machine whose clock is behind the platform's by ``ahead``, and a way there and back."""

    def __init__(self, ahead: float, way: float) -> None:
        self.ahead = timedelta(seconds=ahead)
        self._way = way
        self.monotonic = 0.0

    @property
    def now(self) -> datetime:
        return START + timedelta(seconds=self.monotonic)

    def ask(self, clock: PlatformClock) -> None:
        asked_at = self.now
        self.monotonic += self._way
        told = (self.now + self.ahead).replace(microsecond=0)
        self.monotonic += self._way
        clock.note(told, asked_at, self.now, self.monotonic)


@given(
    ahead=st.floats(-500, 500),
    way=st.floats(0, 0.4),
    pauses=st.lists(st.floats(0, 60), min_size=1, max_size=8),
)
def test_it_is_never_believed_to_be_later_than_it_is(ahead: float, way: float, pauses: list[float]) -> None:
    machine, clock = Machine(ahead, way), PlatformClock()
    for pause in pauses:
        machine.monotonic += pause
        machine.ask(clock)
        # Datetimes have microseconds.
        assert clock.ahead <= machine.ahead + timedelta(microseconds=2)
        assert clock.ahead_at_most >= machine.ahead - timedelta(microseconds=2)


@given(ahead=st.floats(-500, 500), way=st.floats(0, 0.2), began=st.floats(0, 1))
def test_a_few_questions_at_the_right_moments_tell_it_to_a_tenth_of_a_second_and_the_way(
    ahead: float, way: float, began: float
) -> None:
    machine, clock = Machine(ahead, way), PlatformClock()
    machine.monotonic = began
    machine.ask(clock)
    questions = 0
    while (until_best := clock.best_moment(machine.now)) is not None:
        assert 0 <= until_best <= 1
        machine.monotonic += until_best
        clock.count_question()
        machine.ask(clock)
        questions += 1
    assert questions <= MOST_QUESTIONS
    # Each question halves what is not known, and adds its way there and back.
    assert machine.ahead - clock.ahead <= SHARP_ENOUGH + timedelta(seconds=4.2 * way + 0.05)


@given(first=st.floats(-500, 500), second=st.floats(-500, 500))
def test_a_clock_that_was_set_is_believed_anew(first: float, second: float) -> None:
    clock = PlatformClock()
    machine = Machine(first, 0.01)
    machine.ask(clock)
    machine.ahead = timedelta(seconds=second)
    machine.ask(clock)
    # A step of less than the second that is told cannot be seen, and does no more harm than that.
    assert clock.ahead <= machine.ahead + (timedelta(seconds=1.1) if abs(second - first) <= 1.1 else timedelta())
