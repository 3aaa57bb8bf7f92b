"""The rate budget of an app key, shared by all processes: never a call too many in any minute.

Belongs here: when the next call may leave, and bans. Not here: whether a call makes sense (breaker.py), nor how
the rest of a failed call's wait is spent (retry.py).

The platform grants so many calls a minute. They become a timetable of evenly spaced departures, kept as one moment
in one row (GCRA): who calls takes the next departure, or the next few where calls are many, in one statement, and
leaves at that time. Evenly, as the recorded rate bans last one or two seconds, so bursts are what is punished.
A process that dies loses the few departures it holds, no more. Only the server's clock is asked for the time;
ours only measures spans. A bucket of calls (pyrate-limiter's in Postgres) lets a minute's calls go in its first
seconds and some too many; docs/performance.md has what was measured.
"""

from __future__ import annotations

import math
import time
from collections import deque
from datetime import datetime
from itertools import islice
from threading import Lock
from typing import NamedTuple
from weakref import WeakValueDictionary

from sqlalchemy import Engine, text

from order_pipeline.traffic.errors import HeldBackError
from order_pipeline.traffic.side_connection import side_connection

WINDOW_SECONDS = 60.0

# The platform counts when calls arrive, we when they leave by the timetable. In between lie, at most:
# departures that nobody took in time and that are still good, so that an uneven pace loses none,
CREDIT_SECONDS = 0.5
# the time a process may sleep through its departure (a departure later than that is not used),
LATENESS_SECONDS = 0.5
# and what the network adds to one call but not to another.
NETWORK_SECONDS = 0.5
# Arrivals of a minute come from this much more than a minute of timetable; it costs 2.4 % of the budget.
MARGIN_SECONDS = CREDIT_SECONDS + LATENESS_SECONDS + NETWORK_SECONDS

# Above 10 calls a second departures are taken several at once, up to this much of the timetable: ten round trips a
# second for each process, and a process that dies takes no more than a tenth of a second with it.
BATCH_SECONDS = 0.1
# A request of several calls waits for the last one's departure, this long at most: a fifth of what a call may be late.
TOGETHER_SECONDS = 0.1
# No call leaves with an older look at bans: a ban that one process met stops all others within this time.
LOOK_SECONDS = 0.1

# Rate bans last seconds. Longer ones mean that the daily quota is used up: that is not slept through.
LONGEST_WAIT_SECONDS = 180.0

WAIT_OR_RAISE = "run fewer processes on this app key at once, or have its calls_per_minute raised by the platform"
QUOTA_USED_UP = (
    "the app's quota is used up: its shops pause until then by themselves; have the quota raised by the platform, and "
    "if that lifts the ban at once, set banned_until in sync.rate_budget to -infinity"
)

_TAKE = text("""
    UPDATE sync.rate_budget
    SET next_at = greatest(next_at, banned_until, clock_timestamp() - make_interval(secs => :credit))
                  + make_interval(secs => :count * :interval)
    WHERE app_key = :app_key
      AND greatest(next_at, banned_until) <= clock_timestamp() + make_interval(secs => :patience)
    RETURNING extract(epoch FROM next_at - make_interval(secs => :count * :interval) - clock_timestamp())::float
""")
_LOOK = text("""
    SELECT extract(epoch FROM greatest(next_at, banned_until, '2000-01-01') - clock_timestamp())::float,
           extract(epoch FROM greatest(banned_until, '2000-01-01') - clock_timestamp())::float
    FROM sync.rate_budget WHERE app_key = :app_key
""")
_ADD = text("INSERT INTO sync.rate_budget (app_key) VALUES (:app_key) ON CONFLICT DO NOTHING")
_BAN = text("""
    INSERT INTO sync.rate_budget AS held (app_key, banned_until)
    VALUES (:app_key, clock_timestamp() + make_interval(secs => :seconds))
    ON CONFLICT (app_key) DO UPDATE SET banned_until = greatest(held.banned_until, excluded.banned_until)
""")
_BANNED_UNTIL = text(
    "SELECT banned_until FROM sync.rate_budget WHERE app_key = :app_key AND banned_until > clock_timestamp()"
)


def interval_seconds(calls_per_minute: int) -> float:
    """Return the span between two departures: no minute of arrivals can hold more than ``calls_per_minute``.

    Rounded up to whole microseconds, which is what the server counts in.
    """
    return math.ceil((WINDOW_SECONDS + MARGIN_SECONDS) / calls_per_minute * 1e6) / 1e6


def next_batch(taken: int, unused: int, interval: float) -> int:
    """Return how many departures to take next: twice as many while all were used, one after some were not."""
    most = max(1, int(BATCH_SECONDS / interval))
    return 1 if unused else min(2 * taken, most)


