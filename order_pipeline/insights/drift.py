"""Whether a platform's records have other fields than they had: new ones, some that vanished, values of another type.

Belongs here: judging counts. Not here: which fields a platform has (platforms/), counting (sync/drift.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from statistics import median
from typing import NamedTuple

# A value that is not there; which fields are empty is the shop's business.
NULL = "null"

# One odd record is no other wire; the odd record itself is kept, or in quarantine.
FEWEST_RECORDS = 5
# A field that should have come in twenty of the records looked at, and came in none: once in 500 million (e^-20).
FEWEST_EXPECTED = 20.0
# What has been so on most of the last days is how it is now.
USUAL_SHARE = 0.5


class Kind(StrEnum):
    """What happened to a field."""

    UNKNOWN = "unknown"
    VANISHED = "vanished"
    RETYPED = "retyped"


class Fields(NamedTuple):
    """The fields of an object: those that are known at all, and of them those that have a column."""

    known: frozenset[str]
    mapped: frozenset[str]


class Shapes(NamedTuple):
    """Counts: ``records`` by object; ``seen``: records by object, field and JSON type."""

    records: Mapping[str, int]
    seen: Mapping[tuple[str, str, str], int]

    def of(self, name: str, field: str) -> dict[str, int]:
        """Return how often the field had a value, by its type."""
        return {
            kind: count
            for (an_object, a_field, kind), count in self.seen.items()
            if (an_object, a_field) == (name, field) and kind != NULL
        }


class Drift(NamedTuple):
    """One finding. ``kind``: the JSON type that is new, empty where none is."""

    object: str
    field: str
    drift: Kind
    kind: str
    is_mapped: bool
    records: int


def drifts(fields: Mapping[str, Fields], now: Shapes, before: Sequence[Shapes]) -> list[Drift]:
    """Return what is otherwise now than it was.

    Args:
        fields: by object.
        now: what a look found.
        before: what was found on each of the days before; without any only unknown fields can be told.

    """
    return [
        drift
        for name, of_object in fields.items()
        for drift in (
            *_unknown(name, of_object, now),
            *(each for field in sorted(of_object.mapped) for each in _of_mapped(name, field, now, before)),
        )
    ]


def _unknown(name: str, fields: Fields, now: Shapes) -> list[Drift]:
    counts: dict[str, int] = {}
    for (an_object, field, _), count in now.seen.items():
        if an_object == name and field not in fields.known:
            counts[field] = counts.get(field, 0) + count
    return [Drift(name, field, Kind.UNKNOWN, "", False, count) for field, count in sorted(counts.items())]


def _of_mapped(name: str, field: str, now: Shapes, before: Sequence[Shapes]) -> list[Drift]:
    kinds = now.of(name, field)
    days = [(day.of(name, field), day.records.get(name, 0)) for day in before]
    if not kinds:
        shares = [sum(of_day.values()) / records for of_day, records in days if records]
        records = now.records.get(name, 0)
        if shares and median(shares) * records >= FEWEST_EXPECTED:
            return [Drift(name, field, Kind.VANISHED, "", True, records)]
        return []
    with_values = [of_day for of_day, _ in days if of_day]
    return [
        Drift(name, field, Kind.RETYPED, kind, True, count)
        for kind, count in sorted(kinds.items())
        if count >= FEWEST_RECORDS
        and with_values
        and sum(kind in of_day for of_day in with_values) <= USUAL_SHARE * len(with_values)
    ]
