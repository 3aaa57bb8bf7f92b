"""Group ``decisions``: what to buy, what to send, and what to stop. Each list is a table, a CSV and an XLSX file.

Belongs here: what the UI sees of them. Not here: making them (sync/restocking.py, sync/shipping.py).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from order_pipeline.assets.configs import ShopsConfig
from order_pipeline.assets.forecasts import Unfit, demand_forecast, fit_check
from order_pipeline.assets.inventory import inventory_levels
from order_pipeline.assets.orders import fullinfo_orders
from order_pipeline.assets.partitions import A_DAY_A_RUN, FRESH_DAILY, daily, partition_days
from order_pipeline.assets.refunds import refunds
from order_pipeline.assets.reports import named_failures, table
from order_pipeline.insights.replenishment import Policy
from order_pipeline.resources.shops import ShopsResource
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.sync import restocking, shipping
from order_pipeline.sync.downloads import download_path, write_csv, write_xlsx
from order_pipeline.sync.restocking import make_purchase_list
from order_pipeline.sync.shipping import make_ship_list, stop_shipments
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.purchases import open_purchases
from order_pipeline.warehouse.restocking import open_list
from order_pipeline.warehouse.ship_lists import held_lines, lines_of_lists, overdue_lines
from order_pipeline.wording import counted

ROWS_SHOWN = 50
# A supplier's day or two is usual; after that somebody has to ask, or forgot to say that it came.
LATE_DAYS = 3


@dg.asset(
    deps=[demand_forecast, inventory_levels],
    partitions_def=daily,
    group_name="decisions",
    owners=["team:order-data"],
    kinds={"postgres", "python"},
    backfill_policy=A_DAY_A_RUN,
    freshness_policy=FRESH_DAILY,
    metadata={"dagster/table_name": "bi.restock_suggestions"},
    check_specs=[
        dg.AssetCheckSpec("every_shop_has_a_list", asset="restock_suggestions"),
        dg.AssetCheckSpec(
            "inputs_are_complete",
            asset="restock_suggestions",
            description="Every SKU that sells has stock that can be true and a supplier; the others are named.",
        ),
        dg.AssetCheckSpec("purchases_are_not_late", asset="restock_suggestions"),
    ],
)
def restock_suggestions(
    context: dg.AssetExecutionContext, config: ShopsConfig, warehouse: WarehouseResource, shops: ShopsResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Purchases that today needs, with the working of every line; accepted suggestions count as on order.

    Accept or reject lines with order-pipeline restock.
    """
    engine = warehouse.engine
    day = partition_days(context)[-1]
    with named_failures():
        accesses = shops.open(engine, config.shops)
        made = [
            make_purchase_list(
                engine,
                access.shop.id,
                day,
                Policy(
                    access.shop.service_level,
                    access.shop.review_days,
                    access.shop.max_cover_days,
                    access.shop.presale_conversion,
                ),
            )
            for access in accesses
        ]
        shop_ids = [each.shop_id for each in made]
        with transaction(engine) as connection:
            to_buy = open_list(connection, shop_ids)
            late = [row for row in open_purchases(connection, shop_ids) if row["days_late"] > LATE_DAYS]
        files = _files(f"restock-{day}", {"to buy": (to_buy, restocking.LINE_HEADINGS)})
    problems = [
        {"shop": each.shop_id, "sku": sku, "column": field, "problem": problem}
        for each in made
        if not each.unfit
        for sku, field, problem in each.problems
    ]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": sum(each.lines for each in made),
            "skus_to_buy": len(to_buy),
            "pieces_to_buy": sum(row["quantity"] for row in to_buy),
            "cost": float(sum(row["quantity"] * row["unit_cost"] for row in to_buy if row["unit_cost"] is not None)),
            **files,
            "list": table(_shown(to_buy, restocking.LINE_HEADINGS)),
        },
        check_results=[
            fit_check(
                "every_shop_has_a_list",
                "restock_suggestions",
                [Unfit(each.shop_id, each.unfit) for each in made if each.unfit],
            ),
            dg.AssetCheckResult(
                check_name="inputs_are_complete",
                asset_key="restock_suggestions",
                passed=not problems,
                severity=dg.AssetCheckSeverity.WARN,
                description=f"{counted(len(problems), 'row keeps its SKU', 'rows keep SKUs')} "
                f"off the list, or count less than they say; all are in "
                f"core.restock_problem"
                if problems
                else None,
                metadata={"problems": len(problems), "rows": table(problems[:ROWS_SHOWN])},
            ),
            dg.AssetCheckResult(
                check_name="purchases_are_not_late",
                asset_key="restock_suggestions",
                passed=not late,
                severity=dg.AssetCheckSeverity.WARN,
                description=f"{counted(len(late), 'purchase is', 'purchases are')} "
                f"more than {LATE_DAYS} days late and still count as on order: "
                f"order-pipeline restock received ID when they are here, cancel ID when they will not come"
                if late
                else None,
                metadata={"purchases": table(late[:ROWS_SHOWN])},
            ),
        ],
    )


