"""Increments as they run inside a code location that is up: one Dagster run of the asset each time a line comes in.

Loads the lists first and says a line of JSON; then for each line on its input one more. Not here: what is compared
(peers.py). python -m bench.increments DATABASE_URL SANDBOX_URL DAYS
"""

from __future__ import annotations

import json
import sys

import dagster as dg
from sqlalchemy import text

from bench.load import main as load
from bench.stage import Stage, Stopwatch, opened
from order_pipeline.definitions import build_defs
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.sync.windows import day_of
from order_pipeline.warehouse.database import transaction

QUIET = {"loggers": {"console": {"config": {"log_level": "WARNING"}}}}


def main(database_url: str, sandbox_url: str, days: int) -> None:
    """Load, then follow."""
    print(json.dumps(load("lists", database_url, sandbox_url, days)), flush=True)
    defs = build_defs(resource_overrides={"warehouse": WarehouseResource(database_url=database_url)})
    job = defs.resolve_job_def("sync_orders")
    with opened(database_url) as engine, dg.DagsterInstance.ephemeral() as instance:
        clock = Stage(sandbox_url, None).access(engine).platform  # type: ignore[arg-type]
        for line in sys.stdin:
            since = json.loads(line)["start"]
            today = str(day_of(clock.now()))
            watch = Stopwatch()
            ran = job.execute_in_process(
                instance=instance,
                asset_selection=[dg.AssetKey("increment_pages")],
                partition_key=today,
                run_config=QUIET,
            )
            seconds = watch.seconds
            with transaction(engine) as connection:
                changed = connection.execute(
                    text("SELECT count(*) FROM core.orders WHERE modified_at >= (:since)::timestamptz"),
                    {"since": f"{since}+08:00"},
                ).scalar()
            print(json.dumps({"seconds": seconds, "changed": changed, "events": len(ran.all_events)}), flush=True)


if __name__ == "__main__":
    database_url, sandbox_url, days = sys.argv[1:]
    main(database_url, sandbox_url, int(days))
