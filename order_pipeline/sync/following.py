"""Staying at it: what goes on coming is fetched seconds after it came, with no run started for each of it.

Belongs here: hearing and draining again and again until it is quiet. Not here: one reading (messages.py), one drain
(enrichment.py), who asks for it (automation/message_sensor.py).

It keeps nothing to itself: messages are stored before they are confirmed and details clear the worklist with their
rows, as anywhere else. Whoever dies here leaves all that was not done on the worklist.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing, suppress
from functools import partial
from typing import NamedTuple

from sqlalchemy import Engine

from order_pipeline import configuration
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.enrichment import Drained, Enrichment, drain
from order_pipeline.sync.lanes import Lanes
from order_pipeline.sync.messages import read_messages
from order_pipeline.sync.shops import for_each_shop
from order_pipeline.sync.streams import ORDER_STREAM, REFUND_STREAM, Stream
from order_pipeline.traffic.errors import CallError
from order_pipeline.traffic.time_limit import over_within
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.worklist import due_within, next_due

# Starting a run costs about five seconds of processor time and as many until its first call. Listening costs a call
# and a few milliseconds a second: half a minute of it is a fraction of a start, and wherever something changes twice a
# minute there is no start at all.
QUIET_SECONDS = 30.0
# A run ends now and then, so that the UI shows what it did, and new code is taken up.
LONGEST_SECONDS = 600.0
# Between two looks at the queues. Details will not do for a message before two seconds after it was published
# (announcements.py), and by then it has been read: a shorter pause would cost calls and make nothing fresher.
PAUSE_SECONDS = 0.7
# What is due is taken at the moment it is, and a little later by the database's clock.
RIPE_SECONDS = 0.01
# A reading is no longer than this, so that details do not wait for the end of a backlog of messages.
READING_SECONDS = 5.0

STREAMS = (ORDER_STREAM, REFUND_STREAM)


class Followed(NamedTuple):
    """What came of it: drains by shop, of orders and of refunds, and how often was looked."""

    orders: list[Enrichment]
    refunds: list[Enrichment]
    messages: int
    looks: int
    seconds: float


def follow(
    accesses: Sequence[ShopAccess],
    engine: Engine,
    *,
    quiet_seconds: float = QUIET_SECONDS,
    longest_seconds: float = LONGEST_SECONDS,
) -> Followed:
    """Read the shops' messages and fetch what is due, orders and refunds, until nothing came for ``quiet_seconds``.

    What will be due within that time is waited for. Ends after ``longest_seconds`` in any case, and at once when a
    queue turns out to be in trouble, as the sensor is to say so, or when everything is about to end.

    Raises ShopsFailedError when a shop cannot be worked on, after the others had their turn in this look;
    DatabaseUnreachableError without the warehouse.
    """
    began = worked_at = time.monotonic()
    drained: dict[str, list[Enrichment]] = {stream.subject.name: [] for stream in STREAMS}
    messages = looks = 0
    with closing(Lanes()) as lanes:
        while (now := time.monotonic()) - worked_at < quiet_seconds and now - began < longest_seconds:
            looks += 1
            readings = read_messages(accesses, engine, seconds=READING_SECONDS)
            messages += sum(reading.new for reading in readings)
            for stream in STREAMS:
                waiting = _shops_with_due(accesses, engine, stream, 0.0)
                work = partial(drain, engine=engine, stream=stream, lanes=lanes)
                drained[stream.subject.name] += for_each_shop(waiting, engine, work)
            if any(reading.is_alarming for reading in readings) or configuration.is_ending():
                break
            if any(reading.new for reading in readings) or any(
                _shops_with_due(accesses, engine, stream, quiet_seconds) for stream in STREAMS
            ):
                worked_at = time.monotonic()
            _pause(accesses, engine, min(PAUSE_SECONDS, quiet_seconds))
    return Followed(
        together(drained[ORDER_STREAM.subject.name]),
        together(drained[REFUND_STREAM.subject.name]),
        messages,
        looks,
        time.monotonic() - began,
    )


def fetch_soon(
    accesses: Sequence[ShopAccess], engine: Engine, *, within_seconds: float, calls_seconds: float
) -> Followed:
    """Fetch what is due, orders and refunds, and what becomes due within so many seconds, once and for all shops.

    All calls are over within ``calls_seconds``. Reads no messages. What others are at is left to them. Raises as
    ``follow`` does.
    """
    began = time.monotonic()
    drained: dict[str, list[Enrichment]] = {stream.subject.name: [] for stream in STREAMS}
    looks = 0
    with over_within(calls_seconds), closing(Lanes()) as lanes:
        while True:
            looks += 1
            left = began + within_seconds - time.monotonic()
            for stream in STREAMS:
                waiting = _shops_with_due(accesses, engine, stream, 0.0)
                work = partial(drain, engine=engine, stream=stream, lanes=lanes, longest_seconds=max(left, 0.0))
                drained[stream.subject.name] += for_each_shop(waiting, engine, work)
            coming = _until_next_due(accesses, engine)
            if coming is None or time.monotonic() + coming > began + within_seconds:
                break
            time.sleep(coming)
    orders, refunds = (together(drained[stream.subject.name]) for stream in STREAMS)
    return Followed(orders, refunds, 0, looks, time.monotonic() - began)


def together(enrichments: Sequence[Enrichment]) -> list[Enrichment]:
    """Return one enrichment a shop, the sum of its own, in the order of their first. Pure."""
    return [
        Enrichment(
            shop_id,
            Drained(*map(sum, zip(*(each.drained for each in of_shop), strict=True))),
            sum(each.calls for each in of_shop),
            sum(each.seconds for each in of_shop),
        )
        for shop_id in dict.fromkeys(each.shop_id for each in enrichments)
        for of_shop in [[each for each in enrichments if each.shop_id == shop_id]]
    ]


def _pause(accesses: Sequence[ShopAccess], engine: Engine, seconds: float) -> None:
    """Wait for so long, or until something becomes due; learn a platform's time better meanwhile.

    By as much as its time is not known, details are asked for later than they could be.
    """
    coming = _until_next_due(accesses, engine)
    seconds = seconds if coming is None else min(coming, seconds)
    ends_at = time.monotonic() + seconds
    # Whoever does not answer this will not answer the next reading either, which says so.
    with suppress(CallError):
        any(access.platform.sharpen_time(seconds) for access in accesses)
    time.sleep(max(0.0, ends_at - time.monotonic()))


def _until_next_due(accesses: Sequence[ShopAccess], engine: Engine) -> float | None:
    """Return the seconds until something becomes due that is not yet; None: nothing will."""
    with transaction(engine) as connection:
        shop_ids = [access.shop.id for access in accesses]
        found = [next_due(connection, shop_ids, subject=stream.subject) for stream in STREAMS]
    return min((seconds + RIPE_SECONDS for seconds in found if seconds is not None), default=None)


def _shops_with_due(accesses: Sequence[ShopAccess], engine: Engine, stream: Stream, seconds: float) -> list[ShopAccess]:
    """Return the shops of which something is due within some seconds; those that are left alone have nothing."""
    with transaction(engine) as connection:
        due = due_within(connection, [access.shop.id for access in accesses], seconds, subject=stream.subject)
    return [access for access in accesses if access.shop.id in due and not access.hold]
