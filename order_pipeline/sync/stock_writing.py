"""Writing to the platform how much may still be sold, so that what deposits hold is not sold twice.

Belongs here: the order of reading, noting, writing and settling. Not here: the numbers (insights/stock_levels.py), the
table (warehouse/stock_writes.py), the calls (platforms).

Only SKUs are touched of which something is held, or of whose stock an earlier write holds something back. Each is read
in the moment before it is written, as sales go on. A write is noted before it is made; one whose answer got lost is
looked after by reading, and only then written again.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection, Engine

from order_pipeline.configuration import WriteStock
from order_pipeline.insights.stock_levels import Claims, plan, was_carried_out
from order_pipeline.platforms.protocol import StockLevel
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.actor import actor
from order_pipeline.sync.inventory import SkuKey, current_claims
from order_pipeline.traffic.errors import CallError, OutcomeUnknownError
from order_pipeline.warehouse.database import in_transaction
from order_pipeline.warehouse.inventory import level_codes
from order_pipeline.warehouse.stock_writes import (
    DONE,
    DRY_RUN,
    NOT_DONE,
    PLANNED,
    REFUSED,
    UNKNOWN,
    OpenWrite,
    StockWrite,
    note_writes,
    open_writes,
    read_withheld,
    settle_writes,
    writing,
)
from order_pipeline.warehouse.watermarks import STOCK_DRY_RUN, begin_watermark, move_watermark, read_watermark

logger = logging.getLogger(__name__)

# A write whose answer got lost is looked after and made once more; what is unknown then waits for the next run.
ATTEMPTS = 2


class Written(NamedTuple):
    """What came of writing a shop's stock. ``planned``: what was, or in a dry run would have been, written."""

    shop_id: str
    mode: WriteStock
    planned: tuple[StockWrite, ...] = ()
    done: int = 0
    problems: tuple[str, ...] = ()

    @property
    def is_well(self) -> bool:
        """Whether nothing is left undone."""
        return not self.problems


def write_stock(access: ShopAccess, engine: Engine, *, mode: WriteStock | None = None) -> Written:
    """Work out what the platform should say, and in mode ``on`` tell it; the shop's own mode if left out.

    Raises CallError when the platform cannot be read; what was noted by then is settled the next time.
    """
    mode = mode or access.shop.write_stock
    if mode is WriteStock.OFF:
        return Written(access.shop.id, mode)
    looked_at = partial(read_watermark, shop_id=access.shop.id, channel=STOCK_DRY_RUN)
    if mode is WriteStock.ON and in_transaction(engine, looked_at) is None:
        return Written(
            access.shop.id,
            mode,
            problems=(
                (
                    f"shop {access.shop.id}: nothing was written, as no dry run was ever looked at; look at what would "
                    f"change: order-pipeline stock write --dry-run --shop {access.shop.id}"
                ),
            ),
        )
    with writing(engine, access.shop.id) as is_ours:
        if not is_ours:
            return Written(access.shop.id, mode, problems=(f"shop {access.shop.id}: another process is writing",))
        return _write(access, engine, mode)


def _write(access: ShopAccess, engine: Engine, mode: WriteStock) -> Written:
    shop_id = access.shop.id
    planned: list[StockWrite] = []
    problems: list[str] = []
    done = 0
    for _ in range(ATTEMPTS):
        shown = _read(access, engine)
        if mode is WriteStock.DRY_RUN:
            writes = in_transaction(engine, partial(_note_dry_run, shop_id=shop_id, shown=shown))
            return Written(shop_id, mode, tuple(writes))
        done += in_transaction(engine, partial(_settle_open, shop_id=shop_id, shown=shown))
        writes = in_transaction(engine, partial(_plan, shop_id=shop_id, shown=shown))
        planned += writes
        problems = []
        is_unknown = False
        for num_iid, batch in _batches(writes, access.platform.levels_a_write):
            error = _carry_out(access, engine, num_iid, batch)
            done += 0 if error else len(batch)
            problems += [str(error)] if error else []
            is_unknown = is_unknown or isinstance(error, OutcomeUnknownError)
        if not is_unknown:
            break
        logger.warning("shop %s: stock is read again: %s", shop_id, "; ".join(problems))
    else:
        # The last answers got lost too; what was carried out all the same is seen now.
        done += in_transaction(engine, partial(_settle_open, shop_id=shop_id, shown=_read(access, engine)))
    in_doubt = in_transaction(engine, partial(open_writes, shop_id=shop_id))
    problems += [
        f"item {write.num_iid}, SKU {write.sku_id or 'none'}: nobody knows whether {write.target} was written, as the "
        f"platform does not show its stock; the next run reads it again"
        for write in in_doubt
    ]
    return Written(shop_id, mode, tuple(planned), done, tuple(problems))


