"""The circuit breaker of an app key, shared by all processes: what may be called while too many calls fail.

Belongs here: admitting calls and recording what came of them, in Postgres. Not here: the thresholds
(breaker_rule.py), which error is a failure (gate.py), the full pull that replaces the polls (sync).

While open, polls are refused save for one probe every so often; full pulls, details and messages go on.
Outcomes are gathered here and written together, a second's or twenty calls' at a time; failures at once.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from datetime import datetime
from enum import Enum
from threading import Lock
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from sqlalchemy import Engine, Row, TextClause, text

from order_pipeline.traffic.breaker_rule import (
    CLOSED,
    DEFAULT_BREAKER,
    BreakerSettings,
    Counts,
    State,
    after_counting,
    after_probe,
)
from order_pipeline.traffic.errors import BreakerOpenError, TransientError
from order_pipeline.traffic.side_connection import side_connection

logger = logging.getLogger(__name__)

# Good calls are written, and what other processes found is read, this often while calls are made.
FLUSH_SECONDS = 1.0
FLUSH_CALLS = 20

# The window is counted in so many spans; its edge is off by one of them at most.
SPANS_A_WINDOW = 30
# Twice the window, so that a span is not written over while it counts.
SPANS_KEPT = 2 * SPANS_A_WINDOW

IT_CLOSES_ITSELF = (
    "nothing to do at first: it closes by itself after some good probes; if it stays open for hours, look at the "
    "platform's notices and at `order-pipeline status`"
)

# Tests drive the time; otherwise the server's clock is the one that all processes share.
_NOW = "coalesce(cast(:now AS timestamptz), clock_timestamp())"
_COUNTED = f"""
    SELECT coalesce(sum(calls), 0) AS calls, coalesce(sum(failures), 0) AS failures
    FROM sync.breaker_count
    WHERE app_key = :app_key AND began_at > {_NOW} - make_interval(secs => :window)
"""
_HELD = f"""
    {_NOW} AS looked_at, held.state = 'open' AS is_open, held.reason, held.good_probes, held.since,
    greatest(held.next_probe_at, held.since) AS next_probe_at
"""
_FLUSH = text(f"""
    WITH current AS (
        SELECT floor(extract(epoch FROM {_NOW}) / :span_seconds)::bigint AS number
    ), counted AS (
        INSERT INTO sync.breaker_count AS kept (app_key, span, began_at, calls, failures)
        SELECT :app_key, number % :spans_kept, to_timestamp(number * :span_seconds), :calls, :failures FROM current
        WHERE :calls > 0
        ON CONFLICT (app_key, span) DO UPDATE SET
            began_at = excluded.began_at,
            calls = excluded.calls + CASE WHEN kept.began_at = excluded.began_at THEN kept.calls ELSE 0 END,
            failures = excluded.failures + CASE WHEN kept.began_at = excluded.began_at THEN kept.failures ELSE 0 END
    )
    -- What this statement adds is not yet visible to it.
    SELECT before.calls + :calls AS calls, before.failures + :failures AS failures, {_HELD}
    FROM ({_COUNTED}) AS before LEFT JOIN sync.breaker held ON held.app_key = :app_key
""")
_READ = text(f"""
    SELECT window_counts.calls, window_counts.failures, {_HELD}
    FROM ({_COUNTED}) AS window_counts LEFT JOIN sync.breaker held ON held.app_key = :app_key
""")
_ADD = text(f"""
    INSERT INTO sync.breaker (app_key, since, reason) VALUES (:app_key, {_NOW}, :reason) ON CONFLICT DO NOTHING
""")
_CHANGE = text(f"""
    WITH changed AS (
        UPDATE sync.breaker SET
            state = :state, reason = :reason, good_probes = :good_probes,
            since = CASE WHEN state = :state THEN since ELSE {_NOW} END,
            next_probe_at = CASE WHEN state = :state THEN next_probe_at
                                 ELSE {_NOW} + make_interval(secs => :probe) END
        -- Only from the state that was judged: another process may have been quicker.
        WHERE app_key = :app_key AND state = :was AND good_probes = :had_good_probes
        RETURNING app_key, since
    ), noted AS (
        INSERT INTO sync.breaker_change (app_key, changed_at, state, reason, calls, failures)
        SELECT app_key, since, :state, :reason, :calls, :failures FROM changed WHERE :state <> :was
    ), forgotten AS (
        -- Failures of the outage must not open a breaker again that has just been closed.
        DELETE FROM sync.breaker_count
        WHERE app_key IN (SELECT app_key FROM changed WHERE :state = 'closed' AND :was = 'open')
    )
    SELECT count(*) FROM changed
