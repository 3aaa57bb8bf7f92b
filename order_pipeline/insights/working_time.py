"""Hours that count while a parcel travels: those of the days on which carriers stand still do not.

Belongs here: the calendar, and waiting measured by it. Not here: how long is too long (stalls.py).

Carriers work on weekends; the country stops for the Spring Festival, and slows down for the days around National Day.
Times are aware; days are of Asia/Shanghai, which has one offset all year.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import date, datetime, time, timedelta, timezone
from functools import lru_cache

SHANGHAI = timezone(timedelta(hours=8), "Asia/Shanghai")
NOTHING = timedelta(0)

# As the library ``holidays`` names them in English.
SPRING_FESTIVAL = "Chinese New Year"
NATIONAL_DAY = "National Day"
# The longest run of free days that there has been is nine; the search for its ends goes no further.
_LONGEST_RUN = 14


class Calendar:
    """Spans that do not count, none overlapping another."""

    def __init__(self, spans: Iterable[tuple[datetime, datetime]] = ()) -> None:
        """Take the spans, each with its beginning and its end, aware."""
        self.spans = tuple(sorted(spans))

    def waited(self, since: datetime, until: datetime) -> timedelta:
        """Return how long it is from one moment to another, without what does not count; nothing if it is not later."""
        if until <= since:
            return NOTHING
        waited = until - since
        for start, end in self.spans:
            if start < until and end > since:
                waited -= min(end, until) - max(start, since)
        return waited

    def after(self, since: datetime, span: timedelta) -> datetime:
        """Return the moment at which so much has been waited since another."""
        reached = since + span
        for start, end in self.spans:
            if end > since and start < reached:
                reached += end - max(start, since)
        return reached


EVERY_DAY = Calendar()


def days_off(years: Collection[int], names: Collection[str]) -> list[date]:
    """Return the days on which China rests around the named holidays: each with the free days that it runs into.

    Weekends that were made working days are none. For years that nobody has announced yet the holiday itself counts,
    without the days that are moved to it.
    """
    import holidays

    if not names:
        return []
    # The years around, since a run of days may cross New Year.
    known = holidays.country_holidays("CN", years=range(min(years) - 1, max(years) + 2), language="en_US")
    found: set[date] = set()
    for day, said in known.items():
        if day.year not in years or not any(name in said for name in names):
            continue
        found.add(day)
        for step in (-1, 1):
            for distance in range(1, _LONGEST_RUN):
                near = day + timedelta(days=step * distance)
                if known.is_working_day(near):
                    break
                found.add(near)
    return sorted(found)


def calendar_of(days: Iterable[date]) -> Calendar:
    """Return a calendar in which these days do not count, from midnight to midnight."""
    spans: list[tuple[datetime, datetime]] = []
    for day in sorted(set(days)):
        start = datetime.combine(day, time(), SHANGHAI)
        if spans and spans[-1][1] == start:
            spans[-1] = (spans[-1][0], start + timedelta(days=1))
        else:
            spans.append((start, start + timedelta(days=1)))
    return Calendar(spans)


@lru_cache(maxsize=8)
def carriers_calendar(year: int, names: tuple[str, ...]) -> Calendar:
    """Return the calendar for what is waited for in a year, or since the year before."""
    return calendar_of(days_off((year - 1, year, year + 1), names))
