"""Goods, how many of them a marketplace says there are, and what its bundles hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from order_pipeline.platforms.protocol.answers import Answer


class StockItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item of the shop as its list showed it.

    ``quantity``: pieces over all its SKUs; None: unreadable, and ``problem`` says what came. ``is_onsale``: buyers
    see it now.
    """

    num_iid: str
    title: str | None
    sku_code: str | None
    quantity: int | None
    is_onsale: bool
    problem: str | None


class StockLevel(msgspec.Struct, frozen=True, kw_only=True):
    """How many of a SKU the platform says there are; ``quantity`` and ``problem`` as in StockItem."""

    num_iid: str
    sku_id: str
    sku_code: str | None
    quantity: int | None
    problem: str | None


class StockItemPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of the shop's items. ``rejected``: why rows of it are not even items.

    ``short_by``: how many items fewer than it counts the list had, after walking it again; said once, on its last page.
    """

    answer: Answer
    items: tuple[StockItem, ...]
    rejected: tuple[str, ...]
    short_by: int = 0


class StockLevelPage(msgspec.Struct, frozen=True, kw_only=True):
    """The SKUs of some items. ``rejected`` as in StockItemPage."""

    answer: Answer
    levels: tuple[StockLevel, ...]
    rejected: tuple[str, ...]


class BundlePart(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a bundle of the platform's own: ``quantity`` pieces in one of the bundle."""

    num_iid: str
    sku_id: str | None
    sku_code: str | None
    quantity: int


class StockSource(Protocol):
    """A shop's goods and their stock. Every method raises ``traffic.errors.CallError`` as OrderPlatform does."""

    def stocked_items(self) -> Iterator[StockItemPage]:
        """Walk all items of the shop, on sale or not, while they move between lists. One may come several times."""
        ...

    def sku_levels(self, num_iids: Sequence[str]) -> Iterator[StockLevelPage]:
        """Ask for the SKUs of these items. Items without SKUs, and those of other shops, are silently absent."""
        ...

    def read_bundle(self, info: Any) -> tuple[BundlePart, ...] | str:
        """Read what an order's line says that its bundle holds, or why that cannot be read. Calls nothing."""
        ...

    @property
    def levels_a_write(self) -> int:
        """How many SKUs ``write_levels`` takes at most."""
        ...

    def write_levels(self, num_iid: str, levels: Mapping[str, int]) -> None:
        """Set the stock of SKUs of an item, absolute pieces by sku_id; ``{"": pieces}`` for an item without SKUs.

        Made once only. Raises OutcomeUnknownError when nobody can say whether it was carried out; after every other
        CallError it was not.
        """
        ...
