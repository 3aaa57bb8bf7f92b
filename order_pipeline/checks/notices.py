"""The check that says whether people are told what they should know.

Belongs here: the judgement as a check's result. Not here: delivering (sync/notices.py).
"""

from datetime import UTC, datetime

import dagster as dg
from sqlalchemy import Engine

from order_pipeline import configuration
from order_pipeline.assets.orders import fullinfo_orders
from order_pipeline.checks.outboxes import OutboxVerdict
from order_pipeline.configuration import ConfigurationError
from order_pipeline.notifications.addresses import open_notifiers
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.sync.notices import look_at_outbox

CHECK = "notices_are_delivered"


def judge(engine: Engine, now: datetime | None = None) -> OutboxVerdict:
    """Look at the configuration and the outbox, asking no service."""
    try:
        notifiers = open_notifiers(configuration.notify_urls())
    except ConfigurationError as error:
        return OutboxVerdict(f"{error}; until then nobody is told anything", look_at_outbox(engine, []).waiting.notices)
    outbox = look_at_outbox(engine, notifiers)
    return OutboxVerdict(outbox.words if outbox.is_late(now or datetime.now(UTC)) else None, outbox.waiting.notices)


@dg.asset_check(
    asset=fullinfo_orders, name=CHECK, description="No notice waits longer than 15 minutes for its delivery."
)
def notices_are_delivered(warehouse: WarehouseResource) -> dg.AssetCheckResult:
    """Judge, in a run."""
    verdict = judge(warehouse.engine)
    return verdict.result()


def notices_evaluation(verdict: OutboxVerdict) -> dg.AssetCheckEvaluation:
    """Return the same for whoever is no run."""
    return verdict.evaluation(fullinfo_orders, CHECK)


notice_checks = [notices_are_delivered]
