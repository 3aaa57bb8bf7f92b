"""The second half of the way: what is on a worklist, fetched whole and loaded.

Belongs here: draining a worklist of a shop. Not here: who puts records on it, what orders and refunds differ in
(streams.py).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from functools import partial
from itertools import chain
from typing import NamedTuple

from sqlalchemy import Connection, Engine

from order_pipeline.platforms.protocol import OrderDetail, RefundDetail
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.announcements import (
    DOUBTED_ATTEMPTS,
    SAME_SECOND_MARGIN,
    is_doubtful,
    known_until,
    wait_seconds,
)
from order_pipeline.sync.lanes import FEWEST_LANES, Lanes, lanes_for
from order_pipeline.sync.storing import StoredDetails, store_call_log
from order_pipeline.sync.streams import ORDER_STREAM, Stream
from order_pipeline.traffic.call_log import Call
from order_pipeline.traffic.errors import AuthorizationError, CallerError, CallError, NotFoundError, ThrottledError
from order_pipeline.warehouse.database import in_transaction
from order_pipeline.warehouse.worklist import Outcome, Pending, settle, take, worker

# What a lane fetches in one request. A transaction for what all of them bring shares its fixed cost; a crash costs as
# many calls, and what changes meanwhile waits for as many, so there is a limit.
RECORDS_PER_LANE = 20
MOST_RECORDS_PER_BATCH = 320
# Three a thread: enough to tell how slowly the platform answers today, and over in a moment.
RECORDS_TRIED_FIRST = 24

# A request costs us about a millisecond, a call within it a twentieth of that; the platform works on its calls at once.
FEWEST_TOGETHER = 5

SAME_SECOND_WAIT_SECONDS = 3.0
# Who fetches may know the platform's clock worse than who said when, by up to the second that the platform tells.
WORSE_CLOCK_SECONDS = 1.0

FIRST_BACKOFF_SECONDS = 15.0
LONGEST_BACKOFF_SECONDS = 900.0
# A detail that stays older than the list for that long (about 15 minutes of tries; lists and details disagree for
# about ten during sales, contract §7.9) is given up until somebody says something newer.
STALE_ATTEMPTS = 8

# What the next order would meet too.
HOPELESS = (AuthorizationError, ThrottledError)

UNTIL_SAID_AGAIN = float("inf")


class Drained(NamedTuple):
    """What became of the records that were taken: how many each."""

    fetched: int = 0
    loaded: int = 0
    quarantined: int = 0
    unavailable: int = 0
    put_back: int = 0


class Enrichment(NamedTuple):
    """What came of draining a shop's worklist."""

    shop_id: str
    drained: Drained
    calls: int
    seconds: float


class Fetched(NamedTuple):
    """A record that was taken and what the platform said."""

    pending: Pending
    answer: OrderDetail | RefundDetail | CallError


def outcome_of(fetched: Fetched, refusal: str | None = None) -> Outcome:
    """Decide what becomes of a record on the worklist once the platform has answered. Pure.

    ``refusal``: why the warehouse would not take it, where it did not.
    """
    pending, answer = fetched
    if refusal:
        return _outcome(pending, UNTIL_SAID_AGAIN, f"quarantined: {refusal}")
    if isinstance(answer, NotFoundError):
        if pending.announced_at and pending.attempts < DOUBTED_ATTEMPTS:
            # A message can be quicker than the order it announces.
            return _outcome(pending, _backoff_seconds(pending.attempts), str(answer))
        return _outcome(pending, UNTIL_SAID_AGAIN, f"the platform does not serve its details: {answer.reason}")
    if isinstance(answer, CallerError):
        return _outcome(pending, UNTIL_SAID_AGAIN, str(answer))
    if isinstance(answer, CallError):
        return _outcome(pending, _backoff_seconds(pending.attempts), str(answer))
    if answer.record is None:
        reason = answer.rejected.reason if answer.rejected else "nothing in the answer"
        return _outcome(pending, UNTIL_SAID_AGAIN, f"quarantined: {reason}")
    modified = answer.record.modified_at
    if modified < pending.seen_modified:
        stale = f"the details are of {modified:%F %T}, older than the list said ({pending.seen_modified:%F %T})"
        given_up = pending.attempts >= STALE_ATTEMPTS
        return _outcome(pending, UNTIL_SAID_AGAIN if given_up else _backoff_seconds(pending.attempts), stale)
    asked_at = answer.answer.sent_at
    again: float | None = None
    problem = None
    if pending.announced_at and known_until(asked_at) < pending.announced_at:
        again = wait_seconds(pending.announced_at, asked_at)
    elif pending.announced_at and is_doubtful(pending.announced_at, modified, pending.attempts):
        again = _backoff_seconds(pending.attempts)
        problem = f"the details are of {modified:%F %T}, though a message of {pending.announced_at:%F %T} says more"
    elif asked_at - modified < SAME_SECOND_MARGIN:
        again = SAME_SECOND_WAIT_SECONDS
    return Outcome(pending, modified, known_until(asked_at), again, problem)


