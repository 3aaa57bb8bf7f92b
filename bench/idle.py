"""What everything under order-pipeline dev costs while nothing changes.

By hand: python -m bench.idle [MINUTES [SHOPS]].
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress

import psutil
from sqlalchemy import Engine, text

from bench.freshness import DAYS, LOST_SECONDS, ORDERS, SILENCE_SECONDS, Dev, is_loaded, served, until
from bench.stage import opened, stage
from order_pipeline.warehouse.database import transaction

DAY_SECONDS = 86_400
# Refunds' first load, the run that follows, and what starting costs.
SETTLING_SECONDS = SILENCE_SECONDS + 60
# Growth by rows: files grow in leaps, and vacuum moves within them.
TABLES = {"event_log": "event_logs", "ticks": "job_ticks", "runs": "runs"}


def idle(minutes: float, shops: int) -> dict[str, float]:
    """Shares of a core, growth of Dagster's tables a day in megabytes, and memory.

    Ticks grow for a day, until those that found nothing are purged (dagster.yaml); what then stays is a day's growth.
    """
    with stage(ORDERS, DAYS, shops=shops) as on, served(on, shops) as dev, opened(dev.warehouse_url) as warehouse:
        until(lambda: is_loaded(warehouse, shops), LOST_SECONDS * shops)
        time.sleep(SETTLING_SECONDS)
        with opened(dev.dagster_url) as engine:
            server = _server_of(engine)
            cpu, database, sizes = dev.cpu_seconds(), _spent(server), _sizes(engine)
            began = time.monotonic()
            time.sleep(minutes * 60)
            seconds = time.monotonic() - began
            cpu, database, later = dev.cpu_seconds() - cpu, _spent(server) - database, _sizes(engine)
            megabytes = _megabytes(dev)
    growth = {name: (later[name] - sizes[name]) / seconds * DAY_SECONDS / 1e6 for name in TABLES}
    return {
        "idle_shops": shops,
        "idle_core_share": round(cpu / seconds, 4),
        "idle_postgres_core_share": round(database / seconds, 4),
        "idle_event_log_mb_per_day": round(growth["event_log"] + growth["runs"], 2),
        "idle_ticks_mb_kept": round(growth["ticks"], 1),
        "idle_dev_mb": round(megabytes),
    }


def _server_of(engine: Engine) -> psutil.Process:
    """Return the server's first process: the parent of the one that answers us."""
    with transaction(engine) as connection:
        return psutil.Process(psutil.Process(connection.execute(text("SELECT pg_backend_pid()")).scalar()).ppid())


def _spent(server: psutil.Process) -> float:
    """Processor time of the server and of all that it started, those that ended included."""
    spent = 0.0
    for process in (server, *server.children()):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            spent += times.user + times.system + times.children_user + times.children_system
    return spent


def _sizes(engine: Engine) -> dict[str, int]:
    with transaction(engine) as connection:
        return {
            name: int(
                connection.execute(text(f"SELECT coalesce(sum(pg_column_size(t.*)), 0) FROM {table} t")).scalar_one()
            )
            for name, table in TABLES.items()
        }


def _megabytes(dev: Dev) -> float:
    """Proportional memory of dev's processes: pages that several share count once."""
    total = 0.0
    for process in (dev.process, *dev.process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            total += process.memory_full_info().pss / 1024 / 1024
    return total


if __name__ == "__main__":
    print(json.dumps(idle(float((sys.argv[1:2] or ["10"])[0]), int((sys.argv[2:3] or ["1"])[0]))))
