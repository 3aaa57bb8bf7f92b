"""How many calls are in flight at once: enough to use up the rate budget, however slow the platform answers.

Belongs here: the rule and the threads. Not here: what they do (enrichment.py), when a call may leave (traffic).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from order_pipeline.traffic.call_log import Call

Taken = TypeVar("Taken")
Brought = TypeVar("Brought")

# A request costs about 1 ms of CPU, so more threads pay only where the platform answers slowly.
FEWEST_LANES = 8
# 100 calls a second at 0.4 s each; beyond that a process more is the better help.
MOST_LANES = 64
# Answers do not come evenly: some take twice as long as the others.
SPARE = 1.5
# What one process can send, read and store a second, twenty to a request; it limits where no budget does.
MOST_CALLS_PER_SECOND = 3_000.0
# Above it the time of a call is our own: another thread would only make each of them wait longer.
BUSY_SHARE = 0.7
# Fewer say too little.
LEAST_CALLS = 20


def lanes_for(calls: Sequence[Call], calls_per_minute: int | None, cpu_share: float, lanes: int) -> int:
    """Return how many calls to have in flight next: the rate that is granted times how long a call takes. Pure.

    Never fewer than now: a pause of the platform's slowness saves nothing, and threads that wait cost next to nothing.

    Args:
        calls: made of late, with the seconds each took.
        calls_per_minute: what the platform grants; None: no limit.
        cpu_share: of the time in which they were made, how much this process computed.
        lanes: how many are in flight now.

    """
    if len(calls) < LEAST_CALLS or cpu_share > BUSY_SHARE:
        return lanes
    rate = min(calls_per_minute / 60 if calls_per_minute else MOST_CALLS_PER_SECOND, MOST_CALLS_PER_SECOND)
    # Calls of one request take their time together.
    mean = sum(call.seconds / call.together for call in calls) / len(calls)
    return max(lanes, min(math.ceil(SPARE * rate * mean), MOST_LANES))


class Lanes:
    """Threads that can become more while they work. To be closed."""

    def __init__(self, count: int = FEWEST_LANES) -> None:
        self.count = count
        self._pool = self._opened()
        self._earlier: list[ThreadPoolExecutor] = []

    def map(self, work: Callable[[Taken], Brought], taken: Iterable[Taken]) -> Iterator[Brought]:
        """Begin the work at once, and return its results in order. The caller's time limit holds in the threads too."""
        limits = (copy_context() for _ in itertools.count())
        return self._pool.map(lambda each, limit: limit.run(work, each), taken, limits)

    def widen(self, count: int) -> None:
        """Let what is begun from now on run in so many threads; what has begun goes on."""
        if count != self.count:
            self.count = count
            self._pool.shutdown(wait=False)
            self._earlier.append(self._pool)
            self._pool = self._opened()

    def close(self) -> None:
        """Wait for what runs, and drop what is queued."""
        for pool in (*self._earlier, self._pool):
            pool.shutdown(wait=True, cancel_futures=True)

    def _opened(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.count, thread_name_prefix="fetch-details")
