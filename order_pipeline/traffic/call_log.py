"""The book of calls: what was called, how long it took and what came of it.

Belongs here: the record of one attempt and the thread-safe, bounded book they are written into. Not here: where
the records are stored in the end, nor any judgement on them.
"""

from __future__ import annotations

from collections import Counter, deque
from datetime import datetime
from threading import Lock

import msgspec

# Enough for the calls between two drains of a busy run (an hour at 25 calls a second); about 20 MB when full.
DEFAULT_CAPACITY = 100_000

OK = "ok"


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of a call.

    Attributes:
        shop_id: on behalf of which shop.
        method: the platform's name of the method.
        started_at: aware, by the clock of this machine.
        seconds: from the request to the last byte, or to the failure.
        outcome: ``ok`` or the name of the error class.
        code: the platform's code of a refusal, ``code`` or ``code/sub_code``.
        request_id: the platform's own number of the call, where it sent one.
        together: how many calls the request held that it was made in.

    """

    shop_id: str
    method: str
    started_at: datetime
    seconds: float
    outcome: str
    code: str | None = None
    request_id: str | None = None
    together: int = 1


class CallLog:
    """A thread-safe book of calls that forgets the oldest undrained ones when it is full, but never a total."""

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        self._calls: deque[Call] = deque(maxlen=capacity)
        self._lock = Lock()
        self._by_method: Counter[str] = Counter()
        self._failed_by_method: Counter[str] = Counter()
        self._forgotten = 0

    def write(self, call: Call) -> None:
        """Add one attempt."""
        with self._lock:
            if len(self._calls) == self._calls.maxlen:
                self._forgotten += 1
            self._calls.append(call)
            self._by_method[call.method] += 1
            if call.outcome != OK:
                self._failed_by_method[call.method] += 1

    def drain(self) -> list[Call]:
        """Hand over the calls written since the last drain, oldest first. Totals stay."""
        with self._lock:
            calls = list(self._calls)
            self._calls.clear()
            return calls

    @property
    def total(self) -> int:
        """How many attempts were ever written."""
        with self._lock:
            return self._by_method.total()

    @property
    def failed(self) -> int:
        """How many of them did not end ``ok``."""
        with self._lock:
            return self._failed_by_method.total()

    @property
    def forgotten(self) -> int:
        """How many records were pushed out before anyone drained them; they are still in the totals."""
        with self._lock:
            return self._forgotten

    @property
    def total_by_method(self) -> dict[str, int]:
        """Attempts by method."""
        with self._lock:
            return dict(self._by_method)

    @property
    def failed_by_method(self) -> dict[str, int]:
        """Failed attempts by method."""
        with self._lock:
            return dict(self._failed_by_method)
