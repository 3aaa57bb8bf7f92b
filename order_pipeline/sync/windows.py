"""Which span of platform time to ask for next, and how far the watermark may move. Pure: time is passed in.

Belongs here: days, windows, the watermark's rule (architecture §3). Not here: asking, storing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, timezone

from order_pipeline.configuration import DEFAULT_OVERLAP_MINUTES
from order_pipeline.platforms.protocol import Window

# China has had one zone and no daylight saving since 1991, and no platform serves older orders.
SHANGHAI = timezone(timedelta(hours=8), "Asia/Shanghai")

# A row may enter the seller database after its modified moment; big sales need about 30 minutes (contract §7.3).
DEFAULT_OVERLAP = timedelta(minutes=DEFAULT_OVERLAP_MINUTES)
# The second that is running now can still fill: nothing younger than this counts as settled.
SETTLE_LAG = timedelta(seconds=3)
# The platform lists three months back (contract §3.1); a day less keeps clear of its edge.
HISTORY_DAYS = 90


def day_window(day: date) -> Window:
    """Return the day from midnight to midnight, Shanghai."""
    start = datetime.combine(day, time(), SHANGHAI)
    return Window(start, start + timedelta(days=1))


def day_of(moment: datetime) -> date:
    """Return the Shanghai day of a moment."""
    return moment.astimezone(SHANGHAI).date()


def days_between(first: date, last: date) -> Iterator[date]:
    """Yield the days from first to last, both included."""
    for number in range((last - first).days + 1):
        yield first + timedelta(days=number)


def due_history_days(began: datetime, now: datetime, loaded: set[date], *, days: int = HISTORY_DAYS) -> list[date]:
    """Return the created-days that the first load still has to bring in, oldest first.

    ``began`` is where the increment watermark began: later days come as changes. Days that the platform lists no
    longer are left out.
    """
    last = day_of(began)
    first = max(last, day_of(now)) - timedelta(days=days)
    return [day for day in days_between(first, last) if day not in loaded]


def created_window(day: date, now: datetime) -> Window | None:
    """Return what to ask for to load everything created on that day so far; None: the day has not begun."""
    return _until(day_window(day), now)


def changed_window(
    day: date,
    watermark: datetime | None,
    now: datetime,
    *,
    overlap: timedelta = DEFAULT_OVERLAP,
    whole_day: bool = False,
    last: date | None = None,
) -> Window | None:
    """Return what to ask for to bring the changes of that day up to date; None: the day has not begun.

    From the overlap before the watermark where the watermark is near; the whole day where it is not: a day ahead
    of it, or one long closed that somebody wants read again. Never crosses midnight, save where a list may be asked
    for several days at once, up to and with ``last``.
    """
    first = day_window(day)
    window = _until(Window(first.start, day_window(last or day).end), now)
    if window is None or watermark is None or whole_day:
        return window
    start = watermark - overlap
    if window.start < start < first.end:
        return Window(min(start, window.end - timedelta(seconds=1)), window.end)
    return window


def due_days(watermark: datetime, now: datetime, *, overlap: timedelta = DEFAULT_OVERLAP) -> list[date]:
    """Return the days that a pass has to touch, oldest first, so that yesterday is closed before today is opened."""
    return list(days_between(day_of(watermark - overlap), day_of(now)))


def moved_watermark(
    watermark: datetime, stored: Window, now: datetime, *, settle_lag: timedelta = SETTLE_LAG
) -> datetime:
    """Return where the watermark stands once the whole window is stored.

    Never backwards, never over a gap, never past the platform's clock minus the settle lag.
    """
    if stored.start > watermark:
        return watermark
    return max(watermark, min(stored.end, now - settle_lag))


def _until(window: Window, now: datetime) -> Window | None:
    if now <= window.start:
        return None
    return Window(window.start, min(window.end, now))
