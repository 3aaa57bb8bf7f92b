"""Which fields a platform's records have on the wire, for whoever watches whether that changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec


class KnownFields(msgspec.Struct, frozen=True):
    """The fields of an object on the wire: those that are known at all, and of them those that have a column."""

    known: frozenset[str]
    mapped: frozenset[str]


class RecordShape(msgspec.Struct, frozen=True):
    """A record on the wire: what it is, and the JSON type of each of its fields (text, number, object, list, null)."""

    object: str
    kinds: Mapping[str, str]


class FieldSource(Protocol):
    """What a platform's answers are made of."""

    @property
    def known_fields(self) -> Mapping[str, KnownFields]:
        """The fields of orders, lines and refunds that there should be, by the object's name."""
        ...

    def read_shapes(self, body: str) -> Sequence[RecordShape]:
        """Look which fields the records of a stored answer of ``order`` or ``refund`` have.

        Calls nothing, and never raises; what is no such answer has no records.
        """
        ...
