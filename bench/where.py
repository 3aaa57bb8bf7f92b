"""Where the list path's time goes: each stage alone, over the same pages. Prints JSON, seconds a stage.

python -m bench.where DATABASE_URL SANDBOX_URL DAYS
"""

from __future__ import annotations

import json
import sys

from bench.stage import Stage, Stopwatch, opened
from order_pipeline.sync import storing
from order_pipeline.sync.access import open_shop
from order_pipeline.sync.loading import PAGES_PER_BATCH
from order_pipeline.sync.windows import created_window, due_history_days
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.merging import Source
from order_pipeline.warehouse.orders import merge_orders
from order_pipeline.warehouse.raw import store_pages
from order_pipeline.warehouse.worklist import Said, say_changed


def main(database_url: str, sandbox_url: str, days: int) -> dict[str, float]:
    """Walk first, then store the pages stage by stage."""
    access = open_shop(Stage(sandbox_url, None).shop)  # type: ignore[arg-type]
    shop = access.shop
    now = access.platform.now()
    watch = Stopwatch()
    windows = [created_window(day, now) for day in due_history_days(now, now, set(), days=days)]
    pages = [page for window in windows if window for page in access.platform.created_orders(window)]
    seconds = {"fetch, decode, parse": watch.seconds}
    stages = dict.fromkeys(("raw pages", "orders and lines", "worklist", "commit"), 0.0)
    with opened(database_url) as engine:
        for start in range(0, len(pages), PAGES_PER_BATCH):
            batch = pages[start : start + PAGES_PER_BATCH]
            with transaction(engine) as connection:
                watch = Stopwatch()
                raw = [storing.raw_page(page.answer, page.window) for page in batch]
                store_pages(connection, shop.id, shop.platform, "history", raw)
                stages["raw pages"] += watch.seconds
                watch = Stopwatch()
                rows = [storing.order_row(order, page.answer) for page in batch for order in page.orders]
                merge_orders(connection, shop.id, shop.platform, Source.LIST, rows)
                stages["orders and lines"] += watch.seconds
                watch = Stopwatch()
                said = [Said(order.order_id, order.modified_at) for page in batch for order in page.orders]
                say_changed(connection, shop.id, "history", said)
                stages["worklist"] += watch.seconds
                watch = Stopwatch()
            stages["commit"] += watch.seconds
    return {"orders": sum(len(page.orders) for page in pages), **seconds, **stages}


if __name__ == "__main__":
    database_url, sandbox_url, days = sys.argv[1:]
    print(json.dumps(main(database_url, sandbox_url, int(days))))
