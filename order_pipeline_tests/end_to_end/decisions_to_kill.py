"""What runs of the assets do that follow from orders and refunds: parcels, stock, decisions. See assets_to_kill.py.

Each makes something that it has to do anew: forgets what it knew, or has other settings.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import partial

from sqlalchemy import Connection, text

from order_pipeline.commands.demo_suppliers import load_demo_suppliers
from order_pipeline.configuration import WriteStock
from order_pipeline.insights.replenishment import Policy
from order_pipeline.insights.stalls import DEFAULT_SETTINGS, StallSettings
from order_pipeline.sync.alerting import judge_parcels
from order_pipeline.sync.demand import count_demand
from order_pipeline.sync.forecasting import judge_forecasts, make_forecast
from order_pipeline.sync.holds import derive_holds
from order_pipeline.sync.inventory import take_snapshot
from order_pipeline.sync.restocking import make_purchase_list
from order_pipeline.sync.shipment_traces import follow_parcels
from order_pipeline.sync.shipping import make_ship_list, stop_shipments
from order_pipeline.sync.stock_writing import write_stock
from order_pipeline.sync.windows import day_of
from order_pipeline.warehouse.database import in_transaction, transaction
from order_pipeline.warehouse.presale_rules import HOLD_RULES
from order_pipeline.warehouse.rules import Breach, breaches
from order_pipeline.warehouse.watermarks import STOCK_DRY_RUN, begin_watermark
from order_pipeline_tests.end_to_end.orders_to_kill import Orders, say

# Few lines a transaction, so that a rebuild of the holds has many.
HOLDS_A_BATCH = 20
FORGOTTEN_PARCELS = 60
STOPPED_LINES = 5

FORGET_HOLDS = (
    "TRUNCATE core.presale_hold, core.presale_hold_entry",
    "DELETE FROM sync.watermark WHERE channel = 'presale_holds'",
)
# As if nobody had ever asked about them.
FORGET_PARCELS = (
    "DELETE FROM core.parcel_event WHERE tracking_number = ANY(:chosen)",
    """
    UPDATE core.parcel SET checked_at = NULL, known_at = NULL, state = NULL, last_event_at = NULL
    WHERE tracking_number = ANY(:chosen) AND direction = 'outgoing'
    """,
)
# A buyer takes one more: the line on the list is not what shall leave. The next proof mends it.
CHANGE_LISTED = """
    UPDATE core.order_items i SET quantity = i.quantity + 1
    FROM (SELECT order_id, item_id FROM core.ship_list_line WHERE stopped_at IS NULL AND shipped_at IS NULL
          ORDER BY md5(order_id || :seed) LIMIT :most) AS listed
    WHERE i.order_id = listed.order_id AND i.item_id = listed.item_id
"""


class Decisions(Orders):
    """Each asset prepares what it has to do, says "ready", and does it."""

    @property
    def today(self) -> date:
        return day_of(self.access.platform.now())

    def shipment_traces(self) -> None:
        with transaction(self.engine) as connection:
            known = connection.execute(text("SELECT tracking_number FROM core.parcel ORDER BY 1")).scalars().all()
            chosen = self.chance.sample(known, min(FORGOTTEN_PARCELS, len(known)))
            for statement in FORGET_PARCELS:
                connection.execute(text(statement), {"chosen": chosen})
        say("ready")
        follow_parcels(self.access, self.engine)

    def logistics_alerts(self) -> None:
        """Judge by other settings, as if the merchant had changed them, so that alerts open and close."""
        settings = StallSettings(stall_hours=self.chance.choice((12.0, 24.0, 200.0)))
        say("ready")
        self.judge(settings)

    def presale_holds(self) -> None:
        with transaction(self.engine) as connection:
            for statement in FORGET_HOLDS:
                connection.execute(text(statement))
        say("ready")
        derive_holds(self.engine, self.shop_id, tell=True, batch=HOLDS_A_BATCH)

    def inventory_levels(self) -> None:
        say("ready")
        take_snapshot(self.access, self.engine)

    def daily_sku_sales(self) -> None:
        today = self.today
        say("ready")
        count_demand(self.engine, self.shop_id, [today], rebuild=True)

    def demand_forecast(self) -> None:
        today = self.today
        say("ready")
        make_forecast(self.engine, self.shop_id, today)

    def forecast_backtest(self) -> None:
        today = self.today
        say("ready")
        judge_forecasts(self.engine, self.shop_id, today)

    def restock_suggestions(self) -> None:
        today = self.today
        say("ready")
        self.list_purchases(today)

    def ship_list(self) -> None:
        today = self.today
        say("ready")
        make_ship_list(self.engine, self.shop_id, today)

    def shipment_stops(self) -> None:
        with transaction(self.engine) as connection:
            connection.execute(text(CHANGE_LISTED), {"seed": str(self.chance.random()), "most": STOPPED_LINES})
        say("ready")
        stop_shipments(self.engine, self.shop_id)

    def stock_writes(self) -> None:
        with transaction(self.engine) as connection:
            begin_watermark(connection, self.shop_id, datetime.now(UTC), STOCK_DRY_RUN)
        say("ready")
        write_stock(self.access, self.engine, mode=WriteStock.ON)

    def decide(self) -> None:
        """Derive everything once, from what is in the tables."""
        today = self.today
        derive_holds(self.engine, self.shop_id, tell=True)
        take_snapshot(self.access, self.engine)
        load_demo_suppliers(self.engine, self.shop_id)
        follow_parcels(self.access, self.engine)
        self.judge(DEFAULT_SETTINGS)
        count_demand(self.engine, self.shop_id, [today])
        make_forecast(self.engine, self.shop_id, today)
        judge_forecasts(self.engine, self.shop_id, today)
        self.list_purchases(today)
        make_ship_list(self.engine, self.shop_id, today)

    def broken_rules(self, connection: Connection) -> list[Breach]:
        """What is wrong with the holds, by the rules that the asset's checks look at."""
        return breaches(connection, HOLD_RULES)

    def judge(self, settings: StallSettings) -> None:
        in_transaction(self.engine, partial(judge_parcels, shop_id=self.shop_id, settings=settings))

    def list_purchases(self, day: date) -> None:
        shop = self.access.shop
        policy = Policy(shop.service_level, shop.review_days, shop.max_cover_days, shop.presale_conversion)
        make_purchase_list(self.engine, self.shop_id, day, policy)
