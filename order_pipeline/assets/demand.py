"""What each SKU sold, in group ``decisions``.

Belongs here: what the UI sees of it. Not here: counting (sync/demand.py), forecasts (forecasts.py).
"""

import dagster as dg

from order_pipeline.assets.configs import DemandConfig
from order_pipeline.assets.orders import fullinfo_orders
from order_pipeline.assets.partitions import A_DAY_A_RUN, FRESH_DAILY, daily, partition_days
from order_pipeline.assets.refunds import refunds
from order_pipeline.assets.reports import named_failures, table
from order_pipeline.insights.demand import DemandRules
from order_pipeline.resources.shops import ShopsResource
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.sync.demand import Counted, count_demand
from order_pipeline.warehouse.daily_sales import sales_totals
from order_pipeline.warehouse.database import transaction
from order_pipeline.wording import counted

# Without their SKU so many lines would be missing that SKUs look as if they sold less.
MOST_UNUSABLE = 0.2
ROWS_SHOWN = 20


@dg.asset(
    deps=[fullinfo_orders, refunds],
    partitions_def=daily,
    group_name="decisions",
    owners=["team:order-data"],
    kinds={"postgres", "pandas"},
    backfill_policy=A_DAY_A_RUN,
    freshness_policy=FRESH_DAILY,
    metadata={"dagster/table_name": "bi.daily_sku_sales"},
    check_specs=[
        dg.AssetCheckSpec(
            "sales_are_plausible",
            asset="daily_sku_sales",
            blocking=True,
            description="Nearly every order line could be counted; a forecast from less would buy too little.",
        ),
        dg.AssetCheckSpec("every_line_has_its_sku", asset="daily_sku_sales"),
    ],
)
def daily_sku_sales(
    context: dg.AssetExecutionContext, config: DemandConfig, warehouse: WarehouseResource, shops: ShopsResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Pieces wanted a day and SKU, by day of payment.

    The days of the run are counted anew, and with them all days whose orders changed since the last count: an order
    that is closed before it was sent was no demand after all.
    """
    days = partition_days(context)
    with named_failures():
        accesses = shops.open(warehouse.engine, config.shops)
        counts = [
            count_demand(
                warehouse.engine,
                access.shop.id,
                days,
                rules=DemandRules(seller_flags=access.shop.flags_without_demand),
                rebuild=config.rebuild,
            )
            for access in accesses
        ]
        with transaction(warehouse.engine) as connection:
            totals = sales_totals(connection, [each.shop_id for each in counts], days)
    problems = [problem for each in counts for problem in each.problems]
    implausible = [each for each in counts if _is_implausible(each)]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": sum(row["skus"] for row in totals),
            "quantity": sum(row["quantity"] or 0 for row in totals),
            "days_counted": sum(len(each.days) for each in counts),
            "lines_read": sum(each.lines for each in counts),
            "left_out": table(
                [
                    {"shop": each.shop_id, "why": why, "lines": lines}
                    for each in counts
                    for why, lines in each.left_out.items()
                    if lines
                ]
            ),
            "days": table(totals[:ROWS_SHOWN]),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="sales_are_plausible",
                asset_key="daily_sku_sales",
                passed=not implausible,
                description="; ".join(
                    f"shop {each.shop_id}: {each.left_out['unusable']} of {each.lines} lines have no usable SKU; give "
                    f"the items a code (outer_id)"
                    for each in implausible
                )
                or None,
            ),
            dg.AssetCheckResult(
                check_name="every_line_has_its_sku",
                asset_key="daily_sku_sales",
                passed=not problems,
                severity=dg.AssetCheckSeverity.WARN,
                description=f"{counted(len(problems), 'row')} could not be counted" if problems else None,
                metadata={"rows": table(problems[:ROWS_SHOWN])},
            ),
        ],
    )


def _is_implausible(each: Counted) -> bool:
    return each.lines > 0 and each.left_out.get("unusable", 0) / each.lines > MOST_UNUSABLE
