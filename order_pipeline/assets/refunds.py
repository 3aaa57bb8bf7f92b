"""Groups ``raw`` and ``orders``: refunds, listed by their last change and fetched whole, as BI reads them.

Belongs here: both steps of a refund's way. Not here: orders (assets/orders.py), the proof (assets/proof.py).
"""

import dagster as dg

from order_pipeline.assets.configs import ChangesConfig, DetailsConfig
from order_pipeline.assets.messages import order_messages
from order_pipeline.assets.orders import enrichment_metadata
from order_pipeline.assets.pages import BACKFILL, listing_result
from order_pipeline.assets.partitions import daily, partition_days
from order_pipeline.assets.reports import named_failures, quarantine_check, table
from order_pipeline.resources.shops import ShopsResource
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.enrichment import Enrichment, drain
from order_pipeline.sync.polling import poll_refunds
from order_pipeline.sync.shops import for_each_shop
from order_pipeline.sync.streams import REFUND_STREAM
from order_pipeline.sync.windows import day_window
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.quarantine import open_records
from order_pipeline.warehouse.refunds import count_refunds, recent_refunds
from order_pipeline.warehouse.rules import REFUND_RULES, breaches
from order_pipeline.warehouse.subjects import REFUNDS
from order_pipeline.warehouse.worklist import say_again
from order_pipeline.wording import counted

PREVIEWED = 10


@dg.asset(
    partitions_def=daily,
    group_name="raw",
    owners=["team:order-data"],
    kinds={"postgres", "python"},
    backfill_policy=BACKFILL,
    metadata={"dagster/table_name": "raw.page"},
    check_specs=[dg.AssetCheckSpec("every_record_was_read", asset="refund_pages")],
)
def refund_pages(
    context: dg.AssetExecutionContext, config: ChangesConfig, warehouse: WarehouseResource, shops: ShopsResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Refunds by day of their last change (Asia/Shanghai), of orders of every type, from just before the watermark on.

    The platform lists refunds by nothing else, so the first load and backfills come this way, too.
    """
    with named_failures():
        listings = for_each_shop(
            shops.open(warehouse.engine, config.shops),
            warehouse.engine,
            lambda access: poll_refunds(access, warehouse.engine, partition_days(context), whole_day=config.whole_day),
        )
    return listing_result("refund_pages", [listing for of_shop in listings for listing in of_shop], REFUNDS)


@dg.asset(
    deps=[refund_pages, order_messages],
    partitions_def=daily,
    group_name="orders",
    owners=["team:order-data"],
    kinds={"postgres", "python"},
    backfill_policy=BACKFILL,
    metadata={"dagster/table_name": "bi.refunds"},
    check_specs=[
        dg.AssetCheckSpec("nothing_is_quarantined", asset="refunds"),
        dg.AssetCheckSpec("refunds_fit_their_orders", asset="refunds"),
    ],
)
def refunds(
    context: dg.AssetExecutionContext, config: DetailsConfig, warehouse: WarehouseResource, shops: ShopsResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Whole refunds: every refund on the worklist, whichever channel put it there.

    The day of a run says which day's changes are surely in; it takes other due refunds along.
    """
    engine = warehouse.engine
    days = partition_days(context)

    def enrich(access: ShopAccess) -> Enrichment:
        if config.refetch:
            for day in days:
                window = day_window(day)
                with transaction(engine) as connection:
                    say_again(connection, access.shop.id, window.start, window.end, subject=REFUNDS)
        return drain(access, engine, stream=REFUND_STREAM)

    with named_failures():
        accesses = shops.open(engine, config.shops)
        enrichments = for_each_shop(accesses, engine, enrich)
    shop_ids = [access.shop.id for access in accesses]
    with transaction(engine) as connection:
        refused = open_records(connection, shop_ids, subject=REFUNDS)
        count = count_refunds(connection, shop_ids)
        recent = recent_refunds(connection, shop_ids, PREVIEWED)
        broken = breaches(connection, REFUND_RULES)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": count,
            **enrichment_metadata(enrichments, REFUNDS),
            "preview": table(recent),
        },
        check_results=[
            quarantine_check("refunds", refused, REFUNDS),
            dg.AssetCheckResult(
                check_name="refunds_fit_their_orders",
                asset_key="refunds",
                passed=not broken,
                severity=dg.AssetCheckSeverity.WARN,
                description="; ".join(f"{breach.rule}: broken by {counted(breach.rows, 'row')}" for breach in broken)
                or None,
                metadata={breach.rule: table(breach.sample) for breach in broken},
            ),
        ],
    )
