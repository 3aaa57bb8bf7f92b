"""The one oracle of the tests: the warehouse against the sandbox's ground truth, row by row."""

from __future__ import annotations

from datetime import date, timedelta

from sqlalchemy import Engine, text

from order_pipeline.commands.proof import (
    Proof,
    RefundProof,
    compare,
    compare_refunds,
    read_refund_truth,
    read_truth,
)
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.due import due_refunds, due_work
from order_pipeline.sync.enrichment import drain
from order_pipeline.sync.listing import list_changes, list_history
from order_pipeline.sync.messages import Reading, read_messages
from order_pipeline.sync.refund_listing import list_refunds
from order_pipeline.sync.streams import REFUND_STREAM
from order_pipeline.warehouse.database import snapshot, transaction
from order_pipeline.warehouse.watermarks import REFUND_CHANGES, begin_watermark


def proof(engine: Engine, access: ShopAccess, sandbox_url: str, *, created_from: str = "") -> Proof:
    """Compare with a platform that stands still."""
    truth = read_truth(sandbox_url, access.shop.id, created_from=created_from)
    with snapshot(engine) as connection:
        return compare(connection, access.shop.id, truth, truth)


def pass_over(engine: Engine, access: ShopAccess) -> list[date]:
    """Do what a pass does, without Dagster: the first load, the changes, the details. Return the days touched."""
    work = due_work(access, engine)
    for day in work.history_days:
        list_history(access, engine, day, access.platform.now())
    if work.history_days:
        drain(access, engine)
        work = due_work(access, engine)
    for day in work.changed_days:
        list_changes(access, engine, day, access.platform.now())
    if work.changed_days:
        drain(access, engine)
    return [*work.history_days, *work.changed_days]


def refund_proof(engine: Engine, access: ShopAccess, sandbox_url: str) -> RefundProof:
    """Compare the refunds with those of a platform that stands still."""
    truth = read_refund_truth(sandbox_url, access.shop.id)
    with snapshot(engine) as connection:
        return compare_refunds(connection, access.shop.id, truth, truth)


def pass_over_refunds(engine: Engine, access: ShopAccess) -> list[date]:
    """Do what a pass does about refunds, without Dagster. Return the days touched."""
    days = list(due_refunds(access, engine).changed_days)
    for day in days:
        list_refunds(access, engine, day, access.platform.now())
    if days:
        drain(access, engine, stream=REFUND_STREAM)
    return days


def begin_refunds_lately(engine: Engine, access: ShopAccess, days: int = 6) -> None:
    """Let the first load reach back a few days only: a call for each of ninety empty days proves nothing more."""
    with transaction(engine) as connection:
        begin_watermark(connection, access.shop.id, access.platform.now() - timedelta(days=days), REFUND_CHANGES)


def now_due(engine: Engine) -> None:
    """Let what waits for a later time be due: the worklist's own waits are by the database's clock."""
    with transaction(engine) as connection:
        for worklist in ("sync.pending_order", "sync.pending_refund"):
            connection.execute(text(f"UPDATE {worklist} SET due_at = now() WHERE due_at < 'infinity'"))


def hear(engine: Engine, access: ShopAccess) -> Reading:
    """Do what the sensor of messages and its run do, without Dagster: read, then fetch what is announced."""
    (reading,) = read_messages([access], engine)
    drain(access, engine)
    drain(access, engine, stream=REFUND_STREAM)
    return reading
