"""A day's snapshot of a shop's stock: what the platform says, what is spoken for, what may be sold.

Belongs here: asking, putting together, storing. Not here: the arithmetic (insights/stock_levels.py), the tables
(warehouse/inventory.py), writing stock (stock_writing.py).
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import NamedTuple

from sqlalchemy import Connection, Engine

from order_pipeline.insights.stock_levels import Claim, Claims, Component, expand, sellable
from order_pipeline.platforms.protocol import StockItem, StockLevel
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.storing import raw_page
from order_pipeline.sync.windows import day_of
from order_pipeline.warehouse.database import in_transaction
from order_pipeline.warehouse.inventory import (
    BundleRow,
    ordered_bundles,
    read_claims,
    read_components,
    replace_components,
    store_levels,
)
from order_pipeline.warehouse.merchant_lists import read_bundle_parts
from order_pipeline.warehouse.raw import store_pages
from order_pipeline.warehouse.stock_writes import open_writes, read_withheld

CHANNEL = "inventory"

LOOK_AT_ITEM = (
    "look at the item on the platform; until it is mended nothing is written for it, and it counts as unknown"
)
NOT_LISTED = (
    "orders wait for it, but the platform lists no such SKU: it was taken away or changed; find out what to send"
)
NO_SKU_IDS = "a line of an order names no item; look it up in bi.order_items where num_iid is empty"

SkuKey = tuple[str, str]


class Snapshot(NamedTuple):
    """What a shop's snapshot brought. ``problems``: what is wrong with single goods, each with its remedy."""

    shop_id: str
    day: date
    skus: int
    unknown: int
    out_of_stock: int
    held: int
    reserved: int
    problems: tuple[str, ...]
    calls: int
    seconds: float


def take_snapshot(access: ShopAccess, engine: Engine) -> Snapshot:
    """Ask the platform for all goods and store today's levels; again on the same day they are replaced.

    Raises CallError when the platform does not answer; then the day's levels stay as they were.
    """
    started = time.monotonic()
    calls_before = access.calls.total
    shop = access.shop
    now = access.platform.now()
    items: dict[str, StockItem] = {}
    problems: list[str] = []
    answers = []
    for page in access.platform.stocked_items():
        items |= {item.num_iid: item for item in page.items}
        problems += [f"a row of the platform's list of items cannot be read: {reason}" for reason in page.rejected]
        if page.short_by:
            problems.append(
                f"the platform counts {page.short_by} items more than it lists; if that stays so, compare the list "
                f"with the seller's page"
            )
        answers.append(page.answer)
    levels: list[StockLevel] = []
    for skus in access.platform.sku_levels(list(items)):
        levels += skus.levels
        problems += [f"a SKU that the platform lists cannot be read: {reason}" for reason in skus.rejected]
        answers.append(skus.answer)
    with_skus = {level.num_iid for level in levels}
    levels += [_item_level(item) for item in items.values() if item.num_iid not in with_skus]

    def work(connection: Connection) -> tuple[list[tuple[object, ...]], list[str]]:
        store_pages(connection, shop.id, shop.platform, CHANNEL, [raw_page(answer, None) for answer in answers])
        said = learn_bundles(connection, access, now)
        codes = [(level.num_iid, level.sku_id, level.sku_code) for level in levels]
        claims, unmatched = current_claims(connection, shop.id, codes)
        in_doubt = {(write.num_iid, write.sku_id) for write in open_writes(connection, shop.id)}
        rows = _rows(items, levels, claims, read_withheld(connection, shop.id), in_doubt)
        store_levels(connection, shop.id, day_of(now), now, rows)
        return rows, said + unmatched

    rows, said = in_transaction(engine, work)
    problems += said
    problems += [f"item {row[0]}, SKU {row[1] or 'none'} ({row[2] or 'no code'}): {row[13]}" for row in rows if row[13]]
    own = current_pieces(rows)
    return Snapshot(
        shop.id,
        day_of(now),
        len(rows),
        sum(1 for row in rows if row[5] is None),
        sum(1 for row in rows if row[12]),
        own.held,
        own.reserved,
        tuple(problems),
        access.calls.total - calls_before,
        time.monotonic() - started,
    )


