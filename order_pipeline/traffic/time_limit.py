"""A time by which all calls of some piece of work have to be over, however many of them there are.

Belongs here: setting it and asking what is left. Not here: what keeps to it: the wait for the budget (budget.py), the
next attempt (retry.py), the bytes of an answer (platforms/<name>/transport.py).

It holds for the thread that set it. A call's own limits hold beside it: the earlier one counts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_ends_at: ContextVar[float] = ContextVar("ends_at", default=math.inf)


@contextmanager
def over_within(seconds: float) -> Iterator[None]:
    """Let all calls that the block makes be over so many seconds from now; one inside another can only shorten it."""
    token = _ends_at.set(min(_ends_at.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _ends_at.reset(token)


def seconds_left() -> float:
    """Return the seconds that are left, not below zero; infinite: there is no limit."""
    return max(0.0, _ends_at.get() - time.monotonic())
