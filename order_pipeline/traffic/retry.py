"""How often and after what wait a failed call is made again.

Belongs here: the waiting rules that hold for every platform. Not here: which failure is which
(platforms/<name>/errors.py), nor when to stop calling a platform altogether.

There are three layers of retry, each for what the one below cannot heal: this one for a single call, Dagster's
RetryPolicy for an asset, run retries for a lost worker. None of the three repeats what a person has to repair.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec
import tenacity

from order_pipeline.traffic.errors import BreakerOpenError, CallError, HeldBackError, ThrottledError
from order_pipeline.traffic.time_limit import seconds_left

logger = logging.getLogger(__name__)

T = TypeVar("T")

# The longest a ban is overslept: callers that share a budget come back one after the other, not all at once.
BAN_JITTER_SECONDS = 0.5


class RetrySettings(msgspec.Struct, frozen=True, kw_only=True):
    """How patient a call is.

    Attributes:
        attempts: how often the call is made at most, the first time included.
        deadline_seconds: no attempt begins later than this after the first one began.
        first_wait_seconds: the upper bound of the first wait; it doubles with every attempt.
        longest_wait_seconds: where the doubling ends.

    """

    # Five attempts wait about four seconds on average: longer than a gateway's restart of one node,
    # shorter than the 30-minute windows that wait behind it.
    attempts: int = 5
    deadline_seconds: float = 60.0
    first_wait_seconds: float = 0.5
    longest_wait_seconds: float = 15.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts is {self.attempts}; a call is made at least once")
        if min(self.deadline_seconds, self.first_wait_seconds, self.longest_wait_seconds) < 0:
            raise ValueError("retry times are seconds, none below zero")


DEFAULT_RETRY = RetrySettings()


def call_with_retry(
    call: Callable[[], T],
    settings: RetrySettings = DEFAULT_RETRY,
    *,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> T:
    """Make a call, again while its error's class says that helps, and return what it brings.

    A call that was held back by the budget or the breaker is not made again: they know when the next one makes
    sense, and it is beyond a call's patience. Waits are exponential with full jitter (uniform between zero and the
    bound). A ThrottledError waits for its ban instead. When the next wait would end behind the deadline, or behind the
    thread's time limit, the error is raised at once.

    Args:
        call: the call; has to be safe to repeat.
        settings: attempts and times, in seconds.
        sleep: waits for some seconds; tests pass their own.
        monotonic: seconds on a clock that never jumps; tests pass their own.

    Raises:
        CallError: the last attempt's error.

    """
    began = monotonic()
    exponential = tenacity.wait_random_exponential(
        multiplier=settings.first_wait_seconds, max=settings.longest_wait_seconds
    )

    def wait(state: tenacity.RetryCallState) -> float:
        error = _error_of(state)
        if isinstance(error, ThrottledError):
            return error.ban_seconds + random.uniform(0, BAN_JITTER_SECONDS)  # noqa: S311 - spreading, no secret
        return exponential(state)

    def stop(state: tenacity.RetryCallState) -> bool:
        ready_at = monotonic() + state.upcoming_sleep
        is_late = ready_at - began > settings.deadline_seconds or state.upcoming_sleep >= seconds_left()
        return is_late or state.attempt_number >= settings.attempts

    def report(state: tenacity.RetryCallState) -> None:
        logger.warning(
            "attempt %d of %d: %s; trying again in %.1f s",
            state.attempt_number,
            settings.attempts,
            _error_of(state),
            state.upcoming_sleep,
        )

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_is_worth_repeating),
        wait=wait,
        stop=stop,
        before_sleep=report,
        sleep=sleep,
        reraise=True,
    )
    return retrying(call)


def _is_worth_repeating(error: BaseException) -> bool:
    held_back = isinstance(error, HeldBackError | BreakerOpenError)
    return isinstance(error, CallError) and error.retryable and not held_back


def _error_of(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None
