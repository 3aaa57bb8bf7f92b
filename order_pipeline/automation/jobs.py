"""The jobs: what is run together.

Belongs here: selections. Not here: when they run.
"""

import dagster as dg

from order_pipeline.checks.notices import notice_checks
from order_pipeline.checks.orders import order_checks

_nightly_checks = dg.AssetSelection.checks(*order_checks, *notice_checks)

load_history = dg.define_asset_job(
    "load_history",
    dg.AssetSelection.assets("history_pages", "fullinfo_orders"),
    description="Orders by day of creation, with details: the first load, and the way to load past days again.",
)
sync_orders = dg.define_asset_job(
    "sync_orders",
    dg.AssetSelection.assets("increment_pages", "fullinfo_orders") - _nightly_checks,
    description="What changed since the watermark, with details. Small and often, so without the nightly checks.",
)
sync_messages = dg.define_asset_job(
    "sync_messages",
    dg.AssetSelection.assets("order_messages", "fullinfo_orders", "refunds") - _nightly_checks,
    description="What the platform's messages announce, with details. Small and often, like sync_orders.",
)
sync_refunds = dg.define_asset_job(
    "sync_refunds",
    dg.AssetSelection.assets("refund_pages", "refunds"),
    description="Refunds that changed since the watermark, with details; also their first load and their backfill.",
)
close_day = dg.define_asset_job(
    "close_day",
    dg.AssetSelection.assets("increment_pages", "fullinfo_orders"),
    description="A whole day of changes once more after it ended, with the checks of keys, money and counts.",
)
reconcile = dg.define_asset_job(
    "reconcile",
    dg.AssetSelection.assets("daily_reconciliation"),
    description="Proves days of creation against the platform and fills what is missing. Also the way to prove a red "
    "day again.",
)
follow_parcels = dg.define_asset_job(
    "follow_parcels",
    dg.AssetSelection.assets("shipment_traces", "logistics_alerts"),
    description="Asks where the parcels are that may still move; opens and closes alerts about those that are stuck.",
)

derive_holds = dg.define_asset_job(
    "derive_holds",
    dg.AssetSelection.assets("presale_holds"),
    description="What pre-sales hold, brought up to the orders and refunds in the tables. Asks no platform.",
)
inventory = dg.define_asset_job(
    "inventory",
    dg.AssetSelection.assets("presale_holds", "inventory_levels", "stock_writes"),
    description="Today's stock by SKU; where write_stock is on, what is held is taken off the platform's stock.",
)

restock = dg.define_asset_job(
    "restock",
    dg.AssetSelection.assets("daily_sku_sales", "demand_forecast", "restock_suggestions", "ship_list"),
    description="Counts demand, forecasts it, and makes the day's purchase list and ship list.",
)
list_shipments = dg.define_asset_job(
    "list_shipments",
    dg.AssetSelection.assets("ship_list"),
    description="Hands paid order lines that may leave to the warehouse, each once.",
)
watch_shipments = dg.define_asset_job(
    "watch_shipments",
    dg.AssetSelection.assets("shipment_stops"),
    description="Stops listed lines that were refunded, closed or held since.",
)
judge_forecasts = dg.define_asset_job(
    "judge_forecasts",
    dg.AssetSelection.assets("forecast_backtest"),
    description="Judges the forecasts of the last weeks, shop by shop and by class of demand.",
)

jobs = [
    load_history,
    sync_orders,
    sync_messages,
    sync_refunds,
    close_day,
    reconcile,
    follow_parcels,
    derive_holds,
    inventory,
    restock,
    list_shipments,
    watch_shipments,
    judge_forecasts,
]
