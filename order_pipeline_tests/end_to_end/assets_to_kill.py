"""What runs of each asset do, without Dagster's start-up, for whoever wants to kill them in the middle.

python -m order_pipeline_tests.end_to_end.assets_to_kill DATABASE GATEWAY APP_KEY APP_SECRET SESSION_KEY, then a line
"ASSET SEED" on its input for every process that shall begin with that asset and go on with the others. They are
forked from this one: what is killed is the work, not the imports.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from datetime import date, timedelta
from typing import NoReturn

from sqlalchemy import Engine, text

from order_pipeline.configuration import Shop
from order_pipeline.platforms.taobao import authorization, platform  # noqa: F401 - imported before the fork
from order_pipeline.sync.access import ShopAccess, open_shop
from order_pipeline.sync.due import due_work
from order_pipeline.sync.enrichment import drain
from order_pipeline.sync.listing import list_history
from order_pipeline.sync.messages import read_messages
from order_pipeline.sync.polling import poll
from order_pipeline.sync.reconciliation import reconcile_day
from order_pipeline.sync.windows import day_of
from order_pipeline.warehouse.database import connect, transaction
from order_pipeline.warehouse.worklist import Said, say_anyway

DAYS = 20
FETCHED_AGAIN, SABOTAGED = 100, 4

SABOTAGE = (
    "DELETE FROM core.order_items WHERE order_id = ANY(:deleted)",
    "DELETE FROM core.orders WHERE order_id = ANY(:deleted)",
    """
    UPDATE core.orders SET modified_at = modified_at - interval '1 minute', status = 'WAIT_BUYER_PAY'
    WHERE order_id = ANY(:aged)
    """,
    "UPDATE core.order_items SET quantity = quantity + 1 WHERE order_id = ANY(:altered)",
)


class Work:
    """The pipeline's work for one shop. Each asset prepares what it has to do, says "ready", and does it."""

    def __init__(self, access: ShopAccess, engine: Engine, seed: str) -> None:
        self.access, self.engine = access, engine
        self.chance = random.Random(seed)

    def history_pages(self) -> None:
        """Load the days that are due, else one once more."""
        days = due_work(self.access, self.engine).history_days[:8] or [self.day()]
        say("ready")
        for day in days:
            list_history(self.access, self.engine, day, self.access.platform.now())

    def increment_pages(self) -> None:
        say("ready")
        work = due_work(self.access, self.engine)
        if work.changed_days:
            poll(self.access, self.engine, work.changed_days)

    def fullinfo_orders(self) -> None:
        """Fetch what is due, and some orders once more, as a backfill with --refetch would."""
        with transaction(self.engine) as connection:
            known = connection.execute(text("SELECT order_id, modified_at FROM core.orders ORDER BY 1")).all()
            again = self.chance.sample(known, min(FETCHED_AGAIN, len(known)))
            say_anyway(connection, self.access.shop.id, "person", [Said(*row) for row in again])
        say("ready")
        drain(self.access, self.engine)

    def order_messages(self) -> None:
        say("ready")
        (reading,) = read_messages([self.access], self.engine)
        assert reading.failure is None, reading.failure
        drain(self.access, self.engine)

    def daily_reconciliation(self) -> None:
        """Delete, age and alter rows of a day, which the proof has to find and mend."""
        day = self.day()
        with transaction(self.engine) as connection:
            known = connection.execute(
                text("SELECT order_id FROM core.orders WHERE (created_at AT TIME ZONE 'Asia/Shanghai')::date = :day"),
                {"day": day},
            ).scalars()
            chosen = list(known)
            self.chance.shuffle(chosen)
            for statement in SABOTAGE:
                groups = {"deleted": 0, "aged": 1, "altered": 2}
                values = {name: chosen[at * SABOTAGED : (at + 1) * SABOTAGED] for name, at in groups.items()}
                connection.execute(text(statement), {k: v for k, v in values.items() if f":{k}" in statement})
        say("ready")
        self.prove(day)

    def everything(self) -> None:
        """Do all that the others do, until nothing is left, and prove every day."""
        while due_work(self.access, self.engine).history_days:
            self.history_pages()
        self.increment_pages()
        self.order_messages()
        for back in range(DAYS + 1):
            self.prove(day_of(self.access.platform.now()) - timedelta(days=back))
        say("all is done")

    def prove(self, day: date) -> None:
        reconcile_day(self.access, self.engine, day, self.access.platform.now(), listed=True)

    def day(self) -> date:
        return day_of(self.access.platform.now()) - timedelta(days=self.chance.randrange(DAYS))


ASSETS: dict[str, Callable[[Work], None]] = {
    "history_pages": Work.history_pages,
    "increment_pages": Work.increment_pages,
    "fullinfo_orders": Work.fullinfo_orders,
    "order_messages": Work.order_messages,
    "daily_reconciliation": Work.daily_reconciliation,
}


def say(word: str) -> None:
    print(word, flush=True)


def work(first: str, seed: str) -> NoReturn:
    """Begin with one asset and go on with the others for ever; or do everything once."""
    url, gateway_url, app_key, app_secret, session_key = sys.argv[1:]
    shop = Shop(
        id="demo-shop",
        platform="taobao",
        gateway_url=gateway_url,
        app_key=app_key,
        app_secret=app_secret,
        session_key=session_key,
    )
    engine = connect(url)
    works = Work(open_shop(shop, engine), engine, seed)
    if first == "everything":
        works.everything()
        os._exit(0)
    names = list(ASSETS)
    while True:
        for name in names[names.index(first) :] + names[: names.index(first)]:
            ASSETS[name](works)
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
