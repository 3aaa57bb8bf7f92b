"""Single orders and refunds asked for once more by a person, whatever the tables hold.

Belongs here: that errand. Not here: draining a worklist (enrichment.py), whole days (backfill).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection, Engine, text

from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.enrichment import drain
from order_pipeline.sync.replay import LONG_AGO
from order_pipeline.sync.shops import for_each_shop
from order_pipeline.sync.streams import Stream
from order_pipeline.warehouse.database import in_transaction, transaction
from order_pipeline.warehouse.subjects import Subject
from order_pipeline.warehouse.worklist import Said, database_now, say_anyway

BY_HAND = "by hand"


class Refetched(NamedTuple):
    """What came of one record: whether today's answer is in the tables, and what stands in its way if not."""

    subject: str
    record_id: str
    is_loaded: bool
    problem: str | None


def refetch(access: ShopAccess, engine: Engine, stream: Stream, record_ids: Sequence[str]) -> list[Refetched]:
    """Put the records on their worklist, drain it, and say what came of each; other work that is due is done with it.

    Raises ShopsFailedError when the platform cannot be asked; what was asked for stays on the list then.
    """
    said = [Said(record_id, LONG_AGO) for record_id in record_ids]

    def say(connection: Connection) -> object:
        say_anyway(connection, access.shop.id, BY_HAND, said, subject=stream.subject)
        return database_now(connection)

    began = in_transaction(engine, say)
    for_each_shop([access], engine, lambda each: drain(each, engine, stream=stream))
    with transaction(engine) as connection:
        look = partial(_look, connection, access.shop.id, stream.subject, began)
        return [look(record_id) for record_id in dict.fromkeys(record_ids)]


def _look(connection: Connection, shop_id: str, subject: Subject, began: object, record_id: str) -> Refetched:
    row = connection.execute(
        text(f"""
            SELECT (SELECT stored_at >= :began FROM {subject.table}
                    WHERE shop_id = :shop_id AND {subject.key} = :record_id) AS is_stored,
                   (SELECT coalesce(last_problem, 'it waits to be asked for again') FROM {subject.worklist}
                    WHERE shop_id = :shop_id AND {subject.key} = :record_id) AS problem
        """),
        {"shop_id": shop_id, "record_id": record_id, "began": began},
    ).one()
    is_loaded = bool(row.is_stored)
    # A record changed in this very second waits to be asked for once more; its answer is in the tables all the same.
    problem = None if is_loaded else row.problem or "the shop is left alone for now; see: order-pipeline status"
    return Refetched(subject.name, record_id, is_loaded, problem)
