"""What an event carries besides its kind: a parcel that leaves, a step of a refund.

Belongs here: plain values. Not here: what they do to a trade (``trade``), when they happen (``life``).
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

ONLINE, OFFLINE = "online", "offline"

# Goods for goods: no money comes back and no line closes (contract 4.3).
EXCHANGES = frozenset({"TMALL_EXCHANGE", "TAOBAO_EXCHANGE", "REPAIR", "RESHIPPING"})
DISPUTE_TYPES = frozenset({"REFUND", "REFUND_AND_RETURN", "OTHERS"}) | EXCHANGES


class Shipment(msgspec.Struct, frozen=True, gc=False):
    """A parcel that the seller hands over; goods without a parcel have neither company nor waybill.

    ``days`` is how long it takes to the buyer's door if nothing goes wrong. ``channel`` "offline" is a carrier of the
    seller's own, which the platform does not follow. What is not said (0, "") follows from the waybill.
    """

    company: str | None
    waybill: str | None
    days: float = 0.0
    channel: str = ""


class RefundStep(msgspec.Struct, frozen=True, gc=False):
    """A step of a refund: its status from now on.

    ``number`` tells several refunds of one line apart. ``fee`` (cents) and ``quantity`` None mean all that is left.
    ``kind`` is the dispute type ("": an ordinary refund), ``cs_status`` the platform's part in it (contract 4.3),
    ``said`` what somebody wrote.
    """

    status: str
    number: int = 0
    fee: int | None = None
    quantity: int | None = None
    kind: str = ""
    cs_status: int = 0
    said: str = ""


@lru_cache(maxsize=64)
def plain_step(status: str) -> RefundStep:
    """Return the step of the only refund of a line, of all its money."""
    return RefundStep(status)