def current_claims(
    connection: Connection, shop_id: str, codes: Iterable[tuple[str, str, str | None]]
) -> tuple[dict[SkuKey, Claims], list[str]]:
    """Return what is spoken for by SKU, bundles taken apart, and what of the merchant's bundles is not understood.

    ``codes``: num_iid, sku_id and the merchant's code of each SKU. A code can be on several, and then counts for each.
    """
    by_code: dict[str, list[SkuKey]] = defaultdict(list)
    for num_iid, sku_id, code in codes:
        if code:
            by_code[code].append((num_iid, sku_id))
    problems: list[str] = []
    components: list[Component] = []
    listed: set[SkuKey] = set()
    for bundle_code, part_code, quantity in read_bundle_parts(connection):
        bundles = by_code.get(bundle_code, [])
        listed |= set(bundles)
        parts = by_code.get(part_code, [])
        if bundles and not parts:
            problems.append(
                f"bundle {bundle_code}: no SKU of shop {shop_id} has its part's code {part_code}; correct the code in "
                f"the list of bundles or on the platform"
            )
        components += [Component(bundle, part, quantity, False) for bundle in bundles for part in parts]
    # What the merchant says of a bundle counts more than what orders say.
    components += [
        Component(bundle, (row.num_iid, row.sku_id), row.quantity, True)
        for row in read_components(connection, shop_id)
        if (bundle := (row.bundle_num_iid, row.bundle_sku_id)) not in listed
    ]
    rows = read_claims(connection, shop_id)
    return expand([Claim((row.num_iid, row.sku_id), row.reserved, row.held) for row in rows], components), problems


def learn_bundles(connection: Connection, access: ShopAccess, now: datetime) -> list[str]:
    """Note what the platform's own bundles are made of, from the latest orders of them; return what is unreadable."""
    rows: list[BundleRow] = []
    problems: list[str] = []
    for num_iid, sku_id, info in ordered_bundles(connection, access.shop.id, now):
        parts = access.platform.read_bundle(info)
        if isinstance(parts, str):
            problems.append(
                f"bundle {num_iid}, SKU {sku_id or 'none'}: its parts cannot be read ({parts}); name them in the list "
                f"of bundles"
            )
            continue
        rows += [
            BundleRow(num_iid, sku_id, part.num_iid, part.sku_id or "", part.sku_code or "", part.quantity)
            for part in parts
        ]
    replace_components(connection, access.shop.id, rows)
    return problems


def current_pieces(rows: Sequence[Sequence[object]]) -> Claims:
    """Return the sums over snapshot rows, parts of bundles not counted a second time."""
    total = Claims()
    for row in rows:
        reserved, held, reserved_inside, held_inside = (int(str(row[place])) for place in (6, 7, 8, 9))
        total = total._replace(
            reserved=total.reserved + reserved - reserved_inside, held=total.held + held - held_inside
        )
    return total


def _item_level(item: StockItem) -> StockLevel:
    return StockLevel(
        num_iid=item.num_iid, sku_id="", sku_code=item.sku_code, quantity=item.quantity, problem=item.problem
    )


def _rows(
    items: Mapping[str, StockItem],
    levels: Sequence[StockLevel],
    claims: Mapping[SkuKey, Claims],
    withheld: Mapping[SkuKey, int],
    in_doubt: Collection[SkuKey],
) -> list[tuple[object, ...]]:
    """Return the values of LEVEL_COLUMNS of every SKU that the platform lists or that orders wait for.

    ``in_doubt``: SKUs of which a write may have taken away what the platform does not show any more. That nothing was
    left marks the whole day, so there it is not said.
    """
    found: dict[SkuKey, StockLevel] = {(level.num_iid, level.sku_id): level for level in levels}
    rows: list[tuple[object, ...]] = []
    for key in sorted(found.keys() | claims.keys()):
        level, item = found.get(key), items.get(key[0])
        claim, held_back = claims.get(key, Claims()), withheld.get(key, 0)
        shown = level.quantity if level else None
        was_out = None if shown is None or (not shown and key in in_doubt) else shown + held_back == 0
        problem = None
        if level is None:
            problem = NOT_LISTED if key[0] else NO_SKU_IDS
        elif level.problem:
            problem = f"{level.problem}; {LOOK_AT_ITEM}"
        rows.append(
            (
                *key, level.sku_code if level else None, item.title if item else None, item.is_onsale if item else None,
                shown, claim.reserved, claim.held, claim.reserved_in_bundles, claim.held_in_bundles, held_back,
                sellable(shown, held_back, claim.claimed), was_out, problem,
            )
        )  # fmt: skip
    return rows
