"""What runs at fixed times.

Belongs here: times, all Asia/Shanghai. Not here: what runs because there is work (sensors.py).
"""

from datetime import timedelta

import dagster as dg

from order_pipeline.automation.jobs import close_day
from order_pipeline.sync.windows import SHANGHAI


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


schedules = [daily_close]