""")
_FORCE = text(f"""
    WITH forced AS (
        INSERT INTO sync.breaker AS held (app_key, state, since, reason, next_probe_at)
        VALUES (:app_key, :state, {_NOW}, :reason, {_NOW} + make_interval(secs => :probe))
        ON CONFLICT (app_key) DO UPDATE SET
            since = CASE WHEN held.state = excluded.state THEN held.since ELSE excluded.since END,
            state = excluded.state, reason = excluded.reason, good_probes = 0, next_probe_at = excluded.next_probe_at
        RETURNING app_key, next_probe_at
    ), noted AS (
        INSERT INTO sync.breaker_change (app_key, changed_at, state, reason, calls, failures)
        SELECT app_key, {_NOW}, :state, :reason, :calls, :failures FROM forced
    ), forgotten AS (
        DELETE FROM sync.breaker_count WHERE app_key IN (SELECT app_key FROM forced WHERE :state = 'closed')
    )
    SELECT count(*) FROM forced
""")
_CLAIM_PROBE = text(f"""
    UPDATE sync.breaker SET next_probe_at = {_NOW} + make_interval(secs => :every)
    WHERE app_key = :app_key AND state = 'open' AND next_probe_at <= {_NOW}
    RETURNING app_key
""")
# Shop by shop: what one shop's pull brings, another's lacks.
_CLAIM_PULL = text(f"""
    INSERT INTO sync.full_pull AS held (app_key, shop_id, next_at)
    SELECT app_key, :shop_id, {_NOW} + make_interval(secs => :every) FROM sync.breaker
    WHERE app_key = :app_key AND state = 'open'
    ON CONFLICT (shop_id, app_key) DO UPDATE SET next_at = excluded.next_at WHERE held.next_at <= {_NOW}
    RETURNING app_key
""")
_PULL_DUE = text(f"""
    SELECT 1 FROM sync.breaker b WHERE app_key = :app_key AND state = 'open' AND NOT EXISTS (
        SELECT FROM sync.full_pull p WHERE p.app_key = b.app_key AND p.shop_id = :shop_id AND p.next_at > {_NOW}
    )
""")
_CHANGES = text("""
    SELECT changed_at, state, reason, calls, failures FROM sync.breaker_change
    WHERE app_key = :app_key ORDER BY changed_at DESC LIMIT :limit
