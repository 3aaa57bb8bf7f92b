"""How much of a SKU may still be sold, and which number the platform should be told.

Belongs here: the arithmetic of stock, pure. Not here: reading levels and claims (warehouse/), writing (sync/).

Words, all of them pieces of one SKU at one moment:

- ``shown``: what the platform says there is. It takes paid pieces off by itself, so it is what is on the shelf minus
  what is reserved, minus what we told it to hold back.
- ``withheld``: what our own writes hold back already. Without it, writing "shown minus held" twice would take the same
  pieces off twice.
- ``claimed``: pieces that are spoken for and that the platform does not know of: held by deposits, or sold inside a
  bundle that only the merchant's own list explains.
- ``sellable`` = shown + withheld - claimed, and never below zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Plan(NamedTuple):
    """What to tell the platform of a SKU, an absolute number, and what is held back once it is so."""

    before: int
    target: int
    withheld: int


def sellable(shown: int | None, withheld: int, claimed: int) -> int | None:
    """Return how many pieces may be sold; None: nobody knows, which is not none."""
    return None if shown is None else max(shown + withheld - claimed, 0)


def plan(shown: int | None, withheld: int, claimed: int) -> Plan | None:
    """Return what to write; None: the platform has that number already, or nobody knows what it has.

    Doing it twice changes nothing: after the write ``withheld`` has grown by what ``shown`` has fallen.
    """
    if shown is None:
        return None
    there = shown + withheld
    target = max(there - claimed, 0)
    return None if target == shown else Plan(shown, target, there - target)


def was_carried_out(before: int, target: int, shown: int) -> bool:
    """Judge, from what the platform shows now, whether a write whose answer got lost was carried out.

    Sales and returns of the moments in between may have moved the number: it was if that is nearer to what was
    written. Where both are as near it was not: writing once more holds back too much, never too little.
    """
    return abs(shown - target) < abs(shown - before)


class Claim(NamedTuple):
    """Pieces of a SKU that are spoken for, by the key that levels go by."""

    key: tuple[str, str]
    reserved: int
    held: int


class Component(NamedTuple):
    """A part of a bundle: ``pieces`` of ``key`` are in one of the bundle.

    ``platform_knows``: the bundle is the platform's own (组合商品), which takes its parts' stock itself.
    """

    bundle: tuple[str, str]
    key: tuple[str, str]
    pieces: int
    platform_knows: bool


class Claims(NamedTuple):
    """What is spoken for of a SKU: by its own lines, and (the part of these) inside bundles.

    ``unknown_to_platform``: of ``reserved``, what the platform has not taken off.
    """

    reserved: int = 0
    held: int = 0
    reserved_in_bundles: int = 0
    held_in_bundles: int = 0
    unknown_to_platform: int = 0

    @property
    def claimed(self) -> int:
        """What the platform does not know of."""
        return self.held + self.unknown_to_platform


def expand(claims: Iterable[Claim], components: Iterable[Component]) -> dict[tuple[str, str], Claims]:
    """Return what is spoken for by SKU, bundles taken apart. A bundle keeps its own claim, and its parts get theirs.

    A bundle's parts are not taken apart again: platforms have no bundles of bundles.
    """
    parts: dict[tuple[str, str], list[Component]] = {}
    for component in components:
        parts.setdefault(component.bundle, []).append(component)
    found: dict[tuple[str, str], Claims] = {}
    for key, reserved, held in claims:
        own = found.get(key, Claims())
        found[key] = own._replace(reserved=own.reserved + reserved, held=own.held + held)
        for part in parts.get(key, ()):
            of_part = found.get(part.key, Claims())
            inside, promised = reserved * part.pieces, held * part.pieces
            found[part.key] = Claims(
                of_part.reserved + inside,
                of_part.held + promised,
                of_part.reserved_in_bundles + inside,
                of_part.held_in_bundles + promised,
                of_part.unknown_to_platform + (0 if part.platform_knows else inside),
            )
    return found
