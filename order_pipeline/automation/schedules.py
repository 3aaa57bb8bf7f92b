"""What runs at fixed times.

Belongs here: times, all Asia/Shanghai. Not here: what runs because there is work (sensors.py).
"""

from datetime import timedelta

import dagster as dg

from order_pipeline.automation.jobs import close_day, follow_parcels, reconcile
from order_pipeline.automation.requests import runs_at_work
from order_pipeline.sync.windows import SHANGHAI

# Yesterday and the week before it: by then nearly every order was paid and shipped, its busiest changes.
DAYS_PROVEN = 8


@dg.schedule(
    job=close_day,
    # Past the half hour that late arrivals take around big sales, and before the nightly proofs.
    cron_schedule="45 0 * * *",
    execution_timezone="Asia/Shanghai",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Lists yesterday's changes once more, whole, and checks keys, money and counts.",
)
def daily_close(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Close yesterday."""
    yesterday = (context.scheduled_execution_time.astimezone(SHANGHAI) - timedelta(days=1)).date().isoformat()
    return dg.RunRequest(
        partition_key=yesterday,
        run_config={"ops": {"increment_pages": {"config": {"whole_day": True}}}},
        # No sensor asks for it again, so the daemon shall.
        tags={
            "order_pipeline/reason": "daily close",
            "dagster/max_retries": "3",
            "dagster/retry_on_asset_or_op_failure": "true",
        },
    )


@dg.schedule(
    job=reconcile,
    # After the daily close has had its hour.
    cron_schedule="0 2 * * *",
    execution_timezone="Asia/Shanghai",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Proves yesterday and the seven days before against the platform, and fills what is missing.",
)
def nightly_reconciliation(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Prove the days in one run."""
    today = context.scheduled_execution_time.astimezone(SHANGHAI).date()
    return dg.RunRequest(
        tags={
            "dagster/asset_partition_range_start": (today - timedelta(days=DAYS_PROVEN)).isoformat(),
            "dagster/asset_partition_range_end": (today - timedelta(days=1)).isoformat(),
            "order_pipeline/reason": "nightly reconciliation",
            # Once more, for a platform that was away; a day that stays red is for people, not for a third try.
            "dagster/max_retries": "1",
            "dagster/retry_on_asset_or_op_failure": "true",
        },
    )


@dg.schedule(
    job=follow_parcels,
    # Carriers' own services allow no more than a question an hour and parcel. Off the hour, when everybody asks.
    cron_schedule="20 * * * *",
    execution_timezone="Asia/Shanghai",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Follows the parcels that may still move, and looks which of them are stuck.",
)
def hourly_parcels(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Follow parcels, unless the last time is not over yet."""
    at_work = runs_at_work(context.instance, [follow_parcels.name])
    if at_work:
        return dg.SkipReason(f"run {at_work[0][:8]} is at work")
    today = context.scheduled_execution_time.astimezone(SHANGHAI).date().isoformat()
    return dg.RunRequest(partition_key=today, tags={"order_pipeline/reason": "hourly parcels"})


schedules = [daily_close, nightly_reconciliation, hourly_parcels]
