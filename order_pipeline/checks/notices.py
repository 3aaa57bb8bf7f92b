"""The check that says whether people are told what they should know.

Belongs here: the judgement as a check's result. Not here: delivering (sync/notices.py).
"""

from datetime import UTC, datetime

import dagster as dg

from order_pipeline import configuration
from order_pipeline.assets.orders import fullinfo_orders
from order_pipeline.notifications.addresses import open_notifiers
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.sync.notices import Outbox, look_at_outbox

CHECK = "notices_are_delivered"


@dg.asset_check(
    asset=fullinfo_orders, name=CHECK, description="No notice waits longer than 15 minutes for its delivery."
)
def notices_are_delivered(warehouse: WarehouseResource) -> dg.AssetCheckResult:
    """Look at the outbox, asking no service."""
    outbox = look_at_outbox(warehouse.engine, open_notifiers(configuration.notify_urls()))
    late = outbox.is_late(datetime.now(UTC))
    return dg.AssetCheckResult(
        passed=not late,
        # The tables are right all the same.
        severity=dg.AssetCheckSeverity.WARN,
        description=outbox.words if late else None,
        metadata={"waiting": outbox.waiting.notices},
    )


def notices_evaluation(outbox: Outbox, now: datetime) -> dg.AssetCheckEvaluation:
    """Return the same for whoever is no run."""
    late = outbox.is_late(now)
    return dg.AssetCheckEvaluation(
        asset_key=fullinfo_orders.key,
        check_name=CHECK,
        passed=not late,
        severity=dg.AssetCheckSeverity.WARN,
        description=outbox.words if late else None,
        metadata={"waiting": outbox.waiting.notices},
    )


notice_checks = [notices_are_delivered]