class Departure(NamedTuple):
    """When a call may leave, on this process's monotonic clock: never before ``earliest``, nor after ``latest``."""

    earliest: float
    latest: float


def departures(first_in: float, count: int, interval: float, sent_at: float, received_at: float) -> list[Departure]:
    """Lay a grant out on our monotonic clock.

    The server looked at its clock somewhere between ``sent_at`` and ``received_at``, so a departure is not before
    the later of the two says so, and too late by the earlier.

    Args:
        first_in: seconds from the server's look to the first departure; below zero: it has passed already.
        count: how many departures.
        interval: seconds between two.
        sent_at: when we asked, monotonic seconds.
        received_at: when we were told, monotonic seconds.

    """
    found = []
    for number in range(count):
        wait = first_in + number * interval
        found.append(Departure(received_at + wait, sent_at + max(wait, 0.0) + LATENESS_SECONDS))
    return found


class Budget:
    """The budget of one app key, as one process sees it. Safe to use from several threads."""

    def __init__(self, engine: Engine, app_key: str, calls_per_minute: int | None) -> None:
        """Prepare; no round trip is made yet.

        Args:
            engine: of the database that all processes share.
            app_key: whose budget.
            calls_per_minute: what the platform grants it; None: no limit, then only bans are asked for, by one
                statement in LOOK_SECONDS.

        """
        self.app_key = app_key
        self.calls_per_minute = calls_per_minute
        self._side = side_connection(engine)
        self._interval = interval_seconds(calls_per_minute) if calls_per_minute else None
        # Held while waiting for a departure: a process reserves no further ones ahead, which would be lost with it.
        self._turn = Lock()
        self._held: deque[Departure] = deque()
        self._batch = 1
        # Begins with one departure.
        self._unused = 1
        self._looked_at = -math.inf
        self._banned_until = -math.inf
        self._ban_noted_at = -math.inf

    def acquire(self, attempted: str, patience_seconds: float = LONGEST_WAIT_SECONDS) -> float:
        """Wait until one call may leave, and return the seconds waited.

        Args:
            attempted: for messages, the call that wants to leave.
            patience_seconds: the longest wait, at most LONGEST_WAIT_SECONDS.

        Raises:
            HeldBackError: no call may leave within that time: too many others wait, or the platform's ban lasts
                longer. Raised at once where that is known, ``ban_seconds`` says how long it will be.
            TransientError: the database does not answer.

        """
        began = time.monotonic()
        self.acquire_some(attempted, 1, patience_seconds)
        return time.monotonic() - began

    def acquire_some(self, attempted: str, most: int, patience_seconds: float = LONGEST_WAIT_SECONDS) -> int:
        """Wait until calls may leave in one request, and return how many: at least one, ``most`` at most.

        As many as have their departure within TOGETHER_SECONDS: so the first of them leaves no later than a call
        alone may, and the margin of the timetable holds for both. Raises as ``acquire``.
        """
        began = time.monotonic()
        deadline = began + min(patience_seconds, LONGEST_WAIT_SECONDS)
        self._obey_known_ban(attempted, deadline)
        if self._interval is None:
            while time.monotonic() - self._looked_at > LOOK_SECONDS:
                self._look(attempted, deadline)
            return most
        if not self._turn.acquire(timeout=max(0.0, deadline - began)):
            raise self._too_many(attempted, patience_seconds)
        try:
            while not (leaving := self._leave(attempted, most, deadline, self._interval)):
                pass
        finally:
            self._turn.release()
        return leaving

    def ban(self, seconds: float) -> None:
        """Stop every process's calls of this app key for some seconds, as the platform said.

        Raises:
            TransientError: the database does not answer; the others will meet the ban themselves.

        """
        banned_until = time.monotonic() + seconds
        self._note_ban(banned_until)
        parameters = {"app_key": self.app_key, "seconds": seconds}
        self._side.execute(_BAN, parameters, attempted=f"telling all processes of the ban of app {self.app_key}")
        # Once more: a look or a departure granted just before it was stored may have said that there is none.
        self._note_ban(banned_until)

    def banned_until(self) -> datetime | None:
        """Return the end of the ban that holds, aware, None without one.

        Raises:
            TransientError: the database does not answer.

        """
        rows = self._side.execute(
            _BANNED_UNTIL, {"app_key": self.app_key}, attempted=f"looking for a ban of app {self.app_key}"
        )
        return rows[0][0] if rows else None

    def _note_ban(self, banned_until: float) -> None:
        self._banned_until = max(self._banned_until, banned_until)
        self._ban_noted_at = time.monotonic()
        self._looked_at = -math.inf

    def _leave(self, attempted: str, most: int, deadline: float, interval: float) -> int:
        """Use the next departures: wait for the last of them, and return how many are still good then."""
        self._drop_missed()
        if not self._held:
            self._take(attempted, deadline, interval)
            if not self._held:
                return 0
        ready_at = max(self._held[0].earliest, self._banned_until)
        if ready_at > deadline:
            # It stays held for a thread with more patience.
            raise self._too_many(attempted, ready_at - time.monotonic())
        last_at = min(max(ready_at, time.monotonic()) + TOGETHER_SECONDS, deadline)
        count = sum(each.earliest <= last_at for each in islice(self._held, most))
        time.sleep(max(0.0, max(self._held[count - 1].earliest, ready_at) - time.monotonic()))
        if time.monotonic() - self._looked_at > LOOK_SECONDS:
            self._look(attempted, deadline)
        leaving = [self._held.popleft() for _ in range(count)]
        now = time.monotonic()
        good = sum(each.latest >= now and each.earliest >= self._banned_until for each in leaving)
        self._unused += count - good
        return good

    def _drop_missed(self) -> None:
        now = time.monotonic()
        while self._held and self._held[0].latest < now:
            self._held.popleft()
            self._unused += 1

    def _take(self, attempted: str, deadline: float, interval: float) -> None:
        count = self._batch = next_batch(self._batch, self._unused, interval)
        self._unused = 0
        sent_at = time.monotonic()
        rows = self._side.execute(
            _TAKE,
            {
                "app_key": self.app_key,
                "count": count,
                "interval": interval,
                "credit": CREDIT_SECONDS,
                "patience": max(0.0, deadline - sent_at),
            },
            attempted=self._asking(attempted),
        )
        received_at = time.monotonic()
        if rows:
            # They are after every ban that the server knew of.
            self._looked_at = sent_at
            if self._ban_noted_at < sent_at:
                self._banned_until = -math.inf
            self._held.extend(departures(rows[0][0], count, interval, sent_at, received_at))
            return
        wait = self._look(attempted, deadline)
        if wait is None:
            self._side.execute(_ADD, {"app_key": self.app_key}, attempted=self._asking(attempted))
        elif wait > deadline - time.monotonic():
            raise self._too_many(attempted, wait)

    def _look(self, attempted: str, deadline: float) -> float | None:
        """Learn of bans, and return the wait for the next free departure, None without a timetable."""
        sent_at = time.monotonic()
        rows = self._side.execute(_LOOK, {"app_key": self.app_key}, attempted=self._asking(attempted))
        self._looked_at = sent_at
        if not rows:
            return None
        wait, ban = rows[0]
        # By the earlier bound: a departure right at the end of the ban is a good one.
        self._banned_until = sent_at + ban
        self._obey_known_ban(attempted, deadline)
        return float(wait)

    def _obey_known_ban(self, attempted: str, deadline: float) -> None:
        """Raise HeldBackError for a ban that outlasts the deadline; without a limit, sleep through a shorter one."""
        now = time.monotonic()
        if now >= self._banned_until:
            return
        if self._banned_until > deadline:
            # Not from memory: a person may have lifted it.
            if now - self._looked_at > LOOK_SECONDS:
                return
            raise self._banned(attempted, self._banned_until - now)
        if self._interval is None:
            time.sleep(self._banned_until - now)

    def _asking(self, attempted: str) -> str:
        return f"{attempted}: taking a call from the rate budget of app {self.app_key}"

    def _banned(self, attempted: str, seconds: float) -> HeldBackError:
        return HeldBackError(
            attempted,
            f"the platform has banned all calls of app {self.app_key} for {seconds:.0f} more seconds",
            remedy=QUOTA_USED_UP if seconds > LONGEST_WAIT_SECONDS else "wait for its end",
            ban_seconds=seconds,
        )

    def _too_many(self, attempted: str, seconds: float) -> HeldBackError:
        return HeldBackError(
            attempted,
            f"{self.calls_per_minute} calls a minute of app {self.app_key} are taken by others for at least "
            f"{seconds:.0f} seconds",
            remedy=WAIT_OR_RAISE,
            ban_seconds=seconds,
        )


_shared: WeakValueDictionary[tuple[Engine, str, int | None], Budget] = WeakValueDictionary()
_shared_lock = Lock()


def shared_budget(engine: Engine, app_key: str, calls_per_minute: int | None) -> Budget:
    """Return this process's budget of an app key: its shops and threads take departures one after the other."""
    key = (engine, app_key, calls_per_minute)
    with _shared_lock:
        budget = _shared.get(key)
        if budget is None:
            budget = _shared[key] = Budget(engine, app_key, calls_per_minute)
        return budget
