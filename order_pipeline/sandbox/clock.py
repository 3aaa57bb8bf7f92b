"""The platform's clock: the real one, or one that a test drives.

Belongs here: what time it is on the platform, and the platform's text form of a moment. Not here: what
happens when time passes (``ledger``, ``marketplace``).
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Protocol

# The platform writes GMT+8 everywhere (contract 1.2); China has had no daylight saving since 1991.
SHANGHAI = timezone(timedelta(hours=8), "Asia/Shanghai")
SHANGHAI_OFFSET_SECONDS = 8 * 3600
DAY_SECONDS = 86_400
WALL_FORMAT = "%Y-%m-%d %H:%M:%S"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR_AND_MINUTE = [f" {minute // 60:02d}:{minute % 60:02d}:" for minute in range(1440)]
_SECOND = [f"{second:02d}" for second in range(60)]


class Clock(Protocol):
    """Says what time it is on the platform, in whole milliseconds since 1970 (UTC)."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 00:00:00 UTC; never runs backwards by design of its owner."""
        ...


class RealClock:
    """The clock of this computer."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 00:00:00 UTC."""
        return time.time_ns() // 1_000_000


class DrivenClock:
    """A clock that stands still until it is set or advanced; safe to drive from another thread."""

    def __init__(self, now: datetime) -> None:
        self._lock = threading.Lock()
        self._now_ms = to_ms(now)

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 00:00:00 UTC."""
        with self._lock:
            return self._now_ms

    def set(self, now: datetime) -> None:
        """Move to an aware moment. ValueError if that would turn time back."""
        self._move(to_ms(now))

    def advance(self, seconds: float) -> None:
        """Move forward. ValueError if ``seconds`` is negative."""
        with self._lock:
            target = self._now_ms + round(seconds * 1000)
        self._move(target)

    def _move(self, target_ms: int) -> None:
        with self._lock:
            if target_ms < self._now_ms:
                raise ValueError("the sandbox clock only moves forward: orders cannot un-happen")
            self._now_ms = target_ms


def to_ms(moment: datetime) -> int:
    """Milliseconds since 1970 of an aware datetime. ValueError for a naive one."""
    if moment.tzinfo is None:
        raise ValueError("a moment needs a time zone; write datetime(..., tzinfo=SHANGHAI)")
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def from_ms(milliseconds: int) -> datetime:
    """Return the aware Shanghai datetime of milliseconds since 1970."""
    return (_EPOCH + timedelta(milliseconds=milliseconds)).astimezone(SHANGHAI)


@lru_cache(maxsize=4096)
def _day_text(day: int) -> str:
    return (_EPOCH + timedelta(days=day)).strftime("%Y-%m-%d")


def wall_text(seconds: int) -> str:
    """Return the platform's text (``yyyy-MM-dd HH:mm:ss``, GMT+8) of whole seconds since 1970."""
    day, second = divmod(seconds + SHANGHAI_OFFSET_SECONDS, DAY_SECONDS)
    minute, second = divmod(second, 60)
    return _day_text(day) + _HOUR_AND_MINUTE[minute] + _SECOND[second]


def parse_wall_text(text: str) -> int:
    """Whole seconds since 1970 of a platform text (GMT+8). ValueError if it is not one."""
    # strptime also takes "2026-1-2 3:4:5", which the platform's documented form does not allow.
    if len(text) != len("2026-01-01 00:00:00"):
        raise ValueError(f"not a yyyy-MM-dd HH:mm:ss text: {text!r}")
    return int(datetime.strptime(text, WALL_FORMAT).replace(tzinfo=SHANGHAI).timestamp())