def _note_dry_run(connection: Connection, *, shop_id: str, shown: Mapping[SkuKey, StockLevel]) -> list[StockWrite]:
    writes = _plan(connection, shop_id=shop_id, shown=shown)
    note_writes(connection, shop_id, writes, DRY_RUN, actor())
    now = datetime.now(UTC)
    begin_watermark(connection, shop_id, now, STOCK_DRY_RUN)
    move_watermark(connection, shop_id, now, STOCK_DRY_RUN)
    return writes


def _carry_out(access: ShopAccess, engine: Engine, num_iid: str, batch: Sequence[StockWrite]) -> CallError | None:
    """Write some SKUs of an item; return why it is not done, or not known to be."""
    noted = in_transaction(
        engine, partial(note_writes, shop_id=access.shop.id, writes=batch, status=PLANNED, actor=actor())
    )

    def settle(status: str, problem: str | None = None) -> None:
        in_transaction(engine, partial(settle_writes, write_ids=noted, status=status, problem=problem))

    try:
        access.platform.write_levels(num_iid, {write.sku_id: write.target for write in batch})
    except OutcomeUnknownError as error:
        settle(UNKNOWN, str(error))
        return error
    except CallError as error:
        settle(REFUSED, str(error))
        return error
    settle(DONE)
    return None


def _read(access: ShopAccess, engine: Engine) -> dict[SkuKey, StockLevel]:
    """Read the stock of all items of which anything is held, held back, or in doubt."""
    shop_id = access.shop.id

    def concerned(connection: Connection) -> list[str]:
        claims, _ = current_claims(connection, shop_id, level_codes(connection, shop_id))
        keys = {key for key, claim in claims.items() if claim.claimed}
        keys |= read_withheld(connection, shop_id).keys()
        keys |= {(write.num_iid, write.sku_id) for write in open_writes(connection, shop_id)}
        return sorted({num_iid for num_iid, _ in keys if num_iid})

    num_iids = in_transaction(engine, concerned)
    levels = [level for page in access.platform.sku_levels(num_iids) for level in page.levels]
    with_skus = {level.num_iid for level in levels}
    without = set(num_iids) - with_skus
    if without:
        # Only lists show the stock of items without SKUs.
        levels += [
            StockLevel(
                num_iid=item.num_iid, sku_id="", sku_code=item.sku_code, quantity=item.quantity, problem=item.problem
            )
            for page in access.platform.stocked_items()
            for item in page.items
            if item.num_iid in without
        ]
    return {(level.num_iid, level.sku_id): level for level in levels}


def _settle_open(connection: Connection, *, shop_id: str, shown: Mapping[SkuKey, StockLevel]) -> int:
    """Judge writes whose outcome nobody knows by what the platform shows; return how many turned out to be done.

    What the platform does not show stays unknown.
    """
    done = 0
    for write in open_writes(connection, shop_id):
        level = shown.get((write.num_iid, write.sku_id))
        if level is None or level.quantity is None:
            continue
        is_done = was_carried_out(write.before, write.target, level.quantity)
        settle_writes(connection, [write.write_id], DONE if is_done else NOT_DONE, _judged(write, level.quantity))
        done += is_done
    return done


def _judged(write: OpenWrite, quantity: int) -> str:
    return (
        f"its answer got lost; it was to change {write.before} to {write.target}, and {quantity} was found afterwards"
    )


def _plan(connection: Connection, *, shop_id: str, shown: Mapping[SkuKey, StockLevel]) -> list[StockWrite]:
    in_doubt = {(write.num_iid, write.sku_id) for write in open_writes(connection, shop_id)}
    withheld = read_withheld(connection, shop_id)
    claims, _ = current_claims(connection, shop_id, level_codes(connection, shop_id))
    writes = []
    for key, level in sorted(shown.items()):
        claimed, held_back = claims.get(key, Claims()).claimed, withheld.get(key, 0)
        planned = plan(level.quantity, held_back, claimed) if claimed or held_back else None
        if planned and key not in in_doubt:
            writes.append(
                StockWrite(*key, level.sku_code, planned.before, planned.target, held_back, planned.withheld, claimed)
            )
    return writes


def _batches(writes: Sequence[StockWrite], most: int) -> list[tuple[str, list[StockWrite]]]:
    by_item: dict[str, list[StockWrite]] = defaultdict(list)
    for write in writes:
        by_item[write.num_iid].append(write)
    return [
        (num_iid, of_item[start : start + most])
        for num_iid, of_item in by_item.items()
        for start in range(0, len(of_item), most)
    ]
