"""Group ``orders``: the platform's orders whole, as BI reads them.

Belongs here: the enrichment step. Not here: how orders get on the worklist (assets/pages.py).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from order_pipeline.assets import authorization
from order_pipeline.assets.configs import DetailsConfig
from order_pipeline.assets.messages import order_messages
from order_pipeline.assets.pages import BACKFILL, history_pages, increment_pages
from order_pipeline.assets.partitions import FRESH_DAILY, daily, partition_days
from order_pipeline.assets.reports import named_failures, quarantine_check, table
from order_pipeline.resources.shops import ShopsResource
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.drift import look_for_drift
from order_pipeline.sync.enrichment import Enrichment, drain
from order_pipeline.sync.following import Followed, follow, together
from order_pipeline.sync.shops import for_each_shop
from order_pipeline.sync.windows import day_window
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.field_counts import open_drifts
from order_pipeline.warehouse.orders import about_orders, recent_orders
from order_pipeline.warehouse.quarantine import open_records
from order_pipeline.warehouse.subjects import ORDERS, Subject
from order_pipeline.warehouse.worklist import say_again

FIELDS_NAMED = 20

PREVIEWED = 10


@dg.asset(
    deps=[history_pages, increment_pages, order_messages],
    partitions_def=daily,
    group_name="orders",
    owners=["team:order-data"],
    kinds={"postgres", "python"},
    backfill_policy=BACKFILL,
    freshness_policy=FRESH_DAILY,
    metadata={"dagster/table_name": "bi.orders"},
    check_specs=[
        dg.AssetCheckSpec("nothing_is_quarantined", asset="fullinfo_orders"),
        dg.AssetCheckSpec(
            "fields_are_as_they_were",
            asset="fullinfo_orders",
            description="No field that has a column vanished from the platform's answers, or came in another type.",
        ),
        dg.AssetCheckSpec(authorization.CHECK, asset=authorization.ASSET),
    ],
)
def fullinfo_orders(
    context: dg.AssetExecutionContext, config: DetailsConfig, warehouse: WarehouseResource, shops: ShopsResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Whole orders with their lines: every order on the worklist, whichever channel put it there.

    The day of a run says which day's changes are surely in; it takes other due orders along. A run that messages
    started stays for a while, as changes seldom come alone.
    """
    engine = warehouse.engine
    days = partition_days(context)

    def enrich(access: ShopAccess) -> Enrichment:
        if config.refetch:
            for day in days:
                window = day_window(day)
                with transaction(engine) as connection:
                    say_again(connection, access.shop.id, window.start, window.end)
        return drain(access, engine)

    with named_failures():
        accesses = shops.open(engine, config.shops)
        enrichments = for_each_shop(accesses, engine, enrich)
        # Of all shops, however the run was narrowed: it is narrowed to those that had work when it was asked for.
        followed = follow(shops.open(engine), engine, quiet_seconds=config.linger_seconds)
        for access in accesses:
            look_for_drift(access, engine, datetime.now(UTC))
    shop_ids = [access.shop.id for access in accesses]
    with transaction(engine) as connection:
        refused = open_records(connection, shop_ids, subject=ORDERS)
        orders = about_orders(connection, shop_ids)
        drifted = open_drifts(connection, shop_ids)
        recent = recent_orders(connection, shop_ids, PREVIEWED)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": orders,
            **enrichment_metadata(together([*enrichments, *followed.orders]), ORDERS),
            **(_following_metadata(followed) if followed.looks else {}),
            "preview": table(recent),
        },
        check_results=[
            quarantine_check("fullinfo_orders", refused, ORDERS),
            _fields_check(drifted),
            # Of all shops, however the run was narrowed.
            authorization.check_result(authorization.look(shops.open(engine))),
        ],
    )


def _fields_check(drifted: Sequence[Mapping[str, Any]]) -> dg.AssetCheckResult:
    mapped = [row for row in drifted if row["is_mapped"]]
    named = "; ".join(
        f"shop {row['shop_id']}, {row['object']}: {row['field']} {row['drift']}"
        + (f" ({row['kind']})" if row["kind"] else "")
        for row in mapped[:FIELDS_NAMED]
    )
    return dg.AssetCheckResult(
        check_name="fields_are_as_they_were",
        asset_key="fullinfo_orders",
        passed=not mapped,
        # The rows load all the same, or are in quarantine.
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(mapped)} fields with a column are otherwise than on the days before: {named}; look at some "
        f"answers (raw.page) and report it"
        if mapped
        else None,
        metadata={
            "mapped": len(mapped),
            "unknown": len(drifted) - len(mapped),
            "fields": table(drifted[:FIELDS_NAMED]),
        },
    )


def _following_metadata(followed: Followed) -> dict[str, int | float]:
    """Report what came while the run stayed."""
    return {
        "messages_while_following": followed.messages,
        "refunds_while_following": sum(each.drained.fetched for each in followed.refunds),
        "seconds_following": round(followed.seconds, 1),
    }


def enrichment_metadata(
    enrichments: Sequence[Enrichment], subject: Subject
) -> dict[str, dg.MetadataValue[Any] | int | float]:
    """Report draining a worklist: totals that plot over the partitions, and a row a shop."""
    return {
        f"{subject.name}_fetched": sum(each.drained.fetched for each in enrichments),
        f"{subject.name}_loaded": sum(each.drained.loaded for each in enrichments),
        f"{subject.name}_unavailable": sum(each.drained.unavailable for each in enrichments),
        f"{subject.name}_put_back": sum(each.drained.put_back for each in enrichments),
        "calls": sum(each.calls for each in enrichments),
        "seconds": round(sum(each.seconds for each in enrichments), 3),
        "shops": table(
            [
                {
                    "shop": each.shop_id,
                    **each.drained._asdict(),
                    "calls": each.calls,
                    "seconds": round(each.seconds, 3),
                }
                for each in enrichments
            ]
        ),
    }
