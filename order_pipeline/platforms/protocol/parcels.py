"""Parcels and their ways, as a marketplace knows them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec

from order_pipeline.platforms.protocol.answers import Answer


class TraceMeaning(StrEnum):
    """What an event of a trace says of its parcel, whatever the platform or the carrier calls it."""

    # Somebody means to send something: no carrier has it.
    ANNOUNCED = "announced"
    IN_TRANSIT = "in_transit"
    OUT_FOR_DELIVERY = "out_for_delivery"
    # In a locker or a station, not yet collected.
    PICKUP_POINT = "pickup_point"
    # Not delivered, or something is wrong with it.
    FAILED = "failed"
    REFUSED = "refused"
    INTERCEPTED = "intercepted"
    RETURNING = "returning"
    SIGNED = "signed"
    RETURNED = "returned"
    LOST = "lost"


class TransitEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a trace. ``at``: as the carrier stamps it. ``action``: the platform's code, where it has one.

    The carrier's words are read and not kept: they name couriers and whoever signed.
    """

    at: datetime
    action: str | None
    meaning: TraceMeaning


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """What the platform knows of the way of a parcel.

    Attributes:
        asked_at: the platform's time when it was asked: everything known by then is in it.
        answer: as it came, without the carrier's words; None: the platform said that there is no trace.
        tracking_number: by which it goes now: another one than the seller's where it was handed on.
        company: who carries it now.
        claims_signed: the platform calls it delivered, whether or not an event says so.
        is_traceable: whether there can ever be a trace of it.
        events: in no order.
        unreadable: why events were left out.

    """

    asked_at: datetime
    answer: Answer | None = None
    tracking_number: str | None = None
    company: str | None = None
    claims_signed: bool = False
    is_traceable: bool = True
    events: tuple[TransitEvent, ...] = ()
    unreadable: tuple[str, ...] = ()


class Shipment(msgspec.Struct, frozen=True, kw_only=True):
    """A parcel of an order, as the platform lists it. ``item_ids``: the lines in it, none: all of them."""

    tracking_number: str | None
    company: str | None
    item_ids: tuple[str, ...]


class TraceSource(Protocol):
    """The ways of a shop's parcels. Every method raises ``traffic.errors.CallError`` as OrderPlatform does.

    Its calls stand aside: they do not wait for long where orders use up the rate budget, and their failures say nothing
    about the rest of the platform.
    """

    @property
    def trace_topic(self) -> str:
        """The topic of messages about parcels."""
        ...

    def trace(self, order_id: str, item_ids: Sequence[str] = ()) -> Trace:
        """Ask for the trace of an order's parcel; of an order in several, of the one with these lines."""
        ...

    def traces(self, order_id: str) -> tuple[Trace, ...]:
        """Ask for the traces of all parcels of an order."""
        ...

    def shipments(self, order_id: str) -> tuple[Shipment, ...]:
        """Ask for the parcels that an order left in."""
        ...

    def read_trace_message(self, content: str) -> TransitEvent | None:
        """Read the event that a message about a parcel tells of, None where it tells of none. Calls nothing."""
        ...
