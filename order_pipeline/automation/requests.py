"""What all sensors share: whether a run is at it already, and how one is asked for.

Belongs here: the rules of asking. Not here: what there is to do (the sensors).
"""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

RUNNING = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
]


def runs_at_work(instance: dg.DagsterInstance, jobs: Iterable[str]) -> list[str]:
    """Return the ids of unfinished runs of these jobs, one a job."""
    return [
        run.run_id for job in jobs for run in instance.get_runs(RunsFilter(job_name=job, statuses=RUNNING), limit=1)
    ]


def request(
    job: str, first: date, last: date, counter: int, *, config: Mapping[str, Mapping[str, Any]] | None = None
) -> dg.RunRequest:
    """Ask for a run of a job for a span of days. ``config``: run configuration by asset.

    The run key carries a counter, as a failed run blocks its key for ever.
    """
    days = {
        "dagster/asset_partition_range_start": first.isoformat(),
        "dagster/asset_partition_range_end": last.isoformat(),
    }
    return dg.RunRequest(
        run_key=f"{job}:{first}:{last}:{counter}",
        job_name=job,
        partition_key=first.isoformat() if first == last else None,
        run_config={"ops": {asset: {"config": values} for asset, values in config.items()}} if config else {},
        tags={"order_pipeline/reason": "sensor"} | (days if first != last else {}),
    )
