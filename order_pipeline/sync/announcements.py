"""What a message obliges us to: which details of its order will do. Pure: times are passed in.

Belongs here: the rule that keeps messages from costing calls and from losing changes. Not here: reading messages
(messages.py), fetching details (enrichment.py).

A message says when it was published, in whole seconds of the platform's clock, and not which ``modified`` the order
has got; so the rule is about when the details were asked for, not about how new they look.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from order_pipeline.warehouse.worklist import KnownDetail

# A detail asked for this soon after a change's second may miss a change later in that second (architecture §3).
SAME_SECOND_MARGIN = timedelta(seconds=2)
# No clock of ours is further behind than this, or the platform would refuse its calls as too slow.
LARGEST_CLOCK_ERROR = timedelta(seconds=10)
# How long after the change its message is published is not documented; recordings show the same second or the next.
PUBLISHING_DELAY = timedelta(seconds=3)
# Details that do not show what a message announced are asked for so often in all, over about a minute: they may lag
# behind during sales (contract §7.9), and some topics may announce what changes no ``modified`` at all.
DOUBTED_ATTEMPTS = 3


def believed_publication(published_at: datetime | None, received_at: datetime) -> datetime:
    """Return when a message was published at the latest.

    One without a readable time was published before it came. One from the future, which would oblige us to ask again
    until then, was too.
    """
    latest = received_at + LARGEST_CLOCK_ERROR
    return latest if published_at is None else min(published_at, latest)


def known_until(asked_at: datetime) -> datetime:
    """Return the second up to which details hold every change, that second included.

    ``asked_at`` errs to the early side only, so the details are at least that new; the margin covers changes that
    were being written while they were read.
    """
    return asked_at - SAME_SECOND_MARGIN


def shows(published_at: datetime, modified: datetime) -> bool:
    """Return whether details of that ``modified`` can be those after the announced change."""
    return modified >= published_at - PUBLISHING_DELAY


def is_known(published_at: datetime, detail: KnownDetail | None) -> bool:
    """Return whether a message brings nothing that the tables lack.

    They lack nothing when the details were asked for after the second of publication had ended, with the margin, and
    show a ``modified`` that the change can have had.

    - No call is wasted: of a change that a list showed first, or that another message announced, the details are
      there by the time the message comes, and asked for after it was published.
    - Nothing is lost: the change happened before its publication, the publication before the request (on one clock,
      the platform's; our idea of it is never ahead), so the answer holds the change, unless the platform serves old
      details. Then their ``modified`` lies before the publication, and they are asked for again. A change within
      PUBLISHING_DELAY of one before it can hide in such old details; the list shows its ``modified``, to the second.
    - Order and number of deliveries do not matter: the rule looks at each message alone, and details only get newer.
    """
    return detail is not None and known_until(detail.asked_at) >= published_at and shows(published_at, detail.modified)


def wait_seconds(published_at: datetime, now: datetime) -> float:
    """Return in how many seconds details can be asked for that will do for the message; 0: at once.

    ``now`` is the platform's time as the process that asks for them knows it. Another one may know it worse, by up to
    a second, and waits for that much longer before it asks.
    """
    return max(0.0, (published_at + SAME_SECOND_MARGIN - now).total_seconds())


def is_doubtful(published_at: datetime, modified: datetime, attempts: int) -> bool:
    """Return whether details that were asked for late enough have to be asked for again, as they show no change."""
    return not shows(published_at, modified) and attempts < DOUBTED_ATTEMPTS
