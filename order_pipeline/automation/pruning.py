"""The nightly prunes: months of raw data and calls that are past their time, and old lines of Dagster's event log.

Belongs here: when, and the runs that do it. Not here: what may go (sync/pruning.py, warehouse/event_log.py). They are
no assets, as they bring nothing.
"""

from datetime import UTC, datetime

import dagster as dg

from order_pipeline import configuration
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.sync.pruning import prune as prune_warehouse
from order_pipeline.warehouse.database import connect
from order_pipeline.warehouse.event_log import prune_events


@dg.op(description="Drops whole months past ORDER_PIPELINE_KEEP_..._DAYS that nothing needs; makes the months to come.")
def prune_tables(context: dg.OpExecutionContext, warehouse: WarehouseResource) -> None:
    """Prune, and say in the log and the metadata what went and what stayed."""
    done = prune_warehouse(warehouse.engine, configuration.retention(), datetime.now(UTC))
    for month in done.stays:
        context.log.warning(
            "%s is past its time and stays: it is needed by %s; it goes once these are loaded or discarded",
            month.name,
            ", ".join(month.needed_by),
        )
    context.add_output_metadata(
        {
            "gone": [each.name for each in done.gone],
            "rows": sum(each.rows for each in done.gone),
            "megabytes": round(sum(each.size_bytes or 0 for each in done.gone) / 1e6, 1),
            "stays": [each.name for each in done.stays],
            "made": list(done.made),
        }
    )


@dg.job(description="Keeps raw data, the log of calls and settled rows for as long as is configured.")
def prune() -> None:
    """Prune the tables."""
    prune_tables()


@dg.schedule(
    job=prune,
    # After the proofs of 02:00, which read raw pages.
    cron_schedule="30 4 * * *",
    execution_timezone="Asia/Shanghai",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Drops what is kept long enough, and makes next month's partitions.",
)
def nightly_prune() -> dg.RunRequest:
    """Prune once a night."""
    return dg.RunRequest(tags={"order_pipeline/reason": "nightly prune"})


@dg.op(description="Deletes old lines of runs that have ended; assets, partitions and checks stay as they are judged.")
def prune_lines(context: dg.OpExecutionContext) -> None:
    """Prune Dagster's own storage, and say how many lines went."""
    address = configuration.dagster_url()
    if address is None:
        raise dg.Failure(
            f"{configuration.DAGSTER_URL} is not set where runs are executed, so that Dagster's event log could not be "
            "pruned and grows; set it there to what dagster.yaml reads",
            allow_retries=False,
        )
    days = configuration.event_retention()
    engine = connect(address)
    try:
        pruned = prune_events(engine, days)
    finally:
        engine.dispose()
    context.add_output_metadata({"deleted": pruned.deleted, "left": pruned.left, "kept_days": days})


@dg.job(description="Keeps Dagster's event log for ORDER_PIPELINE_KEEP_EVENTS_DAYS, without losing any status.")
def prune_event_log() -> None:
    """Prune the event log."""
    prune_lines()


@dg.schedule(
    job=prune_event_log,
    # After the other prune, and still before anybody is at work.
    cron_schedule="50 4 * * *",
    execution_timezone="Asia/Shanghai",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Deletes old lines of Dagster's event log, which it keeps for ever by itself.",
)
def nightly_event_log_prune() -> dg.RunRequest:
    """Prune once a night."""
    return dg.RunRequest(tags={"order_pipeline/reason": "nightly prune"})
