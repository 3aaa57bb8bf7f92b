"""Group ``raw``: pages of the platform's lists, and the worklist they feed.

Belongs here: history by day of creation, increments by day of change. Not here: details (assets/orders.py).
"""

from collections.abc import Sequence
from datetime import datetime

import dagster as dg

from order_pipeline.assets.configs import ChangesConfig, ShopsConfig
from order_pipeline.assets.partitions import FRESH_DAILY, daily, partition_days
from order_pipeline.assets.reports import named_failures, table
from order_pipeline.configuration import days_per_run
from order_pipeline.resources.shops import ShopsResource
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.listing import list_history_days
from order_pipeline.sync.loading import Listing
from order_pipeline.sync.polling import poll
from order_pipeline.sync.shops import for_each_shop
from order_pipeline.warehouse.subjects import ORDERS, Subject
from order_pipeline.wording import counted

BACKFILL = dg.BackfillPolicy.multi_run(max_partitions_per_run=days_per_run())
# First loads and backfills of many days must not take every slot from what changes now.
HISTORY_POOL = "history"

# The latest openings and closings of a breaker.
CHANGES_SHOWN = 10


@dg.asset(
    partitions_def=daily,
    group_name="raw",
    owners=["team:order-data"],
    kinds={"postgres", "python"},
    backfill_policy=BACKFILL,
    pool=HISTORY_POOL,
    metadata={"dagster/table_name": "raw.page"},
    check_specs=[dg.AssetCheckSpec("every_record_was_read", asset="history_pages")],
)
def history_pages(
    context: dg.AssetExecutionContext, config: ShopsConfig, warehouse: WarehouseResource, shops: ShopsResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Orders by day of creation (Asia/Shanghai): the first load, and the way to load a past day again."""

    def history_of(access: ShopAccess, now: datetime) -> list[Listing]:
        return list_history_days(access, warehouse.engine, partition_days(context), now)

    with named_failures():
        listings = for_each_shop(
            shops.open(warehouse.engine, config.shops),
            warehouse.engine,
            lambda access: history_of(access, access.platform.now()),
        )
    return listing_result("history_pages", [listing for of_shop in listings for listing in of_shop], ORDERS)


@dg.asset(
    partitions_def=daily,
    group_name="raw",
    owners=["team:order-data"],
    kinds={"postgres", "python"},
    backfill_policy=BACKFILL,
    freshness_policy=FRESH_DAILY,
    metadata={"dagster/table_name": "raw.page"},
    check_specs=[
        dg.AssetCheckSpec("every_record_was_read", asset="increment_pages"),
        dg.AssetCheckSpec("breaker_is_closed", asset="increment_pages"),
    ],
)
def increment_pages(
    context: dg.AssetExecutionContext, config: ChangesConfig, warehouse: WarehouseResource, shops: ShopsResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Orders by day of their last change (Asia/Shanghai), from just before the watermark on."""
    with named_failures():
        accesses = shops.open(warehouse.engine, config.shops)
        listings = for_each_shop(
            accesses,
            warehouse.engine,
            lambda access: poll(access, warehouse.engine, partition_days(context), whole_day=config.whole_day),
        )
    return listing_result(
        "increment_pages", [listing for of_shop in listings for listing in of_shop], ORDERS, _breaker_check(accesses)
    )


def _breaker_check(accesses: Sequence[ShopAccess]) -> dg.AssetCheckResult:
    """Say which shops' breakers are open, since when and why."""
    states = {access.shop.id: access.gate.breaker.state() for access in accesses if access.gate.breaker}
    said = [
        f"shop {shop_id}: open since {state.since:%F %T %Z}, {state.reason}; one full pull an hour instead of polls"
        for shop_id, state in states.items()
        if state.is_open
    ]
    breakers = {each.gate.breaker.app_key: each.gate.breaker for each in accesses if each.gate.breaker}
    changes = [
        {"app": app_key, "at": change.changed_at, "state": change.state, "why": change.reason}
        for app_key, breaker in breakers.items()
        for change in breaker.changes(CHANGES_SHOWN)
    ]
    return dg.AssetCheckResult(
        check_name="breaker_is_closed",
        asset_key="increment_pages",
        passed=not said,
        # Degraded is not wrong: what is in the tables is right, only older.
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(said) or None,
        metadata={"open": len(said), **({"changes": table(changes)} if changes else {})},
    )


def listing_result(
    asset: str, listings: Sequence[Listing], subject: Subject, *checks: dg.AssetCheckResult
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Report what was listed: totals that plot over the partitions, and a row a shop."""
    quarantined = sum(listing.stored.quarantined for listing in listings)
    lags = [listing.lag_seconds for listing in listings if listing.lag_seconds is not None]
    by_shop = {
        shop_id: [listing for listing in listings if listing.shop_id == shop_id]
        for shop_id in dict.fromkeys(listing.shop_id for listing in listings)
    }
    return dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": sum(listing.pages for listing in listings),
            f"{subject.name}_listed": sum(listing.stored.listed for listing in listings),
            f"{subject.name}_changed": sum(listing.stored.changed for listing in listings),
            "records_quarantined": quarantined,
            "calls": sum(listing.calls for listing in listings),
            "seconds": round(sum(listing.seconds for listing in listings), 3),
            "watermark_lag_seconds": round(max(lags, default=0.0), 3),
            "shops": table(
                [
                    {
                        "shop": shop_id,
                        "windows": len([listing for listing in of_shop if listing.window]),
                        "pages": sum(listing.pages for listing in of_shop),
                        "listed": sum(listing.stored.listed for listing in of_shop),
                        "changed": sum(listing.stored.changed for listing in of_shop),
                        "quarantined": sum(listing.stored.quarantined for listing in of_shop),
                        "calls": sum(listing.calls for listing in of_shop),
                        "watermark": of_shop[-1].watermark,
                    }
                    for shop_id, of_shop in by_shop.items()
                ]
            ),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="every_record_was_read",
                asset_key=asset,
                passed=quarantined == 0,
                description=None
                if quarantined == 0
                else f"{counted(quarantined, 'record')} could not be read; sync.quarantine has all of it, and why",
                metadata={"records_quarantined": quarantined},
            ),
            *checks,
        ],
    )
