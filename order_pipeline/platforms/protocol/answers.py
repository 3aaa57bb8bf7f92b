"""What every answer of a marketplace is made of: the window that was asked for, the answer, what could not be read.

Not here: what the answers say, which is a module a subject beside this one.
"""

from __future__ import annotations

from datetime import datetime

import msgspec


class Window(msgspec.Struct, frozen=True):
    """A span of platform time, both ends aware and in whole seconds.

    Platforms do not say whether their bounds are inclusive, so neighbouring windows share a second.
    """

    start: datetime
    end: datetime


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of the platform, as it came.

    ``body`` is the JSON text; raw control characters inside strings, which no JSON parser takes, are
    stored escaped. ``sent_at`` is the platform's time when the request left us (never later than it was),
    so the answer holds every change up to then.
    """

    method: str
    request_id: str | None
    sent_at: datetime
    body: str


class RejectedRecord(msgspec.Struct, frozen=True):
    """A record that could not be read, kept (without personal data) so that it can be replayed.

    ``body`` is the record as JSON text in ASCII, so that NUL and lone surrogates survive as escapes.
    ``order_id`` or, of a refund, ``refund_id``, and ``modified_at`` are what could still be read of it.
    """

    order_id: str | None
    modified_at: datetime | None
    reason: str
    body: str
    refund_id: str | None = None

    @property
    def record_id(self) -> str | None:
        """Whichever it has."""
        return self.order_id or self.refund_id
