"""The check that says whether people are told what they should know.

Belongs here: the judgement as a check's result. Not here: delivering (sync/notices.py).
"""

from datetime import UTC, datetime
from typing import NamedTuple

import dagster as dg
from sqlalchemy import Engine

from order_pipeline import configuration
from order_pipeline.assets.orders import fullinfo_orders
from order_pipeline.configuration import ConfigurationError
from order_pipeline.notifications.addresses import open_notifiers
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.sync.notices import look_at_outbox

CHECK = "notices_are_delivered"
# The tables are right all the same.
SEVERITY = dg.AssetCheckSeverity.WARN


class Verdict(NamedTuple):
    """Why people are not told, None when they are, and how many notices wait."""

    problem: str | None
    waiting: int


def judge(engine: Engine, now: datetime | None = None) -> Verdict:
    """Look at the configuration and the outbox, asking no service."""
    try:
        notifiers = open_notifiers(configuration.notify_urls())
    except ConfigurationError as error:
        return Verdict(f"{error}; until then nobody is told anything", look_at_outbox(engine, []).waiting.notices)
    outbox = look_at_outbox(engine, notifiers)
    return Verdict(outbox.words if outbox.is_late(now or datetime.now(UTC)) else None, outbox.waiting.notices)


@dg.asset_check(
    asset=fullinfo_orders, name=CHECK, description="No notice waits longer than 15 minutes for its delivery."
)
def notices_are_delivered(warehouse: WarehouseResource) -> dg.AssetCheckResult:
    """Judge, in a run."""
    verdict = judge(warehouse.engine)
    return dg.AssetCheckResult(
        passed=not verdict.problem,
        severity=SEVERITY,
        description=verdict.problem,
        metadata={"waiting": verdict.waiting},
    )


def notices_evaluation(verdict: Verdict) -> dg.AssetCheckEvaluation:
    """Return the same for whoever is no run."""
    return dg.AssetCheckEvaluation(
        asset_key=fullinfo_orders.key,
        check_name=CHECK,
        passed=not verdict.problem,
        severity=SEVERITY,
        description=verdict.problem,
        metadata={"waiting": verdict.waiting},
    )


notice_checks = [notices_are_delivered]
