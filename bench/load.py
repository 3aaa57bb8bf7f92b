"""One load in a process of its own: the pipeline's list path or its details. Prints one line of JSON.

python -m bench.load lists|details DATABASE_URL SANDBOX_URL DAYS
"""

from __future__ import annotations

import json
import resource
import sys

from sqlalchemy import text

from bench.stage import Stage, Stopwatch, opened
from order_pipeline.sync.enrichment import drain
from order_pipeline.sync.listing import list_history
from order_pipeline.sync.windows import due_history_days
from order_pipeline.warehouse.database import transaction


def main(what: str, database_url: str, sandbox_url: str, days: int) -> dict[str, float]:
    """Load and say how fast, with how many calls and at what peak of memory."""
    access = Stage(sandbox_url, None).access()  # type: ignore[arg-type]
    with opened(database_url) as engine:
        watch = Stopwatch()
        if what == "lists":
            now = access.platform.now()
            for day in due_history_days(now, now, set(), days=days):
                list_history(access, engine, day, now)
        else:
            drain(access, engine)
        seconds = watch.seconds
        with transaction(engine) as connection:
            column = "*" if what == "lists" else "detail_modified_at"
            orders = connection.execute(text(f"SELECT count({column}) FROM core.orders")).scalar()
    peak = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "orders": int(orders or 0),
        "seconds": seconds,
        "cpu_seconds": peak.ru_utime + peak.ru_stime,
        "peak_mb": peak.ru_maxrss / 1024,
        "calls": access.calls.total,
    }


if __name__ == "__main__":
    what, database_url, sandbox_url, days = sys.argv[1:]
    print(json.dumps(main(what, database_url, sandbox_url, int(days))))