def in_requests(taken: Sequence[Pending], at_once: int, lanes: int) -> list[Sequence[Pending]]:
    """Share records out to requests. Pure.

    As many requests as lanes, if that leaves each enough to be worth it, and none with more than ``at_once``.
    """
    size = min(max(-(-len(taken) // lanes), FEWEST_TOGETHER), at_once)
    return [taken[start : start + size] for start in range(0, len(taken), size)]


def drain(
    access: ShopAccess,
    engine: Engine,
    *,
    stream: Stream = ORDER_STREAM,
    threads: int = FEWEST_LANES,
    lanes: Lanes | None = None,
    longest_seconds: float = math.inf,
) -> Enrichment:
    """Fetch and load every order (or what else the stream is of) of the shop that is due, until none is left.

    Details are fetched in parallel while the batch before is loaded, in ``threads`` threads or, where the platform
    answers slowly, as many as the rate budget asks for. Rows and cleared work land in one
    transaction, so a crash anywhere leaves the work on the list. Several drains may run at once.

    ``lanes``: of somebody who drains again and again, so that their connections stay; they stay open.
    ``longest_seconds``: nothing more is taken after it.

    Raises the CallError that no other order would survive either (authorisation, a long ban, a platform that
    answers nothing), after what was fetched is loaded; DatabaseUnreachableError without the warehouse.
    """
    started = time.monotonic()
    calls_before = access.calls.total
    total = Drained()
    with worker(engine) as key, nullcontext(lanes) if lanes else closing(Lanes(threads)) as lanes:
        fetch = _Fetcher(access, stream)
        fetching: Iterator[Fetched] = iter(())
        hopeless: CallError | None = None
        calls: list[Call] = []
        pace = _Pace()
        limit, is_first, is_more = RECORDS_TRIED_FIRST, True, True
        while is_more:
            take_some = partial(take, shop_id=access.shop.id, worker_key=key, limit=limit, subject=stream.subject)
            is_over = hopeless is not None or time.monotonic() - started > longest_seconds
            taken = [] if is_over else in_transaction(engine, take_some)
            is_more = bool(taken)
            ahead: Iterator[Fetched] = chain.from_iterable(
                lanes.map(fetch, in_requests(taken, access.platform.details_at_once, lanes.count))
            )
            if is_first:
                # How long calls take is known before the many begin.
                ahead, is_first = iter(list(ahead)), False
            fetched = list(fetching)
            hopeless = hopeless or _hopeless(fetched)
            calls += access.calls.drain()
            lanes.widen(lanes_for(calls, access.shop.calls_per_minute, pace.cpu_share(), lanes.count))
            limit = min(lanes.count * RECORDS_PER_LANE, MOST_RECORDS_PER_BATCH)
            if fetched:
                total = Drained(*map(sum, zip(total, _load(access, engine, stream, fetched, calls), strict=True)))
                calls = []
            fetching = ahead
        if hopeless:
            raise hopeless
    return Enrichment(access.shop.id, total, access.calls.total - calls_before, time.monotonic() - started)


class _Fetcher:
    """Fetches records in the pool's threads until an error shows that no other would come either."""

    def __init__(self, access: ShopAccess, stream: Stream) -> None:
        self._access = access
        self._stream = stream
        self._hopeless: CallError | None = None

    def __call__(self, some: Sequence[Pending]) -> list[Fetched]:
        """Fetch together what comes together, and the rest alone."""
        answers = self._together(some) if len(some) > 1 else [None]
        return [Fetched(pending, answer or self._alone(pending)) for pending, answer in zip(some, answers, strict=True)]

    def _together(self, some: Sequence[Pending]) -> Sequence[OrderDetail | RefundDetail | CallError | None]:
        if not self._hopeless:
            try:
                self._await(some)
                return self._stream.fetch_some(self._access, [pending.record_id for pending in some])
            except CallError as error:
                return [self._noted(error)] * len(some)
        return [self._hopeless] * len(some)

    def _alone(self, pending: Pending) -> OrderDetail | RefundDetail | CallError:
        if self._hopeless:
            return self._hopeless
        try:
            self._await([pending])
            return self._stream.fetch(self._access, pending.record_id)
        except CallError as error:
            return self._noted(error)

    def _noted(self, error: CallError) -> CallError:
        if isinstance(error, HOPELESS):
            self._hopeless = error
        return error

    def _await(self, some: Sequence[Pending]) -> None:
        """Let the little time pass that is left until details will do for the messages: asking sooner is asking twice.

        Where more is left, a clock was set meanwhile, and the answer's own time decides.
        """
        if announced := [pending.announced_at for pending in some if pending.announced_at]:
            now = self._access.platform.known_time()
            waits = [wait_seconds(moment, now) for moment in announced]
            time.sleep(max((seconds for seconds in waits if 0 < seconds <= WORSE_CLOCK_SECONDS), default=0.0))


def _hopeless(fetched: Sequence[Fetched]) -> CallError | None:
    """Return the error that makes going on pointless, if there is one."""
    errors = [answer for _, answer in fetched if isinstance(answer, CallError)]
    for error in errors:
        if isinstance(error, HOPELESS):
            return error
    retryable = [error for error in errors if error.retryable]
    return retryable[0] if retryable and len(retryable) == len(fetched) else None


class _Pace:
    """Says how much of the time since it was last asked this process computed."""

    def __init__(self) -> None:
        self._looked = time.process_time(), time.monotonic()

    def cpu_share(self) -> float:
        (cpu_before, before), self._looked = self._looked, (time.process_time(), time.monotonic())
        return (self._looked[0] - cpu_before) / max(self._looked[1] - before, 1e-9)


def _load(
    access: ShopAccess, engine: Engine, stream: Stream, fetched: Sequence[Fetched], calls: Sequence[Call]
) -> Drained:
    details = [answer for _, answer in fetched if isinstance(answer, OrderDetail | RefundDetail)]

    def load(connection: Connection) -> tuple[StoredDetails, list[Outcome]]:
        stored = stream.store(connection, access, details)
        outcomes = [outcome_of(each, stored.refused.get(each.pending.record_id)) for each in fetched]
        # In one order everywhere, so that two drains cannot deadlock.
        settle(connection, access.shop.id, sorted(outcomes), subject=stream.subject)
        store_call_log(connection, calls)
        return stored, outcomes

    stored, outcomes = in_transaction(engine, load)
    unavailable = sum(outcome.due_again == UNTIL_SAID_AGAIN for outcome in outcomes)
    put_back = sum(outcome.due_again not in (None, UNTIL_SAID_AGAIN) for outcome in outcomes)
    return Drained(len(details), stored.loaded, stored.quarantined, unavailable - stored.quarantined, put_back)


def _outcome(pending: Pending, due_again: float, problem: str) -> Outcome:
    return Outcome(pending, None, None, due_again, problem)


def _backoff_seconds(attempts: int) -> float:
    return float(min(FIRST_BACKOFF_SECONDS * 2 ** (attempts - 1), LONGEST_BACKOFF_SECONDS))
