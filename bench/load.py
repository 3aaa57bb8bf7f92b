"""One load in a process of its own: the list path, a Dagster run of it, or the details. Prints one line of JSON.

python -m bench.load lists|run|details DATABASE_URL SANDBOX_URL DAYS
"""

from __future__ import annotations

import json
import resource
import sys
from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from bench.stage import Stage, Stopwatch, opened, peak_memory_mb
from order_pipeline.sync.enrichment import drain
from order_pipeline.sync.listing import list_history_days
from order_pipeline.sync.windows import day_of, due_history_days
from order_pipeline.warehouse.database import transaction


def main(what: str, database_url: str, sandbox_url: str, days: int) -> dict[str, float]:
    """Load and say how fast, with how many calls and at what peak of memory."""
    with opened(database_url) as engine:
        access = Stage(sandbox_url, None).access(engine)  # type: ignore[arg-type]
        watch = Stopwatch()
        if what == "lists":
            now = access.platform.now()
            list_history_days(access, engine, due_history_days(now, now, set(), days=days), now)
        elif what == "run":
            dagster_run(database_url, days)
        else:
            drain(access, engine)
        seconds = watch.seconds
        with transaction(engine) as connection:
            column = "detail_modified_at" if what == "details" else "*"
            orders = connection.execute(text(f"SELECT count({column}) FROM core.orders")).scalar()
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "orders": int(orders or 0),
        "seconds": seconds,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_mb": peak_memory_mb(),
        "calls": access.calls.total,
    }


def dagster_run(database_url: str, days: int) -> None:
    """The same as one run of the asset, as the daemon's run worker does it."""
    import dagster as dg

    from order_pipeline.definitions import build_defs
    from order_pipeline.resources.warehouse import WarehouseResource

    today = day_of(datetime.now(UTC))
    defs = build_defs(resource_overrides={"warehouse": WarehouseResource(database_url=database_url)})
    with dg.DagsterInstance.ephemeral() as instance:
        defs.resolve_job_def("load_history").execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey("history_pages")],
            tags={
                "dagster/asset_partition_range_start": str(today - timedelta(days=days)),
                "dagster/asset_partition_range_end": str(today),
            },
        )


if __name__ == "__main__":
    what, database_url, sandbox_url, days = sys.argv[1:]
    print(json.dumps(main(what, database_url, sandbox_url, int(days))))
