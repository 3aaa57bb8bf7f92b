"""What runs of the assets do that ask the platform for orders and refunds, and prove them: see assets_to_kill.py."""

from __future__ import annotations

import random
from datetime import date, timedelta

from sqlalchemy import Engine, text

from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.due import due_refunds, due_work
from order_pipeline.sync.enrichment import drain
from order_pipeline.sync.listing import list_history
from order_pipeline.sync.messages import read_messages
from order_pipeline.sync.polling import poll, poll_refunds
from order_pipeline.sync.provable import PROVABLE_ORDERS, PROVABLE_REFUNDS
from order_pipeline.sync.reconciliation import reconcile_day
from order_pipeline.sync.streams import ORDER_STREAM, REFUND_STREAM
from order_pipeline.sync.windows import day_of
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.subjects import ORDERS, REFUNDS
from order_pipeline.warehouse.watermarks import REFUND_CHANGES, begin_watermark
from order_pipeline.warehouse.worklist import Said, say_anyway

# Forecasts are judged from five weeks of sales on.
DAYS = 40
HISTORY_DAYS_AT_ONCE, REFUND_DAYS_AT_ONCE = 8, 5
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
SABOTAGE_OF_REFUNDS = (
    "DELETE FROM core.refunds WHERE refund_id = ANY(:deleted)",
    """
    UPDATE core.refunds SET modified_at = modified_at - interval '1 second', status = 'WAIT_SELLER_AGREE'
    WHERE refund_id = ANY(:aged)
    """,
    "UPDATE core.refunds SET refund_fee = refund_fee + 1 WHERE refund_id = ANY(:altered)",
)


def say(word: str) -> None:
    """Tell whoever started this process."""
    print(word, flush=True)


class Orders:
    """Each asset prepares what it has to do, says "ready", and does it."""

    def __init__(self, access: ShopAccess, engine: Engine, seed: str) -> None:
        self.access, self.engine = access, engine
        self.chance = random.Random(seed)

    @property
    def shop_id(self) -> str:
        return self.access.shop.id

    def history_pages(self) -> None:
        """Load the days that are due, else one once more."""
        days = due_work(self.access, self.engine).history_days[:HISTORY_DAYS_AT_ONCE] or [self.day()]
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
            say_anyway(connection, self.shop_id, "person", [Said(*row) for row in again], subject=ORDERS)
        say("ready")
        drain(self.access, self.engine)

    def order_messages(self) -> None:
        say("ready")
        self.read_messages()

    def refund_pages(self) -> None:
        """List what changed, and some days once more, as a backfill would."""
        days = [self.day() for _ in range(REFUND_DAYS_AT_ONCE)]
        say("ready")
        self.list_refunds()
        poll_refunds(self.access, self.engine, sorted(set(days)), whole_day=True)

    def refunds(self) -> None:
        """Fetch what is due, and some refunds once more."""
        with transaction(self.engine) as connection:
            known = connection.execute(text("SELECT refund_id, modified_at FROM core.refunds ORDER BY 1")).all()
            again = self.chance.sample(known, min(FETCHED_AGAIN, len(known)))
            say_anyway(connection, self.shop_id, "person", [Said(*row) for row in again], subject=REFUNDS)
        say("ready")
        drain(self.access, self.engine, stream=REFUND_STREAM)

    def daily_reconciliation(self) -> None:
        """Delete, age and alter rows of a day, which the proof has to find and mend."""
        day = self.day()
        self.sabotage("SELECT order_id FROM core.orders WHERE {}::date = :day".format(_of_day("created_at")), day)
        self.sabotage(
            "SELECT refund_id FROM core.refunds WHERE {}::date = :day".format(_of_day("modified_at")),
            day,
            SABOTAGE_OF_REFUNDS,
        )
        say("ready")
        self.prove(day)

    def sabotage(self, query: str, day: date, statements: tuple[str, ...] = SABOTAGE) -> None:
        with transaction(self.engine) as connection:
            chosen = list(connection.execute(text(query + " ORDER BY 1"), {"day": day}).scalars())
            self.chance.shuffle(chosen)
            groups = {"deleted": 0, "aged": 1, "altered": 2}
            values = {name: chosen[at * SABOTAGED : (at + 1) * SABOTAGED] for name, at in groups.items()}
            for statement in statements:
                connection.execute(text(statement), {k: v for k, v in values.items() if f":{k}" in statement})

    def everything(self) -> None:
        """Do all that the others do, until nothing is left, and prove every day."""
        with transaction(self.engine) as connection:
            # A call for each of ninety empty days would prove nothing more.
            begin = self.access.platform.now() - timedelta(days=DAYS + 1)
            begin_watermark(connection, self.shop_id, begin, REFUND_CHANGES)
        while days := due_work(self.access, self.engine).history_days:
            for day in days:
                list_history(self.access, self.engine, day, self.access.platform.now())
        if changed := due_work(self.access, self.engine).changed_days:
            poll(self.access, self.engine, changed)
        self.list_refunds()
        self.read_messages()
        for back in range(DAYS + 1):
            self.prove(day_of(self.access.platform.now()) - timedelta(days=back))

    def list_refunds(self) -> None:
        work = due_refunds(self.access, self.engine)
        if work.changed_days:
            poll_refunds(self.access, self.engine, work.changed_days)

    def read_messages(self) -> None:
        (reading,) = read_messages([self.access], self.engine)
        assert reading.failure is None, reading.failure
        for stream in (ORDER_STREAM, REFUND_STREAM):
            drain(self.access, self.engine, stream=stream)

    def prove(self, day: date) -> None:
        for provable in (PROVABLE_ORDERS, PROVABLE_REFUNDS):
            now = self.access.platform.now()
            reconcile_day(self.access, self.engine, day, now, listed=True, provable=provable)

    def day(self) -> date:
        return day_of(self.access.platform.now()) - timedelta(days=self.chance.randrange(DAYS))


def _of_day(column: str) -> str:
    return f"({column} AT TIME ZONE 'Asia/Shanghai')"
