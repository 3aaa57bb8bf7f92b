"""When stock is looked at, holds are derived anew, and the merchant's own systems are told.

Belongs here: their sensors and the daily schedule. Not here: the work (assets/holds.py, assets/inventory.py,
sync/hook.py).
"""

from datetime import UTC, datetime

import dagster as dg

from order_pipeline import configuration
from order_pipeline.automation.jobs import derive_holds, inventory
from order_pipeline.automation.requests import request, runs_at_work
from order_pipeline.checks.hook import hook_evaluation, judge_hook
from order_pipeline.configuration import ConfigurationError
from order_pipeline.notifications.hook import open_hook
from order_pipeline.resources.shops import ShopsResource
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.sync.hook import hand_over_events
from order_pipeline.sync.windows import SHANGHAI, day_of
from order_pipeline.warehouse.database import DatabaseUnreachableError, transaction
from order_pipeline.warehouse.presale_holds import count_newer_lines

# A deposit is held a minute after it is in the tables: a query of a few rows a shop, and no call.
HOLDS_SECONDS = 60
HOOK_SECONDS = 60
DERIVING = (derive_holds.name, inventory.name)


@dg.sensor(
    jobs=[derive_holds],
    minimum_interval_seconds=HOLDS_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks the tables whether lines of pre-sales are newer than their holds.",
)
def holds_sensor(
    context: dg.SensorEvaluationContext, warehouse: WarehouseResource, shops: ShopsResource
) -> dg.SensorResult | dg.SkipReason:
    """Start a run where there is something to derive and none is at it."""
    at_work = runs_at_work(context.instance, DERIVING)
    if at_work:
        return dg.SkipReason(f"run {at_work[0][:8]} is at work")
    try:
        accesses = shops.open(warehouse.engine)
        with transaction(warehouse.engine) as connection:
            newer = {access.shop.id: count_newer_lines(connection, access.shop.id) for access in accesses}
    except (ConfigurationError, DatabaseUnreachableError) as error:
        return dg.SkipReason(str(error))
    if not any(newer.values()):
        return dg.SkipReason("no line of a pre-sale is newer than its hold")
    today = day_of(datetime.now(UTC))
    counter = int(context.cursor or 0)
    return dg.SensorResult(run_requests=[request(derive_holds.name, today, today, counter)], cursor=str(counter + 1))


@dg.schedule(
    job=inventory,
    cron_schedule="0 6 * * *",
    execution_timezone="Asia/Shanghai",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Takes the day's snapshot of stock, and writes stock back where a shop wants that.",
)
def daily_inventory(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Look at today's stock."""
    today = context.scheduled_execution_time.astimezone(SHANGHAI).date().isoformat()
    return dg.RunRequest(
        partition_key=today,
        # No sensor asks for it again, so the daemon shall.
        tags={
            "order_pipeline/reason": "daily inventory",
            "dagster/max_retries": "3",
            "dagster/retry_on_asset_or_op_failure": "true",
        },
    )


@dg.sensor(
    minimum_interval_seconds=HOOK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Hands what waits for the merchant's own systems to ORDER_PIPELINE_HOOK, in order, at least once.",
)
def hook_sensor(context: dg.SensorEvaluationContext, warehouse: WarehouseResource) -> dg.SensorResult | dg.SkipReason:
    """Hand over, and keep the check of it as it is in truth."""
    configured = configuration.hook()
    if configured is None:
        return dg.SkipReason(f"{configuration.HOOK} is not set")
    try:
        words = hand_over_events(warehouse.engine, open_hook(configured)).words
    except ConfigurationError as error:
        words = str(error)
    except DatabaseUnreachableError as error:
        return dg.SkipReason(str(error))
    verdict = judge_hook(warehouse.engine)
    state = "late" if verdict.problem else "well"
    if state == (context.cursor or "well"):
        return dg.SkipReason(words)
    context.log.info(words)
    return dg.SensorResult(asset_events=[hook_evaluation(verdict)], cursor=state)


inventory_schedules = [daily_inventory]
inventory_sensors = [holds_sensor, hook_sensor]
