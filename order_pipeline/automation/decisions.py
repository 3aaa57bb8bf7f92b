"""When lists are made, and when listed shipments are looked at again.

Belongs here: times (Asia/Shanghai) and the cheap look whether there is work. Not here: the work (assets/decisions.py).
"""

from datetime import UTC, datetime

import dagster as dg

from order_pipeline.automation.jobs import inventory, judge_forecasts, list_shipments, restock, watch_shipments
from order_pipeline.automation.requests import runs_at_work
from order_pipeline.configuration import ConfigurationError
from order_pipeline.resources.shops import ShopsResource
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.sync.shipping import due_stops
from order_pipeline.sync.windows import SHANGHAI, day_of
from order_pipeline.warehouse.daily_sales import database_moment
from order_pipeline.warehouse.database import DatabaseUnreachableError, transaction
from order_pipeline.warehouse.ship_lists import unlisted_lines
from order_pipeline.wording import counted

# A parcel is packed within minutes of its list; asking costs one query a shop.
WATCH_SECONDS = 30
# The list is wanted when people come to work; half a minute is nothing.
AFTER_INVENTORY_SECONDS = 60
# Once more, for what was not there yet; no sensor asks for these runs again.
RETRIES = {"dagster/max_retries": "2", "dagster/retry_on_asset_or_op_failure": "true"}


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    monitored_jobs=[inventory],
    request_job=restock,
    minimum_interval_seconds=AFTER_INVENTORY_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Makes the day's lists as soon as its stock is known: a little after 06:00.",
)
def restock_after_inventory(context: dg.RunStatusSensorContext) -> dg.RunRequest | dg.SkipReason:
    """Make the lists of the day whose stock was just taken."""
    day = context.dagster_run.tags.get("dagster/partition")
    if day != day_of(datetime.now(UTC)).isoformat():
        return dg.SkipReason(f"the stock of {day or 'several days'} was taken; lists are made of today's only")
    return dg.RunRequest(
        # A run's own: the stock may be taken again later in the day.
        run_key=f"{restock.name}:{context.dagster_run.run_id}",
        partition_key=day,
        tags={"order_pipeline/reason": "the day's stock is known", **RETRIES},
    )


def _run_of_today(context: dg.ScheduleEvaluationContext, reason: str) -> dg.RunRequest:
    # The day in Shanghai: schedules may be given their time in UTC.
    today = context.scheduled_execution_time.astimezone(SHANGHAI).date()
    return dg.RunRequest(partition_key=today.isoformat(), tags={"order_pipeline/reason": reason, **RETRIES})


@dg.schedule(
    job=restock,
    # Where the stock of one shop could not be taken, its run failed: the others get their lists all the same.
    cron_schedule="45 6 * * *",
    execution_timezone="Asia/Shanghai",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Makes the day's lists once more, also where not every shop's stock could be taken at 06:00.",
)
def daily_restock(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Make the lists of today."""
    return _run_of_today(context, "daily restock")


@dg.schedule(
    job=judge_forecasts,
    # After Monday's forecast, so that a week ends with Sunday.
    cron_schedule="15 7 * * 1",
    execution_timezone="Asia/Shanghai",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Judges the forecasts of the last weeks.",
)
def weekly_backtest(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Judge the weeks up to yesterday."""
    return _run_of_today(context, "weekly backtest")


@dg.schedule(
    job=list_shipments,
    # Every hour of a warehouse's day; 06:00 is daily_restock's.
    cron_schedule="10 8-20 * * *",
    execution_timezone="Asia/Shanghai",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Lists what was paid since the last list and may leave.",
)
def hourly_ship_list(
    context: dg.ScheduleEvaluationContext, warehouse: WarehouseResource, shops: ShopsResource
) -> dg.RunRequest | dg.SkipReason:
    """Make a list where something waits that is on none."""
    try:
        ids = [access.shop.id for access in shops.open(warehouse.engine)]
        with transaction(warehouse.engine) as connection:
            waiting = {shop_id: unlisted_lines(connection, shop_id) for shop_id in ids}
    except (ConfigurationError, DatabaseUnreachableError) as error:
        return dg.SkipReason(str(error))
    if not any(waiting.values()):
        return dg.SkipReason("no paid line waits that is on no list")
    today = day_of(context.scheduled_execution_time)
    return dg.RunRequest(
        partition_key=today.isoformat(),
        tags={
            "order_pipeline/reason": f"{counted(sum(waiting.values()), 'line is', 'lines are')} on no list",
            **RETRIES,
        },
    )


@dg.sensor(
    job=watch_shipments,
    minimum_interval_seconds=WATCH_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Looks whether a listed line was refunded, closed or held since.",
)
def shipments_sensor(
    context: dg.SensorEvaluationContext, warehouse: WarehouseResource, shops: ShopsResource
) -> dg.SensorResult | dg.SkipReason:
    """Start a run where a listed line must be stopped."""
    at_work = runs_at_work(context.instance, (watch_shipments.name,))
    if at_work:
        return dg.SkipReason(f"run {at_work[0][:8]} is at work")
    try:
        ids = [access.shop.id for access in shops.open(warehouse.engine)]
        stops = sum(due_stops(warehouse.engine, shop_id) for shop_id in ids)
        with transaction(warehouse.engine) as connection:
            now = database_moment(connection)
    except (ConfigurationError, DatabaseUnreachableError) as error:
        return dg.SkipReason(str(error))
    if not stops:
        return dg.SkipReason(f"no listed line of {counted(len(ids), 'shop')} has to be stopped")
    counter = int(context.cursor or 0)
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                # The counter, as a failed run blocks its key for ever.
                run_key=f"{watch_shipments.name}:{counter}",
                partition_key=day_of(now).isoformat(),
                tags={
                    "order_pipeline/reason": f"{counted(stops, 'listed line has', 'listed lines have')} to be stopped"
                },
            )
        ],
        cursor=str(counter + 1),
    )


decision_schedules = [daily_restock, weekly_backtest, hourly_ship_list]
decision_sensors = [restock_after_inventory, shipments_sensor]
