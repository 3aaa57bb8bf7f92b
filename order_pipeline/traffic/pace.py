"""A slower pace than the budget allows, for work that shall leave room for other work.

Belongs here: spreading one process's calls evenly. Not here: the limit that all processes share (budget.py), which
every call keeps to besides.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

WINDOW_SECONDS = 60.0


class Pace:
    """So many calls a minute and no more, evenly spaced. Safe to use from several threads."""

    def __init__(
        self,
        calls_per_minute: float | None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Prepare; None is no limit. The clock and the sleep are the real ones if left out."""
        self._interval = WINDOW_SECONDS / calls_per_minute if calls_per_minute else 0.0
        self._monotonic = monotonic
        self._sleep = sleep
        self._next_at = monotonic()
        self._lock = Lock()

    def wait(self) -> None:
        """Wait for this call's turn. Time in which nobody called is not made up for."""
        if not self._interval:
            return
        with self._lock:
            now = self._monotonic()
            turn = max(self._next_at, now)
            self._next_at = turn + self._interval
        if turn > now:
            self._sleep(turn - now)