""")


class Kind(Enum):
    """What a call is for, which decides whether it may be made while the breaker is open."""

    # The platform's time, asked before a poll: cheap, and says nothing about the services behind it.
    CLOCK = "clock"
    POLL = "poll"
    FULL_PULL = "full pull"
    DETAIL = "detail"
    MESSAGE = "message"
    PROBE = "probe"
    # Another service than the orders': the breaker neither holds it back nor learns from it.
    ASIDE = "aside"


_ALWAYS = frozenset({Kind.FULL_PULL, Kind.DETAIL, Kind.MESSAGE})


class Admission(NamedTuple):
    """That a call may be made; handed back with its outcome."""

    kind: Kind
    is_probe: bool = False


class BreakerStatus(NamedTuple):
    """A breaker as the database has it at ``looked_at``. Times are aware.

    ``since`` is when this state began, None for a breaker that has never opened. ``next_probe_at`` says when one is due
    while it is open, and means nothing while it is closed.
    """

    looked_at: datetime
    is_open: bool
    reason: str
    counts: Counts
    good_probes: int
    since: datetime | None
    next_probe_at: datetime | None


class BreakerChange(NamedTuple):
    """An opening (``state`` is open) or closing in the past, with the counts of its window. ``changed_at`` is aware."""

    changed_at: datetime
    state: str
    reason: str
    counts: Counts


class Breaker:
    """The breaker of one app key, as one process sees it. Safe to use from several threads."""

    def __init__(
        self,
        engine: Engine,
        app_key: str,
        settings: BreakerSettings = DEFAULT_BREAKER,
        *,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        """Prepare; no round trip is made yet.

        Args:
            engine: of the database that all processes share.
            app_key: whose calls.
            settings: the thresholds.
            clock: aware time for tests that drive it; the database's own if left out.

        """
        self.app_key = app_key
        self.settings = settings
        self._side = side_connection(engine)
        self._clock = clock
        self._lock = Lock()
        self._calls = 0
        self._failures = 0
        self._flushed_at = -math.inf
        self._is_open = False
        # A probe that was spent on the platform's time is still owed a real call until then.
        self._owed_until = -math.inf

    def state(self) -> BreakerStatus:
        """Return where the breaker stands now.

        Raises:
            TransientError: the database does not answer.

        """
        return _status(self._run(_READ, window=self.settings.window_seconds)[0])

    def changes(self, limit: int = 100) -> list[BreakerChange]:
        """Return the last openings and closings, newest first.

        Raises:
            TransientError: the database does not answer.

        """
        rows = self._run(_CHANGES, limit=limit)
        return [BreakerChange(row[0], row[1], row[2], Counts(row[3], row[4])) for row in rows]

    def is_open(self) -> bool:
        """Return whether it was open when this process last looked, a second ago at most.

        Where the database does not answer, what was known last holds: a safety device must not be what stops all.
        """
        if time.monotonic() - self._flushed_at >= FLUSH_SECONDS:
            try:
                self.flush()
            except TransientError as problem:
                logger.warning("%s; what was known last holds: %s", problem, "open" if self._is_open else "closed")
        return self._is_open

    def admit(self, kind: Kind, attempted: str) -> Admission:
        """Let a call pass, or raise BreakerOpenError. What comes of it has to be recorded.

        Args:
            kind: what the call is for.
            attempted: for messages.

        Raises:
            BreakerOpenError: too many calls fail, this one waits until they do not.
            TransientError: it is open, and the database does not answer.

        """
        if not self.is_open() or kind in _ALWAYS:
            return Admission(kind)
        if self._takes_owed_probe(kind) or self._run(_CLAIM_PROBE, every=self.settings.probe_seconds):
            return Admission(kind, is_probe=True)
        status = self.state()
        with self._lock:
            self._is_open = status.is_open
        if not status.is_open:
            return Admission(kind)
        raise _refusal(self.app_key, status, attempted)

    def record(self, admission: Admission, *, failed: bool) -> None:
        """Note what came of a call: whether the platform failed, not whether it said no.

        Raises:
            TransientError: the database does not answer.

        """
        if admission.is_probe:
            if failed or admission.kind is not Kind.CLOCK:
                self._judge_probe(went_through=not failed)
            else:
                with self._lock:
                    self._owed_until = time.monotonic() + self.settings.probe_seconds
            return
        with self._lock:
            # What goes on while it is open is neither a probe nor a reason to open it.
            if self._is_open:
                return
            self._calls += 1
            self._failures += failed
            is_due = failed or self._calls >= FLUSH_CALLS
        if is_due or time.monotonic() - self._flushed_at >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered, read what others found, and open if that is too much.

        Raises:
            TransientError: the database does not answer; what was gathered is lost.

        """
        with self._lock:
            calls, self._calls = self._calls, 0
            failures, self._failures = self._failures, 0
            self._flushed_at = time.monotonic()
        window = self.settings.window_seconds
        (row,) = self._run(
            _FLUSH,
            calls=calls,
            failures=failures,
            window=window,
            span_seconds=window / SPANS_A_WINDOW,
            spans_kept=SPANS_KEPT,
        )
        status = _status(row)
        before = _state_of(status)
        after = after_counting(before, status.counts, self.settings)
        if after != before:
            self._change(before, after, status.counts)
        with self._lock:
            self._is_open = after.is_open

    def force_open(self, reason: str, *, seconds: float) -> None:
        """Open it by hand: no polls and no probes for so long, then probes as ever. ``reason`` says who and why.

        Raises:
            TransientError: the database does not answer.

        """
        self._force(is_open=True, reason=reason, probe_in=seconds)

    def force_closed(self, reason: str) -> None:
        """Close it by hand, and forget the failures that were counted; it opens again when calls go on failing.

        Raises:
            TransientError: the database does not answer.

        """
        self._force(is_open=False, reason=reason, probe_in=0.0)

    def _force(self, *, is_open: bool, reason: str, probe_in: float) -> None:
        counts = self.state().counts
        self._run(
            _FORCE,
            state="open" if is_open else "closed",
            reason=reason,
            probe=probe_in,
            calls=counts.calls,
            failures=counts.failures,
        )
        with self._lock:
            self._is_open = is_open
            self._calls = self._failures = 0

    def full_pull_due(self, shop_id: str) -> bool:
        """Return whether the breaker is open and the shop's last full pull is long enough ago.

        Raises:
            TransientError: the database does not answer.

        """
        return bool(self._run(_PULL_DUE, shop_id=shop_id))

    def full_pull_taken(self, shop_id: str) -> bool:
        """Claim the full pull of a shop that is due; of all processes only the one that gets True shall make it.

        Raises:
            TransientError: the database does not answer.

        """
        return bool(self._run(_CLAIM_PULL, shop_id=shop_id, every=self.settings.pull_seconds))

    def _takes_owed_probe(self, kind: Kind) -> bool:
        with self._lock:
            owed = kind is not Kind.CLOCK and time.monotonic() < self._owed_until
            if owed:
                self._owed_until = -math.inf
            return owed

    def _judge_probe(self, *, went_through: bool) -> None:
        while True:
            status = self.state()
            before = _state_of(status)
            after = after_probe(before, went_through=went_through, settings=self.settings)
            if after == before or self._change(before, after, status.counts):
                break
        with self._lock:
            self._is_open = after.is_open

    def _change(self, before: State, after: State, counts: Counts) -> bool:
        """Move from one state to another, unless another process did; return whether it was us."""
        self._run(_ADD, reason=CLOSED.reason)
        rows = self._run(
            _CHANGE,
            was="open" if before.is_open else "closed",
            had_good_probes=before.good_probes,
            state="open" if after.is_open else "closed",
            reason=after.reason,
            good_probes=after.good_probes,
            calls=counts.calls,
            failures=counts.failures,
            probe=self.settings.probe_seconds,
        )
        return bool(rows[0][0])

    def _run(self, statement: TextClause, **parameters: Any) -> list[Row[Any]]:
        now = self._clock() if self._clock else None
        return self._side.execute(
            statement,
            {"app_key": self.app_key, "now": now} | parameters,
            attempted=f"asking the breaker of app {self.app_key}",
        )


