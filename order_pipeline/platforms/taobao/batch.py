"""Several calls in one request (Taobao contract §1.6): how it is written, taken apart, and how many it shall hold.

Belongs here: the form of such a request and the rule of its size. Not here: sending it (client.py), what a single
answer says (decoding.py), what becomes of calls that came to nothing (calls.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from threading import Lock
from urllib.parse import quote_plus

from order_pipeline.traffic.errors import AuthorizationError, CallError, ThrottledError

SINGLE_PATH, BATCH_PATH = "/router/rest", "/router/batch"
CONTENT_TYPE = "text/plain;charset=utf-8"

_SEPARATOR = b"\r\n-S-\r\n"
_SHARED = "#PUBLIC#"
_NO_PARAMETERS = "N"

# The platform's maximum is not established; nobody is known to have been refused twenty. More would gain nothing: of
# the millisecond that a request costs us, a twentieth is left to each call.
MOST_CALLS = 20
# After so many good requests of one size a larger one is tried, up to what was refused.
GOOD_UNTIL_LARGER = 10
# Where requests of two calls come to nothing, calls are made one by one for so long.
ALONE_SECONDS = 300.0

# Field lists and type lists are the same in every call; dates and page numbers come and go.
quote = lru_cache(maxsize=1024)(quote_plus)


def batch_url(gateway_url: str) -> str | None:
    """Return where a gateway takes several calls in one request, None where its address does not tell."""
    if not gateway_url.endswith(SINGLE_PATH):
        return None
    return gateway_url.removesuffix(SINGLE_PATH) + BATCH_PATH


def form(params: Mapping[str, str]) -> str:
    """Write parameters as a form or a query."""
    return "&".join([f"{quote(name)}={quote(value)}" for name, value in params.items()])


def write(shared: Mapping[str, str], own: Sequence[Mapping[str, str]]) -> bytes:
    """Write the body of a request: the parameters that all calls share, and each call's own."""
    segments = [_SHARED + form(shared), *(form(params) or _NO_PARAMETERS for params in own)]
    return _SEPARATOR.join(segment.encode("ascii") for segment in segments)


def take_apart(body: bytes) -> list[bytes]:
    """Return the answers in their order. As many as calls, or else the first is the error of the whole request."""
    return body.split(_SEPARATOR)


class BatchSize:
    """How many calls to put into one request, learnt from what came of earlier ones. Safe to use from several threads.

    Smaller after a request that came to nothing, larger again after good ones, but not as large as one that was
    refused. One: calls are made alone.
    """

    def __init__(self, most: int = MOST_CALLS, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Begin with the most; ``monotonic``: seconds on a clock that never jumps."""
        self._monotonic = monotonic
        self._most = self._size = most
        # The smallest that is not to be tried.
        self._ceiling = most + 1
        self._good = 0
        self._alone_until = -float("inf")
        self._lock = Lock()

    def now(self) -> int:
        """Return how many calls the next request may hold."""
        with self._lock:
            return 1 if self._monotonic() < self._alone_until else self._size

    def went_through(self, count: int) -> None:
        """Learn that a request of so many calls was answered."""
        with self._lock:
            if count < self._size:
                return
            self._good += 1
            if self._good >= GOOD_UNTIL_LARGER:
                self._good = 0
                halfway = (self._size + self._ceiling) // 2
                self._size = min(2 * self._size, halfway if self._ceiling <= self._most else self._most)

    def came_to_nothing(self, count: int, error: CallError) -> None:
        """Learn that a request of so many calls brought nothing at all.

        Calls that were too many for now say nothing about the request. One that was refused was too large, or is not
        offered to us at all; one that was lost may have taken too long.
        """
        if isinstance(error, ThrottledError):
            return
        with self._lock:
            self._good = 0
            if not error.retryable:
                self._ceiling = min(self._ceiling, max(count, 3))
            smaller = count // 2 if error.retryable else count // 4
            if smaller < 2 or isinstance(error, AuthorizationError):
                smaller = 2
                self._alone_until = self._monotonic() + ALONE_SECONDS
            self._size = min(self._size, smaller)
