"""The check that says whether the merchant's own systems are told what they should know.

Belongs here: the judgement as a check's result. Not here: handing over (sync/hook.py).
"""

from datetime import UTC, datetime

import dagster as dg
from sqlalchemy import Engine

from order_pipeline import configuration
from order_pipeline.assets.holds import presale_holds
from order_pipeline.checks.outboxes import OutboxVerdict
from order_pipeline.configuration import ConfigurationError
from order_pipeline.notifications.hook import open_hook
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.sync.hook import is_late, look_at_hook
from order_pipeline.wording import counted

CHECK = "hook_takes_events"


def judge_hook(engine: Engine, now: datetime | None = None) -> OutboxVerdict:
    """Look at the configuration and the outbox, asking nobody."""
    configured = configuration.hook()
    if configured is None:
        return OutboxVerdict(None, 0)
    waiting = look_at_hook(engine)
    try:
        open_hook(configured)
    except ConfigurationError as error:
        return OutboxVerdict(
            f"{error}; until then {counted(waiting.events, 'event waits', 'events wait')}", waiting.events
        )
    late = is_late(waiting, now or datetime.now(UTC))
    said = f": {waiting.last_problem}" if waiting.last_problem else ""
    return OutboxVerdict(
        f"{counted(waiting.events, 'event waits', 'events wait')} for the hook{said}" if late else None, waiting.events
    )


@dg.asset_check(asset=presale_holds, name=CHECK, description="No event waits longer than 15 minutes for the hook.")
def hook_takes_events(warehouse: WarehouseResource) -> dg.AssetCheckResult:
    """Judge, in a run."""
    verdict = judge_hook(warehouse.engine)
    return verdict.result()


def hook_evaluation(verdict: OutboxVerdict) -> dg.AssetCheckEvaluation:
    """Return the same for whoever is no run."""
    return verdict.evaluation(presale_holds, CHECK)


hook_checks = [hook_takes_events]