def _status(row: Row[Any]) -> BreakerStatus:
    counts = Counts(row.calls, row.failures)
    if row.reason is None:
        return BreakerStatus(row.looked_at, False, CLOSED.reason, counts, 0, None, None)
    return BreakerStatus(
        row.looked_at,
        row.is_open,
        row.reason,
        counts,
        row.good_probes,
        row.since,
        row.next_probe_at,
    )


def _refusal(app_key: str, status: BreakerStatus, attempted: str) -> BreakerOpenError:
    next_probe_at = status.next_probe_at or status.looked_at
    probe_in = max(0.0, (next_probe_at - status.looked_at).total_seconds())
    return BreakerOpenError(
        attempted,
        f"the breaker of app {app_key} is open since {status.since:%F %T %z}: {status.reason}; the next probe is due "
        f"in {probe_in:.0f} s, and once an hour each shop is pulled in full",
        remedy=IT_CLOSES_ITSELF,
        retry_in_seconds=probe_in,
    )


def _state_of(status: BreakerStatus) -> State:
    return State(status.is_open, status.reason, status.good_probes)


_shared: WeakValueDictionary[tuple[Engine, str], Breaker] = WeakValueDictionary()
_shared_lock = Lock()


def shared_breaker(engine: Engine, app_key: str) -> Breaker:
    """Return this process's breaker of an app key: its shops and threads gather their counts together."""
    with _shared_lock:
        breaker = _shared.get((engine, app_key))
        if breaker is None:
            breaker = _shared[engine, app_key] = Breaker(engine, app_key)
        return breaker
