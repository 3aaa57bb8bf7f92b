"""The gate that every call to a platform passes: breaker, budget, the call, retry, and what is learnt from it.

Belongs here: the order of these steps, and which error is a failure of the platform. Not here: how each of them
works (breaker.py, budget.py, retry.py), nor what a call is (platforms).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import TypeVar

from msgspec.structs import replace
from sqlalchemy import Engine

from order_pipeline.traffic.breaker import Admission, Breaker, Kind, shared_breaker
from order_pipeline.traffic.budget import LONGEST_WAIT_SECONDS, Budget, shared_budget
from order_pipeline.traffic.errors import (
    CallError,
    MalformedAnswerError,
    ThrottledError,
    TransientError,
)
from order_pipeline.traffic.retry import DEFAULT_RETRY, RetrySettings, call_with_retry
from order_pipeline.traffic.time_limit import seconds_left

logger = logging.getLogger(__name__)

# An attempt with less time than this would only be counted as a failure of the platform.
LEAST_SECONDS = 1.0
COMES_AGAIN = "it has its turn when this work is done again; what took so long is named by the calls before it"

T = TypeVar("T")


class Gate:
    """What one shop's calls pass through. Safe to use from several threads.

    Attributes:
        budget: of the shop's app key; None: calls are not counted.
        breaker: of the shop's app key; None: failures have no consequence.

    """

    def __init__(self, budget: Budget | None = None, breaker: Breaker | None = None) -> None:
        """Make a gate of these; without either it stands open and only repeats what failed."""
        self.budget = budget
        self.breaker = breaker
        self._full_pulls = 0
        self._lock = Lock()

    def call(
        self,
        kind: Kind,
        make: Callable[[], T],
        retry: RetrySettings = DEFAULT_RETRY,
        *,
        attempted: str,
        prepare: Callable[[], object] | None = None,
        patience_seconds: float = LONGEST_WAIT_SECONDS,
    ) -> T:
        """Make a call when it may be made, again while that helps, and return what it brings.

        Waiting for the budget or for the end of a ban does not count against the retry's deadline. While the
        breaker is open, a call is made once only, save for full pulls: its next attempt is up to whoever asked.

        Args:
            kind: what the call is for.
            make: makes one attempt; raises CallError.
            retry: how patient the call is with failures.
            attempted: for messages, the call and what it is about.
            prepare: done before each attempt asks for its place in the budget, as it may take its time: a departure
                that is granted has to be left at.
            patience_seconds: how long an attempt waits for the budget, at most LONGEST_WAIT_SECONDS.

        Raises:
            HeldBackError: the budget does not let it leave within that time, or a longer ban holds.
            BreakerOpenError: too many calls fail.
            CallError: of the last attempt.

        """
        breaker = self._breaker_for(kind)
        waited = 0.0

        def attempt() -> T:
            nonlocal waited
            admission = self._admit(kind, attempted, prepare)
            if self.budget:
                waited += self.budget.acquire(attempted, min(patience_seconds, seconds_left()))
            try:
                answer = make()
            except CallError as error:
                if isinstance(error, ThrottledError) and error.ban_seconds <= LONGEST_WAIT_SECONDS:
                    waited += error.ban_seconds
                self._learn(breaker, admission, error)
                raise
            self._learn(breaker, admission, None)
            return answer

        if breaker and not self._is_full_pull(kind) and breaker.is_open():
            retry = replace(retry, attempts=1)
        return call_with_retry(attempt, retry, monotonic=lambda: time.monotonic() - waited)

    def call_together(
        self,
        kind: Kind,
        make: Callable[[int], Sequence[T | CallError]],
        most: int,
        *,
        attempted: str,
        prepare: Callable[[], object] | None = None,
    ) -> Sequence[T | CallError]:
        """Make several calls in one request, once, and return what each brings.

        Each counts as a call. A request that fails as a whole is one failure all the same: one connection that is cut
        must not open a breaker which judges by the share of twenty calls.

        Args:
            kind: what the calls are for.
            make: makes so many of them; raises CallError when the request as a whole brought nothing.
            most: how many there are; as many of them are made as may leave at once.
            attempted: for messages, the calls and what they are about.
            prepare: as with ``call``.

        Raises:
            HeldBackError, BreakerOpenError: as ``call``; no call was made.
            CallError: the request's.

        """
        breaker = self._breaker_for(kind)
        admission = self._admit(kind, attempted, prepare)
        count = self.budget.acquire_some(attempted, most, seconds_left()) if self.budget else most
        try:
            answers = make(count)
        except CallError as error:
            self._learn(breaker, admission, error)
            raise
        for answer in answers:
            self._learn(breaker, admission, answer if isinstance(answer, CallError) else None)
        return answers

    def _breaker_for(self, kind: Kind) -> Breaker | None:
        return None if kind is Kind.ASIDE else self.breaker

    def _is_full_pull(self, kind: Kind) -> bool:
        return bool(self._full_pulls) or kind is Kind.FULL_PULL

    def _admit(self, kind: Kind, attempted: str, prepare: Callable[[], object] | None) -> Admission:
        if seconds_left() < LEAST_SECONDS:
            raise TransientError(attempted, "the time for it was up before it began", remedy=COMES_AGAIN)
        if prepare:
            prepare()
        breaker = self._breaker_for(kind)
        kind = Kind.FULL_PULL if self._is_full_pull(kind) else kind
        return breaker.admit(kind, attempted) if breaker else Admission(kind)

    def _learn(self, breaker: Breaker | None, admission: Admission, error: CallError | None) -> None:
        """Draw the consequences of a call that was made. A call that was refused for its number says nothing else."""
        if isinstance(error, ThrottledError):
            self._learn_ban(error)
        elif breaker:
            self._record(breaker, admission, failed=isinstance(error, TransientError | MalformedAnswerError))

    @contextmanager
    def full_pull(self) -> Iterator[None]:
        """Let every call through this gate pass as part of the full pull, from whatever thread it comes."""
        with self._lock:
            self._full_pulls += 1
        try:
            yield
        finally:
            with self._lock:
                self._full_pulls -= 1

    def _learn_ban(self, error: ThrottledError) -> None:
        if self.budget:
            try:
                self.budget.ban(error.ban_seconds)
            except TransientError as problem:
                logger.warning("%s; the other processes will meet the ban themselves", problem)

    def _record(self, breaker: Breaker, admission: Admission, *, failed: bool) -> None:
        try:
            breaker.record(admission, failed=failed)
        except TransientError as problem:
            # What the call brought is worth more than its place in the statistics.
            logger.warning("%s; this call is not counted", problem)


def shared_gate(engine: Engine, app_key: str, calls_per_minute: int | None) -> Gate:
    """Make a gate of the budget and the breaker that all processes of this database share for an app key.

    Args:
        engine: of that database; its schema has to be current.
        app_key: whose calls.
        calls_per_minute: what the platform grants the app key; None: no limit. Shops of one app key shall say the same.

    """
    return Gate(shared_budget(engine, app_key, calls_per_minute), shared_breaker(engine, app_key))
