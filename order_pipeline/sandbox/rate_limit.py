"""How often an app may call in a minute.

Belongs here: counting calls in real time, also when the platform's clock is driven. Not here: the error a
refused call gets (``protocol``).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from math import ceil

WINDOW_SECONDS = 60.0


class RateLimit:
    """At most ``calls`` accepted calls in any 60 seconds; refused calls do not count."""

    def __init__(self, calls: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        if calls < 1:
            raise ValueError("calls_per_minute must be at least 1; leave it out for no limit")
        self._calls = calls
        self._monotonic = monotonic
        self._accepted: deque[float] = deque()

    def refused_for(self) -> int:
        """Count a call: 0 if it is accepted, else the whole seconds until one would be."""
        now = self._monotonic()
        while self._accepted and self._accepted[0] <= now - WINDOW_SECONDS:
            self._accepted.popleft()
        if len(self._accepted) < self._calls:
            self._accepted.append(now)
            return 0
        return max(1, ceil(self._accepted[0] + WINDOW_SECONDS - now))
