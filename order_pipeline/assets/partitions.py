"""The one partitioning of every asset: days of Asia/Shanghai, today included; and how old an asset may be.

Belongs here: the definition and its conversions. Not here: what a day means for an asset.
"""

from datetime import date, timedelta

import dagster as dg

# Nothing older can be fetched from the platform (three months back), and an earlier start only makes empty days.
FIRST_DAY = "2025-07-01"

# end_offset=1: today is a partition while it is still running, since every load of it is safe to repeat.
daily = dg.DailyPartitionsDefinition(start_date=FIRST_DAY, timezone="Asia/Shanghai", end_offset=1)

# Of assets that a schedule materializes each day, changed or not. A quiet shop must not turn the others red: they are
# materialized when something happens, and how far behind the platform they are, metrics say (docs/monitoring.md).
FRESH_DAILY = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=36), warn_window=timedelta(hours=27))

# What is decided belongs to one day: days that are made again are made one by one.
A_DAY_A_RUN = dg.BackfillPolicy.multi_run()


def partition_days(context: dg.AssetExecutionContext) -> list[date]:
    """Return the days that a run is for, oldest first."""
    return [date.fromisoformat(key) for key in sorted(context.partition_keys)]
