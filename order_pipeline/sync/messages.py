"""The second channel: messages of the platform into raw.message and onto the worklist, then confirmed.

Belongs here: reading the queue of an app key for its shops. Not here: what a message obliges us to
(announcements.py), who is whom in a queue (sellers.py), when to read (automation).

The order of steps is the promise: stored and on the worklist in one transaction, confirmed only after it. Whatever
dies in between, the platform delivers again, and the same message is not stored twice.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection, Engine

from order_pipeline.platforms.protocol import Message, MessageBatch
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.announcements import believed_publication, is_known, wait_seconds
from order_pipeline.sync.renewal import command_for
from order_pipeline.sync.sellers import introduce, route
from order_pipeline.sync.storing import store_call_log
from order_pipeline.sync.withdrawals import obey
from order_pipeline.traffic.errors import AuthorizationError, CallerError, CallError, ThrottledError
from order_pipeline.traffic.time_limit import over_within
from order_pipeline.warehouse.database import in_transaction, transaction
from order_pipeline.warehouse.message_queues import (
    Seller,
    note_failure,
    note_read,
    note_seller_id,
    only_reader,
    read_queue,
)
from order_pipeline.warehouse.messages import MessageRow, store_messages
from order_pipeline.warehouse.subjects import ORDERS, REFUNDS, Subject
from order_pipeline.warehouse.worklist import Announced, known_details, say_announced
from order_pipeline.wording import counted

logger = logging.getLogger(__name__)

CHANNEL = "messages"

# A batch this small was all there is; the platform gives at least as many as this where it has more (contract §3.9:
# no request for fewer is allowed). What comes meanwhile is the next reading's.
SMALL_BATCH = 10
# A reading goes on with a backlog for so long. At 200 messages a batch it is tens of thousands.
READING_SECONDS = 20.0

# Who has no permission today will hardly have it in a minute; an hour later somebody may have asked for it.
REFUSED_PAUSE_SECONDS = 3600.0
# After failures in a row: 10, 20, 40 seconds and so on.
FIRST_PAUSE_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 300.0


class MessageQueue(NamedTuple):
    """A queue of messages, and the shops whose messages come in it; any of them can read it."""

    app_key: str
    group: str
    accesses: tuple[ShopAccess, ...]

    @property
    def name(self) -> str:
        """The queue in words."""
        return f"app {self.app_key}" + (f", group {self.group}" if self.group else "")


class Reading(NamedTuple):
    """What came of reading a queue.

    ``announced``: orders put on the worklist; ``refunds_announced``: refunds put on theirs.
    ``strangers``: messages of sellers without a shop of ours.
    ``lag_seconds``: of the oldest new message, from publication to receipt. ``received_at``: the platform's time,
    where anything came. ``withdrawn``: shops that were paused because a seller took the authorisation back.
    ``hints``: shops that have no messages, and why. ``idle``: why nothing was read; ``is_well``:
    whether that is as it should be. ``failure``: what stopped it; what was stored until then stands.
    """

    queue: MessageQueue
    delivered: int = 0
    new: int = 0
    announced: int = 0
    unreadable: int = 0
    unknown_topics: int = 0
    strangers: int = 0
    lag_seconds: float | None = None
    received_at: datetime | None = None
    is_empty: bool = True
    withdrawn: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    idle: str | None = None
    is_well: bool = True
    failure: CallError | None = None
    calls: int = 0
    seconds: float = 0.0
    refunds_announced: int = 0

    @property
    def is_alarming(self) -> bool:
        """Whether a person shall see red: once a pause, and the pauses grow.

        What is not permitted is said and not red, as the channel may be missing for good; nor is a ban, which ends.
        """
        if self.withdrawn:
            return True
        return self.failure is not None and self.failure.retryable and not isinstance(self.failure, ThrottledError)

    @property
    def words(self) -> str:
        """The finding with numbers, for a skip reason or a check."""
        if self.failure:
            said = str(self.failure)
        elif self.idle:
            said = self.idle
        else:
            said = (
                f"{counted(self.new, 'new message')} of {self.delivered}, {counted(self.announced, 'order')} announced"
            )
            if self.refunds_announced:
                said += f", {counted(self.refunds_announced, 'refund')}"
            if not self.is_empty:
                said += ", more to come"
        paused = [
            f"shop {shop_id} is paused, its seller withdrew the authorisation: {command_for(shop_id)}"
            for shop_id in self.withdrawn
        ]
        return "; ".join([f"{self.queue.name}: {said}", *paused, *self.hints])


class StoredBatch(NamedTuple):
    """What one batch brought."""

    new: int
    announced: int
    unreadable: int
    unknown_topics: int
    strangers: int
    lag_seconds: float | None
    refunds_announced: int
    withdrawn: tuple[str, ...]


def queues_of(accesses: Sequence[ShopAccess]) -> list[MessageQueue]:
    """Return the queues of these shops: one an app key and group."""
    shared: dict[tuple[str, str, str], list[ShopAccess]] = {}
    for access in accesses:
        shop = access.shop
        shared.setdefault((shop.gateway_url, shop.app_key, shop.message_group or ""), []).append(access)
    return [MessageQueue(app_key, group, tuple(members)) for (_, app_key, group), members in shared.items()]


def read_messages(
    accesses: Sequence[ShopAccess],
    engine: Engine,
    *,
    seconds: float = READING_SECONDS,
    calls_seconds: float = math.inf,
) -> list[Reading]:
    """Read the queues of these shops, each for itself: what stops one is in its reading, never raised.

    Args:
        accesses: the shops.
        engine: the warehouse.
        seconds: how long each queue is gone on with while there is more in it.
        calls_seconds: when all calls have to be over, whatever hangs.

    Raises DatabaseUnreachableError without the warehouse.
    """
    with over_within(calls_seconds):
        return [read_queue_of(queue, engine, seconds=seconds) for queue in queues_of(accesses)]


def read_queue_of(queue: MessageQueue, engine: Engine, *, seconds: float = READING_SECONDS) -> Reading:
    """Read a queue until it is empty, or for some seconds; only one process at a time does.

    Raises DatabaseUnreachableError without the warehouse.
    """
    began = time.monotonic()
    calls_before = sum(access.calls.total for access in queue.accesses)
    with only_reader(engine, queue.app_key, queue.group) as is_ours:
        if not is_ours:
            return Reading(queue, idle="another process is reading")
        with transaction(engine) as connection:
            state = read_queue(connection, queue.app_key, queue.group)
        if state.pause_seconds is not None:
            return Reading(
                queue, idle=f"not read for {state.pause_seconds:.0f} more seconds: {state.problem}", is_well=False
            )
        try:
            reading = _read(queue, engine, began + seconds)
        finally:
            calls = [call for access in queue.accesses for call in access.calls.drain()]
            in_transaction(engine, partial(store_call_log, calls=calls))
        if reading.failure:
            # Its message is made for people; a traceback would bury it.
            logger.warning("%s: %s", queue.name, reading.failure)
            note = partial(
                note_failure,
                app_key=queue.app_key,
                group=queue.group,
                problem=str(reading.failure),
                pause_seconds=pause_seconds(reading.failure, state.failures),
            )
            in_transaction(engine, note)
    made = sum(access.calls.total for access in queue.accesses) - calls_before
    return reading._replace(calls=made, seconds=time.monotonic() - began)


def pause_seconds(failure: CallError, failures_before: int) -> float:
    """Return how long a queue is left alone after a failure. Pure."""
    if isinstance(failure, AuthorizationError | CallerError):
        return REFUSED_PAUSE_SECONDS
    if isinstance(failure, ThrottledError):
        # A day's quota can be lifted before its end.
        return min(failure.ban_seconds, REFUSED_PAUSE_SECONDS)
    return float(min(FIRST_PAUSE_SECONDS * 2 ** min(failures_before, 10), LONGEST_PAUSE_SECONDS))


def _read(queue: MessageQueue, engine: Engine, ends_at: float) -> Reading:
    reader = queue.accesses[0].platform
    group = queue.group or None
    sellers, hints = introduce(queue.app_key, queue.accesses, engine, ends_at)
    reading = Reading(queue, hints=tuple(hints), is_well=not hints)
    if not any(seller.permitted for seller in sellers):
        return reading._replace(is_well=False, idle="no shop's messages are permitted, polling goes on without them")
    try:
        while True:
            batch = reader.messages(group)
            stored = store_batch(queue, sellers, engine, batch)
            reading = _added(reading, batch, stored)
            reader.confirm_messages(group, [each.message_id for each in batch.messages if each.confirmable])
            if len(batch.messages) < SMALL_BATCH or time.monotonic() > ends_at:
                return reading._replace(is_empty=len(batch.messages) < SMALL_BATCH)
    except CallError as failure:
        return reading._replace(failure=failure, is_well=False)


def store_batch(queue: MessageQueue, sellers: Sequence[Seller], engine: Engine, batch: MessageBatch) -> StoredBatch:
    """Store a batch, put what it announces on the worklist, and learn the sellers' numbers: one transaction."""
    rows = [
        (message, believed_publication(message.published_at, batch.received_at), route(message, sellers))
        for message in batch.messages
    ]
    platform = queue.accesses[0].shop.platform

    def store(connection: Connection) -> StoredBatch:
        new_ids = store_messages(
            connection,
            queue.app_key,
            platform,
            [_row(message, published_at, batch.received_at, shop_id) for message, published_at, shop_id in rows],
        )
        news = [row for row in rows if row[0].message_id in new_ids]
        announced = refunds_announced = 0
        for seller in sellers:
            mine = [(message, at) for message, at, shop_id in news if shop_id == seller.shop_id]
            learnt = {message.seller_id for message, _ in mine} - {None}
            if seller.seller_id is None and seller.seller_nick is not None and len(learnt) == 1:
                note_seller_id(connection, queue.app_key, seller.shop_id, str(learnt.pop()))
            named = [(message.order_id, at) for message, at in mine if message.order_id]
            announced += _announce(connection, seller.shop_id, named, batch.received_at, ORDERS)
            refunds = [(message.refund_id, at) for message, at in mine if message.refund_id]
            refunds_announced += _announce(connection, seller.shop_id, refunds, batch.received_at, REFUNDS)
        lags = [(batch.received_at - at).total_seconds() for _, at, _ in news]
        lag = max(0.0, *lags) if lags else None
        note_read(connection, queue.app_key, queue.group, lag)
        withdrawn = obey(connection, queue.app_key, sellers, [message for message, _, _ in news])
        return StoredBatch(
            len(news),
            announced,
            sum(message.problem is not None for message, _, _ in news),
            sum(not message.known_topic for message, _, _ in news),
            sum(shop_id is None for _, _, shop_id in news),
            lag,
            refunds_announced,
            tuple(withdrawn),
        )

    stored = in_transaction(engine, store)
    for shop_id in stored.withdrawn:
        logger.error("shop %s is paused: its seller withdrew the authorisation; %s", shop_id, command_for(shop_id))
    return stored


