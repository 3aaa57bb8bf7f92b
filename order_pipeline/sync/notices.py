"""Delivering what waits in the outbox: a digest a kind, one deliverer a sink, never in the way of anything.

Belongs here: the loop, how long a failing sink is left alone, and what is said of the state. Not here: who raises
notices (with their facts; traffic_notices.py), the messengers (notifications/).

At least once: a process that dies between the service's yes and our note of it leaves the notice waiting.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Engine

from order_pipeline.notifications.digest import Item, compose, parts
from order_pipeline.notifications.notifier import DeliveryError, Notifier, send_within
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.notice_sinks import (
    Sink,
    claim_sink,
    close_delivered,
    note_delivered,
    note_failed,
    notices_for,
    read_sink,
    release_sink,
    take_turn,
)
from order_pipeline.warehouse.notices import HeldNotice, Waiting, waiting_notices
from order_pipeline.wording import counted

logger = logging.getLogger(__name__)

# One message, its answer included. Dagster ends a tick after 60 s: no digest is begun after 10 s, and the four messages
# that one may have fit into the rest, and into the lease.
SEND_SECONDS = 12.0
DELIVER_SECONDS = 10.0

FIRST_WAIT_SECONDS = 30.0
LONGEST_WAIT_SECONDS = 3_600.0

# Past this a person shall look; a digest's own wait for its turn is seconds.
LATE = timedelta(minutes=15)


class Delivery(NamedTuple):
    """What one go delivered to one sink, and why it stopped, empty where nothing waits any more."""

    sink: str
    notices: int
    messages: int
    stopped: str = ""

    @property
    def words(self) -> str:
        """In a sentence, with numbers."""
        told = f"{self.sink}: {counted(self.notices, 'notice')} in {counted(self.messages, 'message')}"
        return f"{told}; {self.stopped}" if self.stopped else told


def deliver(
    engine: Engine,
    notifiers: Sequence[Notifier],
    *,
    seconds: float = DELIVER_SECONDS,
    send_seconds: float = SEND_SECONDS,
) -> list[Delivery]:
    """Deliver what waits, to all sinks at once. A sink that fails is noted and left alone for a while.

    Args:
        engine: of the warehouse.
        notifiers: the messengers of today's configuration.
        seconds: no message is begun after so long.
        send_seconds: how long a service may take over one message.

    Raises:
        DatabaseUnreachableError: no connection can be had; the database's own errors likewise.

    """
    deadline = time.monotonic() + seconds
    # Side by side: one that hangs must not use up the others' time.
    with ThreadPoolExecutor(len(notifiers), "deliver notices") as threads:
        deliveries = list(threads.map(lambda each: _deliver_to(engine, each, deadline, send_seconds), notifiers))
    with transaction(engine) as connection:
        close_delivered(connection, [notifier.name for notifier in notifiers])
    return deliveries


def retry_in(failures: int, asked_seconds: float = 0.0) -> float:
    """Return how many seconds a sink is left alone after so many failures in a row: twice as long each time. Pure."""
    # 2**7 is past the longest wait already; the exponent must not grow for weeks.
    doubled = FIRST_WAIT_SECONDS * float(2 ** min(failures - 1, 7))
    return max(min(doubled, LONGEST_WAIT_SECONDS), asked_seconds)


class Outbox(NamedTuple):
    """How delivering goes: what waits, and the sinks that fail."""

    waiting: Waiting
    failing: tuple[Sink, ...]

    def is_late(self, now: datetime) -> bool:
        """Whether something waits so long that a person shall look."""
        return self.waiting.oldest_at is not None and now - self.waiting.oldest_at > LATE

    @property
    def words(self) -> str:
        """In a sentence, with numbers and the problem."""
        problems = {sink.last_problem for sink in self.failing} | {self.waiting.last_problem}
        told = "; ".join(sorted(filter(None, problems)))
        return f"{counted(self.waiting.notices, 'notice waits', 'notices wait')} for delivery" + (
            f": {told}" if told else ""
        )


def look_at_outbox(engine: Engine, notifiers: Sequence[Notifier]) -> Outbox:
    """Look how delivering goes, asking no service."""
    with transaction(engine) as connection:
        sinks = [read_sink(connection, notifier.name) for notifier in notifiers]
        return Outbox(waiting_notices(connection), tuple(sink for sink in sinks if sink and sink.failures))


def _deliver_to(engine: Engine, notifier: Notifier, deadline: float, send_seconds: float) -> Delivery:
    done = Delivery(notifier.name, 0, 0)
    while True:
        with transaction(engine) as connection:
            notices = notices_for(connection, notifier.name)
            if not notices:
                return done
            if time.monotonic() > deadline:
                return done._replace(stopped=f"at least {len(notices)} wait for the next go")
            if not claim_sink(connection, notifier.name):
                return done._replace(stopped=_why_not(read_sink(connection, notifier.name), len(notices)))
        with transaction(engine) as connection:
            # Once more, as whoever delivered until a moment ago may have taken them.
            notices = notices_for(connection, notifier.name)
            messages = parts(compose([_item(notice) for notice in notices]), notifier.byte_limit) if notices else []
            if not messages or not take_turn(connection, notifier.name, len(messages)):
                release_sink(connection, notifier.name)
                return done._replace(stopped=f"{len(notices)} wait for their turn" if messages else "")
        try:
            for message in messages:
                send_within(notifier, message, send_seconds)
        except DeliveryError as error:
            _note_failure(engine, notifier.name, notices, error)
            return done._replace(stopped=f"{len(notices)} wait: {error}")
        except Exception as error:  # noqa: BLE001 - a messenger that breaks must not end the others
            # Its words may hold its address.
            logger.warning("sending to %s broke: %s", notifier.name, type(error).__name__)
            broken = DeliveryError(notifier.name, f"it broke ({type(error).__name__})", remedy="please report it")
            _note_failure(engine, notifier.name, notices, broken)
            return done._replace(stopped=f"{len(notices)} wait: {broken}")
        with transaction(engine) as connection:
            note_delivered(connection, notifier.name, notices)
        done = done._replace(notices=done.notices + len(notices), messages=done.messages + len(messages))


def _note_failure(engine: Engine, sink: str, notices: Sequence[HeldNotice], error: DeliveryError) -> None:
    with transaction(engine) as connection:
        known = read_sink(connection, sink)
        wait = retry_in((known.failures if known else 0) + 1, error.retry_in_seconds)
        note_failed(connection, sink, notices, str(error), retry_in_seconds=wait, refused=error.refused)


def _why_not(sink: Sink | None, waiting: int) -> str:
    if sink and sink.failures:
        return f"{waiting} wait, after {counted(sink.failures, 'failure')} in a row: {sink.last_problem}"
    return f"{waiting} wait, another process delivers"


def _item(notice: HeldNotice) -> Item:
    return Item(notice.severity, notice.title, notice.body, notice.raised_at, notice.times_raised)
