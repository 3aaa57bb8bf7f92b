"""The nightly prune: months of raw data and calls that are past their time.

Belongs here: when, and the run that does it. Not here: what may go (sync/pruning.py). It is no asset, as it
brings nothing.
"""

from datetime import UTC, datetime

import dagster as dg

from order_pipeline import configuration
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.sync.pruning import prune as prune_warehouse


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
