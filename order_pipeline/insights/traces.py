"""What the events of a parcel's trace prove: where it stands, and since when nothing has come.

Belongs here: from events to a standing. Not here: how a carrier's words are read (platforms), when a standing is worth
an alert (stalls.py).

Carriers repeat events, put them in other words, deliver them out of order and stamp them with clocks that are ahead; so
a standing is a function of the set of events, whatever way it came together.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class Meaning(StrEnum):
    """What an event says of the parcel; platforms translate their words into these."""

    # Somebody means to send something: no carrier has it.
    ANNOUNCED = "announced"
    IN_TRANSIT = "in_transit"
    OUT_FOR_DELIVERY = "out_for_delivery"
    # In a locker or a station: delivered by the carrier, not yet collected by the buyer.
    PICKUP_POINT = "pickup_point"
    # The carrier tried and could not deliver, or says that something is wrong.
    FAILED = "failed"
    # The buyer would not have it, or it was stopped on its way: it comes back.
    REFUSED = "refused"
    INTERCEPTED = "intercepted"
    RETURNING = "returning"
    SIGNED = "signed"
    # Signed for by the sender.
    RETURNED = "returned"
    LOST = "lost"


# Of several events in one second the one that goes furthest counts.
_RANK = {meaning: rank for rank, meaning in enumerate(Meaning)}
# Tuples, as these are looked into for every event of every parcel, and the hash of an enum's member is slow.
COMING_BACK = (Meaning.REFUSED, Meaning.INTERCEPTED, Meaning.RETURNING)
# From these on every scan is one of the way back, though most do not say so. A buyer who refused may yet take it.
_TURNED = (Meaning.INTERCEPTED, Meaning.RETURNING)
# What remains what it is on the way back.
_EITHER_WAY = (*COMING_BACK, Meaning.RETURNED, Meaning.LOST, Meaning.FAILED)


class TraceEvent(NamedTuple):
    """One event: when the carrier says it was (aware), and what it means."""

    at: datetime
    meaning: Meaning


class Standing(NamedTuple):
    """Where a parcel stands by the latest event that means something, None: no carrier has had it.

    ``since``: when that event was, by the carrier's clock (aware).
    """

    state: Meaning | None
    since: datetime | None


UNKNOWN = Standing(None, None)


def standing_of(events: Iterable[TraceEvent]) -> Standing:
    """Return what the events prove, in whatever order and however often they came.

    A parcel that was signed for and then moves on was not: only the latest event counts. One that comes back stays so
    whatever is scanned on its way, and signing for it then is the sender's.
    """
    latest: TraceEvent | None = None
    turned_at: datetime | None = None
    for event in events:
        at, meaning = event
        if meaning is Meaning.ANNOUNCED:
            continue
        if meaning in _TURNED and (turned_at is None or at < turned_at):
            turned_at = at
        if latest is None or at > latest.at or (at == latest.at and _RANK[meaning] > _RANK[latest.meaning]):
            latest = event
    if latest is None:
        return UNKNOWN
    return Standing(_turned(latest, turned_at), latest.at)


def _turned(latest: TraceEvent, turned_at: datetime | None) -> Meaning:
    if turned_at is None or latest.meaning in _EITHER_WAY:
        return latest.meaning
    return Meaning.RETURNED if latest.meaning is Meaning.SIGNED else Meaning.RETURNING
