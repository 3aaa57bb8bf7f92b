"""Whether a day's orders, or refunds, are the platform's: totals, one by one, and how busy a day should be.

Belongs here: judging. Not here: asking the platform, reading the tables, filling gaps (sync/reconciliation.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import product
from statistics import median
from typing import NamedTuple

# Who places the orders of a small shop does so by chance: with 7 a day on average, a day without any comes once in
# three years (e^-7). Below that an empty day says nothing.
BUSY_ENOUGH = 7
# A day after a sale may well bring a fifth of it; a tenth of a median, which no single sale lifts, is not chance.
QUIET_SHARE = 0.1
# With fewer days to compare with there is no "usual".
FEWEST_DAYS_BEFORE = 3

# The key of the total among counts by status.
TOTAL = None


class Listed(NamedTuple):
    """An order, or a refund, as the platform's list shows it. None: the list does not say, or says it unreadably."""

    modified_at: datetime | None = None
    status: str | None = None
    payment: Decimal | None = None
    lines: int | None = None
    quantity: int | None = None
    step_status: str | None = None


class Held(NamedTuple):
    """An order, or a refund, as the warehouse holds it.

    Attributes:
        moment: by which its day goes: when it was placed, or when the refund last changed.
        modified_at: the version that is held.
        status: in the platform's words.
        payment: yuan; of a refund its fee.
        lines: how many lines it has.
        quantity: pieces over all lines.
        asked_at: the platform's time when the request behind the row left us.
        is_whole: the details of that version are loaded.
        is_altered: the row is not what the answer that it was loaded from said.
        step_status: of a pre-sale, which of its steps are paid.

    """

    moment: datetime
    modified_at: datetime
    status: str
    payment: Decimal | None
    lines: int
    quantity: int
    asked_at: datetime
    is_whole: bool = True
    is_altered: bool = False
    step_status: str | None = None


class Difference(NamedTuple):
    """Ids, sorted. ``quarantined`` are those of the missing that wait in quarantine."""

    missing: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    quarantined: tuple[str, ...] = ()

    @property
    def record_ids(self) -> frozenset[str]:
        """Every record that differs."""
        return frozenset(self.missing + self.stale + self.extra)


def compare(
    listed: Mapping[str, Listed],
    held: Mapping[str, Held],
    *,
    listed_at: datetime,
    quarantined: AbstractSet[str] = frozenset(),
) -> Difference:
    """Compare a day's orders one by one.

    Details are the platform's last word (contract §7.9): an order that was fetched whole after the list was asked
    for is right, whatever the list said, unless the list knows a newer version. An order in quarantine is missing,
    whatever older version of it is held: the tables lack what the platform said last.

    Args:
        listed: what the platform says, by id.
        held: what the warehouse holds of that day, by id.
        listed_at: the platform's time when the list's last page was asked for.
        quarantined: ids with a record in quarantine, of whatever day.

    """
    missing, stale = [], []
    for order_id, said in listed.items():
        have = held.get(order_id)
        if have is None or order_id in quarantined:
            missing.append(order_id)
        elif not _is_right(said, have, listed_at):
            stale.append(order_id)
    extra = [
        order_id
        for order_id, have in held.items()
        if order_id not in listed and not _is_right(Listed(), have, listed_at)
    ]
    return Difference(
        tuple(sorted(missing)),
        tuple(sorted(stale)),
        tuple(sorted(extra)),
        tuple(sorted(quarantined & set(missing))),
    )


def _is_right(said: Listed, have: Held, listed_at: datetime) -> bool:
    if have.is_altered or not have.is_whole:
        return False
    if said.modified_at is not None and have.modified_at < said.modified_at:
        return False
    if have.asked_at >= listed_at:
        return True
    if said.modified_at is None:
        return False
    # Newer and whole: it was fetched after the platform's list was made up.
    return have.modified_at > said.modified_at or all(
        wanted is None or wanted == found
        for wanted, found in (
            (said.status, have.status),
            (said.payment, have.payment),
            (said.lines, have.lines),
            (said.quantity, have.quantity),
            (said.step_status, have.step_status),
        )
    )


def statuses_to_count(held: Iterable[Held], countable: Collection[str], most: int) -> tuple[str, ...]:
    """Return the statuses that most orders are in, of those that the platform can be asked for."""
    counts = Counter(order.status for order in held if order.status in countable)
    return tuple(sorted(counts, key=lambda status: (-counts[status], status))[:most])


def quiet_second(placed: AbstractSet[datetime], first: datetime, step: timedelta, seconds: int) -> datetime | None:
    """Return the second nearest to ``first``, itself included, in which no order was placed; None: all are busy.

    Platforms do not say whether a window's ends belong to it. Where orders were placed just then, as at the midnight
    that a sale begins with, a count with one of them and a count without it and with a missing one look the same. A
    window that ends in quiet seconds can be read in one way only.

    Args:
        placed: when orders were placed, whole seconds.
        first: where to begin.
        step: one second, forwards or backwards.
        seconds: how many to look at.

    """
    return next((moment for count in range(seconds) if (moment := first + count * step) not in placed), None)


def disagreeing(
    counted: Mapping[str | None, int], held: Collection[Held], start: datetime, end: datetime
) -> frozenset[str | None]:
    """Return which of the platform's counts the warehouse does not agree with; none: they agree.

    Platforms do not say whether a window's ends belong to it. Records of just those seconds may therefore
    count or not, but for all counts alike.

    Args:
        counted: the platform's counts over the window, by status; ``TOTAL`` for all of them.
        held: the warehouse's orders created from ``start`` to ``end``, both included.
        start: of the window asked for.
        end: of the window asked for.

    """
    readings = []
    for with_start, with_end in product((True, False), repeat=2):
        inside = [
            order.status for order in held if (order.moment > start or with_start) and (order.moment < end or with_end)
        ]
        counts = Counter(inside)
        readings.append(
            frozenset(
                status
                for status, count in counted.items()
                if count != (len(inside) if status is TOTAL else counts[status])
            )
        )
    return min(readings, key=len)


def is_unusually_quiet(expected: int, before: Sequence[int]) -> bool:
    """Return whether a day has so few orders that the silence itself is suspect.

    An empty answer that is believed is equal to empty tables; only other days can tell.

    Args:
        expected: how many orders the platform says the day has.
        before: how many it said the days before had.

    """
    if len(before) < FEWEST_DAYS_BEFORE:
        return False
    usual = median(before)
    return usual >= BUSY_ENOUGH and expected < usual * QUIET_SHARE
