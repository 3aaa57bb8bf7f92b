"""How often and after what wait a failed call is made again."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_pipeline.traffic.errors import (
    AuthorizationError,
    CallerError,
    CallError,
    MalformedAnswerError,
    NotFoundError,
    ThrottledError,
    TransientError,
)
from order_pipeline.traffic.retry import BAN_JITTER_SECONDS, RetrySettings, call_with_retry


class Time:
    """A clock that only sleeping and calling move."""

    def __init__(self, seconds_a_call: float = 0.0) -> None:
        self.now = 1000.0
        self.sleeps: list[float] = []
        self.seconds_a_call = seconds_a_call

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds

    def monotonic(self) -> float:
        return self.now


class Failing:
    """A call that fails with these errors, one after the other, and then succeeds."""

    def __init__(self, time: Time, *errors: Exception) -> None:
        self.time = time
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        self.time.now += self.time.seconds_a_call
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


def transient() -> CallError:
    return TransientError("a call", "reset", remedy="wait")


def ban(seconds: float) -> CallError:
    return ThrottledError("a call", "banned", remedy="wait", ban_seconds=seconds)


def run(call: Failing, settings: RetrySettings) -> str:
    return call_with_retry(call, settings, sleep=call.time.sleep, monotonic=call.time.monotonic)


def test_a_call_that_works_is_made_once_and_waits_for_nothing() -> None:
    call = Failing(Time())
    assert run(call, RetrySettings()) == "answer"
    assert (call.calls, call.time.sleeps) == (1, [])


def test_a_stumble_is_tried_again_until_it_works() -> None:
    call = Failing(Time(), transient(), MalformedAnswerError("a call", "html", remedy="wait"), transient())
    assert run(call, RetrySettings()) == "answer"
    assert call.calls == 4


@pytest.mark.parametrize("kind", [AuthorizationError, CallerError, NotFoundError])
def test_what_a_retry_does_not_help_is_raised_at_once(kind: type[CallError]) -> None:
    call = Failing(Time(), kind("a call", "refused", remedy="act"))
    with pytest.raises(kind):
        run(call, RetrySettings())
    assert (call.calls, call.time.sleeps) == (1, [])


def test_a_mistake_of_our_own_is_never_repeated() -> None:
    call = Failing(Time(), KeyError("ours"))
    with pytest.raises(KeyError):
        run(call, RetrySettings())
    assert call.calls == 1


def test_attempts_are_counted_and_the_last_error_is_raised_as_it_is() -> None:
    last = transient()
    call = Failing(Time(), transient(), transient(), last)
    with pytest.raises(TransientError) as caught:
        run(call, RetrySettings(attempts=3))
    assert caught.value is last
    assert call.calls == 3


@given(st.integers(2, 9), st.floats(0.01, 2), st.floats(0.01, 5))
def test_waits_are_random_below_a_bound_that_doubles(attempts: int, first: float, longest: float) -> None:
    call = Failing(Time(), *[transient() for _ in range(attempts - 1)])
    settings = RetrySettings(
        attempts=attempts, deadline_seconds=1e6, first_wait_seconds=first, longest_wait_seconds=longest
    )
    assert run(call, settings) == "answer"
    assert len(call.time.sleeps) == attempts - 1
    for number, slept in enumerate(call.time.sleeps):
        assert 0 <= slept <= min(first * 2**number, longest) + 1e-9


def test_a_ban_is_sat_out() -> None:
    call = Failing(Time(), ban(7))
    assert run(call, RetrySettings()) == "answer"
    (slept,) = call.time.sleeps
    assert 7 <= slept <= 7 + BAN_JITTER_SECONDS


def test_a_ban_longer_than_the_deadline_is_raised_at_once() -> None:
    call = Failing(Time(), ban(31062))
    with pytest.raises(ThrottledError):
        run(call, RetrySettings(deadline_seconds=60))
    assert (call.calls, call.time.sleeps) == (1, [])


@given(st.floats(0, 30), st.floats(0, 60), st.floats(0, 20))
def test_no_attempt_begins_behind_the_deadline(seconds_a_call: float, deadline: float, ban_seconds: float) -> None:
    time = Time(seconds_a_call)
    began: list[float] = []

    def call() -> str:
        began.append(time.now)
        time.now += seconds_a_call
        raise ban(ban_seconds) if len(began) % 2 else transient()

    with pytest.raises(CallError):
        call_with_retry(
            call,
            RetrySettings(attempts=50, deadline_seconds=deadline),
            sleep=time.sleep,
            monotonic=time.monotonic,
        )
    assert began[-1] - began[0] <= deadline + 1e-6


def test_each_retry_is_one_warning_that_says_why_and_how_long(caplog: pytest.LogCaptureFixture) -> None:
    call = Failing(Time(), ban(7), transient())
    with caplog.at_level(logging.WARNING):
        run(call, RetrySettings())
    first, second = [record.getMessage() for record in caplog.records]
    assert first.startswith("attempt 1 of 5: a call failed: banned; a retry may help; wait; trying again in 7.")
    assert second.startswith("attempt 2 of 5: a call failed: reset")


@pytest.mark.parametrize(
    "wrong", [{"attempts": 0}, {"deadline_seconds": -1}, {"first_wait_seconds": -1}, {"longest_wait_seconds": -1}]
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"attempts is 0|none below zero"):
        RetrySettings(**wrong)  # type: ignore[arg-type]