def _announce(
    connection: Connection,
    shop_id: str,
    named: Sequence[tuple[str, datetime]],
    received_at: datetime,
    subject: Subject,
) -> int:
    """Put the orders or refunds on their worklist whose details in the tables will not do for what was published."""
    known = known_details(connection, shop_id, sorted({record_id for record_id, _ in named}), subject=subject)
    announced = [
        Announced(record_id, at, wait_seconds(at, received_at))
        for record_id, at in named
        if not is_known(at, known.get(record_id))
    ]
    return say_announced(connection, shop_id, CHANNEL, announced, subject=subject)


def _row(message: Message, published_at: datetime, received_at: datetime, shop_id: str | None) -> MessageRow:
    return MessageRow(
        message.message_id,
        shop_id,
        message.topic,
        message.known_topic,
        message.seller_id,
        message.seller_nick,
        published_at,
        received_at,
        message.order_id,
        message.refund_id,
        message.content,
        message.problem,
    )


def _added(reading: Reading, batch: MessageBatch, stored: StoredBatch) -> Reading:
    lags = [lag for lag in (reading.lag_seconds, stored.lag_seconds) if lag is not None]
    return reading._replace(
        delivered=reading.delivered + len(batch.messages),
        new=reading.new + stored.new,
        announced=reading.announced + stored.announced,
        refunds_announced=reading.refunds_announced + stored.refunds_announced,
        unreadable=reading.unreadable + stored.unreadable,
        unknown_topics=reading.unknown_topics + stored.unknown_topics,
        strangers=reading.strangers + stored.strangers,
        lag_seconds=max(lags, default=None),
        withdrawn=(*reading.withdrawn, *stored.withdrawn),
        received_at=batch.received_at if batch.messages else reading.received_at,
    )
