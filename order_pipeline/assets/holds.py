"""Group ``inventory``: what pre-sales hold of the stock.

Belongs here: the derivation as an asset, with the checks of its invariants. Not here: the rule (insights/presale.py),
stock itself (assets/inventory.py).
"""

import dagster as dg

from order_pipeline import configuration
from order_pipeline.assets.configs import ShopsConfig
from order_pipeline.assets.orders import fullinfo_orders
from order_pipeline.assets.pages import BACKFILL
from order_pipeline.assets.partitions import FRESH_DAILY, daily
from order_pipeline.assets.refunds import refunds
from order_pipeline.assets.reports import named_failures, table
from order_pipeline.resources.shops import ShopsResource
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.sync.holds import derive_holds, look_after_late
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.presale_holds import hold_totals
from order_pipeline.warehouse.presale_rules import HOLD_RULES, WORDS
from order_pipeline.warehouse.rules import breaches
from order_pipeline.wording import counted

SHOWN = 20


@dg.asset(
    deps=[fullinfo_orders, refunds],
    partitions_def=daily,
    group_name="inventory",
    owners=["team:order-data"],
    kinds={"postgres", "python"},
    backfill_policy=BACKFILL,
    freshness_policy=FRESH_DAILY,
    metadata={"dagster/table_name": "bi.inventory_holds"},
    check_specs=[
        # Whoever buys or sells by wrong holds, oversells: nothing that stands on them may run then.
        dg.AssetCheckSpec("holds_add_up", asset="presale_holds", blocking=True),
        dg.AssetCheckSpec("presales_are_understood", asset="presale_holds"),
        dg.AssetCheckSpec("final_payments_are_in_time", asset="presale_holds"),
    ],
)
def presale_holds(
    context: dg.AssetExecutionContext,  # noqa: ARG001 - Dagster's signature: the day names the run, not the work
    config: ShopsConfig,
    warehouse: WarehouseResource,
    shops: ShopsResource,
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Stock that pre-sales hold, one hold a line of an order, derived from what changed since the last time.

    The day of a run says which day's changes are surely in; the derivation always goes up to now. Asks no platform.
    """
    engine = warehouse.engine
    with named_failures():
        shop_ids = [access.shop.id for access in shops.open(engine, config.shops)]
        derived = [derive_holds(engine, shop_id, tell=configuration.hook() is not None) for shop_id in shop_ids]
        late = look_after_late(engine, shop_ids)
    with transaction(engine) as connection:
        totals = hold_totals(connection, shop_ids)
        broken, unknown = breaches(connection, HOLD_RULES), breaches(connection, WORDS)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": sum(row["lines"] for row in totals),
            "lines_changed": sum(each.lines for each in derived),
            "ledger_entries": sum(each.entries for each in derived),
            "held": sum(int(row["held"]) for row in totals),
            "reserved": sum(int(row["reserved"]) for row in totals),
            "stages": table(totals),
            "shops": table([each._asdict() for each in derived]),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="holds_add_up",
                asset_key="presale_holds",
                passed=not broken,
                description="; ".join(f"{breach.rule}: broken by {counted(breach.rows, 'row')}" for breach in broken)
                or None,
                metadata={breach.rule: table(breach.sample) for breach in broken},
            ),
            dg.AssetCheckResult(
                check_name="presales_are_understood",
                asset_key="presale_holds",
                passed=not unknown,
                severity=dg.AssetCheckSeverity.WARN,
                description="; ".join(
                    f"{counted(breach.rows, 'order has', 'orders have')} "
                    f"a step_status that is not documented: they hold nothing until they "
                    f"wait to be sent; please report the word"
                    for breach in unknown
                )
                or None,
                metadata={breach.rule: table(breach.sample) for breach in unknown},
            ),
            dg.AssetCheckResult(
                check_name="final_payments_are_in_time",
                asset_key="presale_holds",
                passed=not late,
                severity=dg.AssetCheckSeverity.WARN,
                description=(
                    f"{counted(len(late), 'line holds', 'lines hold')} "
                    f"stock although the final payment should have come; they are fetched "
                    f"anew once a day and hold on, as a buyer may still pay; closing an order on the platform frees it"
                )
                if late
                else None,
                metadata={
                    "lines": len(late),
                    **({"sample": table([e._asdict() for e in late[:SHOWN]])} if late else {}),
                },
            ),
        ],
    )
