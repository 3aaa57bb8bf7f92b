"""What the scans of a parcel prove: where it is, since when nothing has come, whether it is stuck.

Belongs here: the truth that an alert is judged by, from scans alone. Not here: the scans (``journeys``). Moments are
whole seconds since 1970 unless named ``_ms``.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from order_pipeline.sandbox.logistics import journeys as j
from order_pipeline.sandbox.logistics.journeys import Scan

UNTRACKED, NO_TRACE, ONLY_CREATED = "untracked", "no_trace", "created"
IN_TRANSIT, OUT_FOR_DELIVERY, PICKUP_POINT, UNDELIVERED = "in_transit", "out_for_delivery", "pickup_point", "failed"
RETURNING, DELIVERED, RETURNED, MISSING = "returning", "signed", "returned", "lost"
# States in which a parcel is expected to move.
MOVING = frozenset({IN_TRANSIT, OUT_FOR_DELIVERY, UNDELIVERED, RETURNING})


class Standing(msgspec.Struct, frozen=True):
    """What is known from ``at_ms`` on: the state, and the latest moment that a meaningful scan is stamped with."""

    at_ms: int
    state: str
    last_time: int | None


class Episode(msgspec.Struct, frozen=True):
    """A time in which a parcel that should move did not: nothing since, too long at, on again at (None: not yet)."""

    since: int
    crossed_at: int
    ended_at: int | None


def standings(scans: Sequence[Scan]) -> list[Standing]:
    """Return what is known after each scan that changes it; ``scans`` in the order in which they become visible."""
    known: list[Standing] = []
    latest: Scan | None = None
    for scan in scans:
        if scan.is_meaningful and (latest is None or scan.time >= latest.time):
            latest = scan
        state = _state(latest) if latest else ONLY_CREATED
        last_time = latest.time if latest else None
        if not known or (known[-1].state, known[-1].last_time) != (state, last_time):
            known.append(Standing(scan.at_ms, state, last_time))
    return known


def _state(scan: Scan) -> str:
    if scan.action == j.SIGNED:
        return RETURNED if j.RETURN_TEXT in scan.text else DELIVERED
    if scan.action == j.LOST:
        return MISSING
    if j.RETURN_TEXT in scan.text:
        return RETURNING
    if scan.action == j.FAILED:
        return UNDELIVERED
    if scan.action == j.SENT_SCAN:
        return OUT_FOR_DELIVERY
    return PICKUP_POINT if "存放" in scan.text else IN_TRANSIT


def episodes(known: Sequence[Standing], now: int, hours: float) -> list[Episode]:
    """Return every time up to ``now`` in which the parcel stood still for at least so many hours, the first first."""
    found = []
    for number, standing in enumerate(known):
        if standing.state not in MOVING or standing.last_time is None:
            continue
        crossed_at = standing.last_time + round(hours * 3600)
        ended_at = known[number + 1].at_ms // 1000 if number + 1 < len(known) else None
        if crossed_at <= (now if ended_at is None else ended_at - 1):
            found.append(Episode(standing.last_time, crossed_at, ended_at))
    return found
