"""Group ``inventory``: stock by day and SKU, and what the platform is told of it.

Belongs here: both as assets with their checks. Not here: holds (assets/holds.py), the arithmetic
(insights/stock_levels.py).
"""

from collections.abc import Sequence
from typing import Any

import dagster as dg
from sqlalchemy import Engine

from order_pipeline.assets.configs import ShopsConfig
from order_pipeline.assets.holds import presale_holds
from order_pipeline.assets.pages import BACKFILL
from order_pipeline.assets.partitions import FRESH_DAILY, daily, partition_days
from order_pipeline.assets.reports import named_failures, table
from order_pipeline.resources.shops import ShopsResource
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.inventory import Snapshot, take_snapshot
from order_pipeline.sync.merchant_files import load_configured
from order_pipeline.sync.shops import for_each_shop
from order_pipeline.sync.stock_writing import Written, write_stock
from order_pipeline.sync.windows import day_of
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.inventory import short_levels
from order_pipeline.warehouse.merchant_lists import SUPPLIERS, read_list_state, skus_without_supplier
from order_pipeline.warehouse.stock_writes import latest_writes
from order_pipeline.wording import counted

SHOWN = 20


@dg.asset(
    deps=[presale_holds],
    partitions_def=daily,
    group_name="inventory",
    owners=["team:order-data"],
    kinds={"postgres", "python"},
    backfill_policy=BACKFILL,
    freshness_policy=FRESH_DAILY,
    metadata={"dagster/table_name": "bi.inventory_levels"},
    check_specs=[
        dg.AssetCheckSpec("stock_is_known", asset="inventory_levels"),
        dg.AssetCheckSpec("holds_are_covered", asset="inventory_levels"),
        dg.AssetCheckSpec("merchant_lists_are_read", asset="inventory_levels"),
        dg.AssetCheckSpec("suppliers_are_known", asset="inventory_levels"),
    ],
)
def inventory_levels(
    context: dg.AssetExecutionContext, config: ShopsConfig, warehouse: WarehouseResource, shops: ShopsResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Stock by SKU as the platform shows it today, with what is reserved, held and may be sold.

    The platform says only what is there now: a run for a past day leaves its snapshot as it is.
    """
    engine = warehouse.engine
    days = partition_days(context)

    def look(access: ShopAccess) -> Snapshot | None:
        return take_snapshot(access, engine) if day_of(access.platform.now()) in days else None

    with named_failures():
        problems_of_lists = load_configured(engine)
        found = for_each_shop(shops.open(engine, config.shops), engine, look)
    snapshots = [snapshot for snapshot in found if snapshot]
    problems = [f"shop {each.shop_id}: {problem}" for each in snapshots for problem in each.problems]
    return dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": sum(each.skus for each in snapshots),
            "skus": sum(each.skus for each in snapshots),
            "unknown": sum(each.unknown for each in snapshots),
            "out_of_stock": sum(each.out_of_stock for each in snapshots),
            "held": sum(each.held for each in snapshots),
            "reserved": sum(each.reserved for each in snapshots),
            "shops": table(
                [
                    {**each._asdict(), "problems": len(each.problems), "seconds": round(each.seconds, 3)}
                    for each in snapshots
                ]
            ),
        },
        check_results=[
            _list_check("stock_is_known", problems, "goods need a look"),
            _covered_check(engine, snapshots),
            _list_check("merchant_lists_are_read", problems_of_lists, "mistakes in your lists"),
            _suppliers_check(engine, snapshots),
        ],
    )


@dg.asset(
    deps=[inventory_levels],
    partitions_def=daily,
    group_name="inventory",
    owners=["team:order-data"],
    kinds={"postgres", "python"},
    backfill_policy=BACKFILL,
    freshness_policy=FRESH_DAILY,
    metadata={"dagster/table_name": "core.stock_write"},
    check_specs=[dg.AssetCheckSpec("stock_is_written", asset="stock_writes")],
)
def stock_writes(
    context: dg.AssetExecutionContext, config: ShopsConfig, warehouse: WarehouseResource, shops: ShopsResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Stock as the platform is told of it, where a shop's write_stock says so: its number without what is held.

    Off unless shops.yaml says otherwise. A run for a past day writes nothing: only today's stock can be written.
    """
    engine = warehouse.engine
    days = partition_days(context)

    def write(access: ShopAccess) -> Written | None:
        return write_stock(access, engine) if day_of(access.platform.now()) in days else None

    with named_failures():
        accesses = shops.open(engine, config.shops)
        writes = [written for written in for_each_shop(accesses, engine, write) if written]
    with transaction(engine) as connection:
        latest = latest_writes(connection, [access.shop.id for access in accesses], SHOWN)
    return dg.MaterializeResult(
        metadata={
            "dagster/partition_row_count": sum(each.done for each in writes),
            "planned": sum(len(each.planned) for each in writes),
            "written": sum(each.done for each in writes),
            "shops": table(
                [
                    {"shop": each.shop_id, "mode": str(each.mode), "planned": len(each.planned), "written": each.done}
                    for each in writes
                ]
            ),
            "latest": table(latest),
        },
        check_results=[
            _list_check(
                "stock_is_written",
                [problem for each in writes for problem in each.problems],
                "numbers are not written",
                asset="stock_writes",
                severity=dg.AssetCheckSeverity.ERROR,
            )
        ],
    )


def _list_check(
    name: str,
    problems: Sequence[str],
    meaning: str,
    *,
    asset: str = "inventory_levels",
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.WARN,
) -> dg.AssetCheckResult:
    """Return a check that has a row for every problem, each with its remedy."""
    return dg.AssetCheckResult(
        check_name=name,
        asset_key=asset,
        passed=not problems,
        severity=severity,
        description=f"{len(problems)} {meaning}; the first: {problems[0]}" if problems else None,
        metadata={"problems": table([{"problem": problem} for problem in problems[:SHOWN]]), "count": len(problems)},
    )


def _covered_check(engine: Engine, snapshots: Sequence[Snapshot]) -> dg.AssetCheckResult:
    count = 0
    rows: list[dict[str, Any]] = []
    with transaction(engine) as connection:
        for snapshot in snapshots:
            found, some = short_levels(connection, snapshot.shop_id, snapshot.day, SHOWN)
            count, rows = count + found, rows + some
    return dg.AssetCheckResult(
        check_name="holds_are_covered",
        asset_key="inventory_levels",
        passed=not count,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"deposits hold more of {counted(count, 'SKU')} "
        f"than there is: buy what is missing before it is promised"
        if count
        else None,
        metadata={"skus": count, "sample": table(rows[:SHOWN])},
    )


def _suppliers_check(engine: Engine, snapshots: Sequence[Snapshot]) -> dg.AssetCheckResult:
    count = 0
    rows: list[dict[str, Any]] = []
    with transaction(engine) as connection:
        loaded = read_list_state(connection, SUPPLIERS)
        for snapshot in snapshots if loaded else ():
            found, some = skus_without_supplier(connection, snapshot.shop_id, SHOWN)
            count, rows = count + found, rows + some
    return dg.AssetCheckResult(
        check_name="suppliers_are_known",
        asset_key="inventory_levels",
        passed=not count,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{counted(count, 'SKU on sale has', 'SKUs on sale have')} "
        f"no row in the list of suppliers: add them and load it again "
        f"(order-pipeline suppliers load); nothing is assumed for them"
        if count
        else None
        if loaded
        else "no list of suppliers was ever loaded",
        metadata={"skus": count, "sample": table(rows[:SHOWN])},
    )
