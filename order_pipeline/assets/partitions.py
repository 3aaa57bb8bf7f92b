"""The one partitioning of every asset: days of Asia/Shanghai, today included.

Belongs here: the definition and its conversions. Not here: what a day means for an asset.
"""

from datetime import date

import dagster as dg

# Nothing older can be fetched from the platform (three months back), and an earlier start only makes empty days.
FIRST_DAY = "2025-07-01"

# end_offset=1: today is a partition while it is still running, since every load of it is safe to repeat.
daily = dg.DailyPartitionsDefinition(start_date=FIRST_DAY, timezone="Asia/Shanghai", end_offset=1)


def partition_days(context: dg.AssetExecutionContext) -> list[date]:
    """Return the days that a run is for, oldest first."""
    return [date.fromisoformat(key) for key in sorted(context.partition_keys)]
