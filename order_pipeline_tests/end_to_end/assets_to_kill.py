"""What runs of each asset do, without Dagster's start-up, for whoever wants to kill them in the middle.

python -m order_pipeline_tests.end_to_end.assets_to_kill DATABASE GATEWAY APP_KEY APP_SECRET SESSION_KEY, then a line
"ASSET SEED" on its input for every process that shall begin with that asset and go on with the others. They are
forked from this one: what is killed is the work, not the imports.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn

import lightgbm  # noqa: F401 - imported before the fork
import pandas as pd  # noqa: F401 - imported before the fork

from order_pipeline.configuration import Shop
from order_pipeline.platforms.taobao import authorization, platform  # noqa: F401 - imported before the fork
from order_pipeline.sync.access import open_shop
from order_pipeline.warehouse.database import connect
from order_pipeline_tests.end_to_end.decisions_to_kill import Decisions
from order_pipeline_tests.end_to_end.orders_to_kill import say


class Work(Decisions):
    """The pipeline's work for one shop. Each asset prepares what it has to do, says "ready", and does it."""

    def first_load(self) -> None:
        """Do all of it once, so that every asset has something to go on from."""
        self.everything()
        self.decide()
        say("all is done")

    def the_rest(self) -> None:
        """Bring everything to its end, on a platform that stands still."""
        self.everything()
        self.decide()
        # After the holds are up to date; and the day's stock is what it is once it was written.
        self.stock_writes()
        self.decide()
        say("all is done")


ASSETS: dict[str, Callable[[Work], None]] = {
    "history_pages": Work.history_pages,
    "increment_pages": Work.increment_pages,
    "fullinfo_orders": Work.fullinfo_orders,
    "order_messages": Work.order_messages,
    "refund_pages": Work.refund_pages,
    "refunds": Work.refunds,
    "daily_reconciliation": Work.daily_reconciliation,
    "shipment_traces": Work.shipment_traces,
    "logistics_alerts": Work.logistics_alerts,
    "presale_holds": Work.presale_holds,
    "inventory_levels": Work.inventory_levels,
    "daily_sku_sales": Work.daily_sku_sales,
    "demand_forecast": Work.demand_forecast,
    "forecast_backtest": Work.forecast_backtest,
    "restock_suggestions": Work.restock_suggestions,
    "ship_list": Work.ship_list,
    "shipment_stops": Work.shipment_stops,
}
# What changes the platform is killed while it stands still: only then can each of its numbers be accounted for.
WRITING_ASSETS: dict[str, Callable[[Work], None]] = {"stock_writes": Work.stock_writes}
WHOLE: dict[str, Callable[[Work], None]] = {"first_load": Work.first_load, "the_rest": Work.the_rest}


def open_work(arguments: list[str], seed: str) -> Work:
    """Open the shop and the warehouse of these arguments: database, gateway, app key, app secret, session key."""
    url, gateway_url, app_key, app_secret, session_key = arguments
    shop = Shop(
        id="demo-shop",
        platform="taobao",
        gateway_url=gateway_url,
        app_key=app_key,
        app_secret=app_secret,
        session_key=session_key,
    )
    engine = connect(url)
    return Work(open_shop(shop, engine), engine, seed)


def work(first: str, seed: str) -> NoReturn:
    """Begin with one asset and go on with the others for ever; or do something whole once."""
    works = open_work(sys.argv[1:], seed)
    if first in WHOLE:
        WHOLE[first](works)
        os._exit(0)
    assets = WRITING_ASSETS if first in WRITING_ASSETS else ASSETS
    names = list(assets)
    while True:
        for name in names[names.index(first) :] + names[: names.index(first)]:
            assets[name](works)
            say(f"done {name}")


def main() -> None:
    """Fork a worker for every line."""
    say("loaded")
    for line in sys.stdin:
        first, seed = line.split()
        child = os.fork()
        if child == 0:
            try:
                work(first, seed)
            finally:
                os._exit(1)
        say(f"started {child}")
        _, status = os.waitpid(child, 0)
        say(f"ended {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main()
