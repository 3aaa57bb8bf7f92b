"""Delivering what the merchant's own systems are told: in order, at least once, never in the way of anything.

Belongs here: the loop, and what is said of the state. Not here: the hook itself (notifications/hook.py), who puts
events in (with their facts).

The events of the outbox keep their order, so one that is refused holds up those behind it: an ERP that missed a
change of a hold would be wrong for good. It is tried again ever more seldom, at least once an hour.
"""

from __future__ import annotations

import json
import logging
import time
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Engine

from order_pipeline.notifications.hook import ANSWER_SECONDS, Hook, HookEvent, document_of
from order_pipeline.notifications.notifier import DeliveryError
from order_pipeline.sync.notices import DELIVER_SECONDS, LATE, retry_in
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.hook_events import (
    HeldEvent,
    WaitingEvents,
    next_events,
    note_not_taken,
    note_taken,
    waiting_events,
)
from order_pipeline.warehouse.notice_sinks import (
    LEASE_SECONDS,
    claim_sink,
    note_delivered,
    note_failed,
    read_sink,
    release_sink,
)
from order_pipeline.wording import counted

logger = logging.getLogger(__name__)

# The hook is one more sink: one deliverer at a time, and its own waits after failures.
SINK = "hook"
BATCH = 100
assert DELIVER_SECONDS + ANSWER_SECONDS < LEASE_SECONDS  # noqa: S101 - or two could deliver at once


class HookDelivery(NamedTuple):
    """What one go handed over, and why it stopped; empty: nothing waits any more."""

    events: int
    stopped: str = ""

    @property
    def words(self) -> str:
        """In a sentence, with numbers."""
        return f"{counted(self.events, 'event was', 'events were')} handed over" + (
            f"; {self.stopped}" if self.stopped else ""
        )


def hand_over_events(engine: Engine, hook: Hook, *, seconds: float = DELIVER_SECONDS) -> HookDelivery:
    """Hand over what waits, oldest first; none is begun after so many seconds.

    Raises DatabaseUnreachableError without the warehouse.
    """
    deadline = time.monotonic() + seconds
    with transaction(engine) as connection:
        if not next_events(connection, 1):
            return HookDelivery(0)
        if not claim_sink(connection, SINK):
            sink = read_sink(connection, SINK)
            failing = sink is not None and sink.failures > 0
            return HookDelivery(0, f"left alone for a while: {sink.last_problem}" if sink and failing else "at work")
    done = 0
    while True:
        with transaction(engine) as connection:
            events = next_events(connection, BATCH)
            if not events or time.monotonic() > deadline:
                release_sink(connection, SINK)
                return HookDelivery(done, f"at least {len(events)} wait for the next go" if events else "")
        for event in events:
            if time.monotonic() > deadline:
                break
            try:
                hook.hand_over(_document(event))
            except DeliveryError as error:
                _note_failure(engine, event, error)
                return HookDelivery(done, str(error))
            with transaction(engine) as connection:
                note_taken(connection, event.event_id)
                note_delivered(connection, SINK, [])
                claim_sink(connection, SINK)
            done += 1


def look_at_hook(engine: Engine) -> WaitingEvents:
    """Look what waits, asking nobody."""
    with transaction(engine) as connection:
        return waiting_events(connection)


def is_late(waiting: WaitingEvents, now: datetime) -> bool:
    """Whether something waits so long that a person shall look."""
    return waiting.oldest_at is not None and now - waiting.oldest_at > LATE


def _document(event: HeldEvent) -> HookEvent:
    document = document_of(event.kind, event.key, event.raised_at.isoformat(), event.payload)
    return HookEvent(event.key, json.dumps(document, ensure_ascii=False))


def _note_failure(engine: Engine, event: HeldEvent, error: DeliveryError) -> None:
    logger.warning("%s", error)
    with transaction(engine) as connection:
        sink = read_sink(connection, SINK)
        note_not_taken(connection, event.event_id, str(error))
        wait = retry_in((sink.failures if sink else 0) + 1, error.retry_in_seconds)
        note_failed(connection, SINK, [], str(error), retry_in_seconds=wait, refused=error.refused)