@dg.asset(
    deps=[fullinfo_orders, refunds, inventory_levels],
    partitions_def=daily,
    group_name="decisions",
    owners=["team:order-data"],
    kinds={"postgres", "python"},
    backfill_policy=A_DAY_A_RUN,
    freshness_policy=FRESH_DAILY,
    metadata={"dagster/table_name": "bi.ship_list"},
    check_specs=[
        dg.AssetCheckSpec("every_shop_has_a_list", asset="ship_list"),
        dg.AssetCheckSpec("nothing_waits_too_long", asset="ship_list"),
    ],
)
def ship_list(
    context: dg.AssetExecutionContext, config: ShopsConfig, warehouse: WarehouseResource, shops: ShopsResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Paid order lines that may leave now, each on one list once, grouped for picking; what is held back, and why."""
    engine = warehouse.engine
    day = partition_days(context)[-1]
    with named_failures():
        accesses = shops.open(engine, config.shops)
        made = [make_ship_list(engine, access.shop.id, day) for access in accesses]
        shop_ids = [each.shop_id for each in made]
        with transaction(engine) as connection:
            lines = lines_of_lists(connection, shop_ids)
            held = held_lines(connection, shop_ids)
            overdue = overdue_lines(connection, shop_ids)
        files = _files(
            f"ship-list-{day}",
            {"to send": (lines, shipping.LINE_HEADINGS), "held back": (held, shipping.HELD_HEADINGS)},
        )
    reasons: dict[str, int] = {}
    for row in held:
        reasons[row["reason"]] = reasons.get(row["reason"], 0) + 1
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(lines),
            "listed_now": sum(each.lines for each in made),
            "orders_listed_now": sum(each.orders for each in made),
            "pieces_listed_now": sum(each.pieces for each in made),
            "held_back": len(held),
            "stopped_now": sum(len(each.stopped) for each in made),
            "seen_shipped_now": sum(each.left for each in made),
            **files,
            "picks": table(
                [{"shop": each.shop_id, **pick._asdict()} for each in made for pick in each.picks][:ROWS_SHOWN]
            ),
            "reasons": table(
                [
                    {"reason": reason, "lines": count}
                    for reason, count in sorted(reasons.items(), key=lambda each: -each[1])
                ][:ROWS_SHOWN]
            ),
        },
        check_results=[
            fit_check(
                "every_shop_has_a_list", "ship_list", [Unfit(each.shop_id, each.unfit) for each in made if each.unfit]
            ),
            dg.AssetCheckResult(
                check_name="nothing_waits_too_long",
                asset_key="ship_list",
                passed=not overdue,
                severity=dg.AssetCheckSeverity.WARN,
                description=f"{counted(len(overdue), 'line')} should have left by now" if overdue else None,
                metadata={"lines": table(overdue[:ROWS_SHOWN])},
            ),
        ],
    )


@dg.asset(
    deps=[ship_list, fullinfo_orders, refunds],
    partitions_def=daily,
    group_name="decisions",
    owners=["team:order-data"],
    kinds={"postgres", "python"},
    backfill_policy=dg.BackfillPolicy.single_run(),
    metadata={"dagster/table_name": "bi.ship_list"},
)
def shipment_stops(config: ShopsConfig, warehouse: WarehouseResource, shops: ShopsResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Order lines that are listed and must not leave any more; people and other systems are told of each once."""
    with named_failures():
        accesses = shops.open(warehouse.engine, config.shops)
        found = [
            {"shop": access.shop.id, **each._asdict()}
            for access in accesses
            for each in stop_shipments(warehouse.engine, access.shop.id)
        ]
    return dg.MaterializeResult(metadata={"stopped_now": len(found), "lines": table(found[:ROWS_SHOWN])})


def _shown(rows: Sequence[Mapping[str, Any]], headings: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {headings[key]: round(row[key], 2) if isinstance(row[key], float) else row[key] for key in headings}
        for row in rows[:ROWS_SHOWN]
    ]


def _files(
    name: str, sheets: Mapping[str, tuple[Sequence[Mapping[str, Any]], Mapping[str, str]]]
) -> dict[str, dg.MetadataValue[Any]]:
    rows, columns = next(iter(sheets.values()))
    return {
        "csv": dg.MetadataValue.path(write_csv(download_path(f"{name}.csv"), rows, columns)),
        "xlsx": dg.MetadataValue.path(write_xlsx(download_path(f"{name}.xlsx"), sheets)),
    }
