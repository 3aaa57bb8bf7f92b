"""What running costs beside the work: memory of dev's processes, and from a sensor's tick to the first call.

Belongs here: measurements on a started ``order-pipeline dev``. Not here: the work itself (load.py), freshness.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import psutil
from rich.console import Console
from rich.table import Table
from sqlalchemy import create_engine, text
from sqlalchemy.exc import ProgrammingError

from bench.stage import Stage, stage

PROJECT = Path(__file__).parent.parent
MEGABYTE = 1024 * 1024
UP_SECONDS = 180.0

_RUNS = text("""
    SELECT run_id, create_timestamp, start_time, pipeline_name FROM runs
    WHERE status = 'SUCCESS' AND pipeline_name IN ('sync_orders', 'load_history') ORDER BY id
""")
_EVENTS = text("SELECT run_id, count(*) FROM event_logs WHERE run_id = ANY(:runs) GROUP BY run_id")
_FIRST_CALL = text("SELECT min(started_at) FROM sync.call WHERE started_at >= :since")


def dev(seconds: int, console: Console) -> dict[str, float]:
    """Let dev follow a shop for so long and look at it."""
    with stage(500, 5, live=(0.5, 2_000.0)) as on, on.as_shops_file(), tempfile.TemporaryDirectory() as home:
        warehouse, storage = on.database(), _storage(on)
        environment = os.environ | {
            "ORDER_PIPELINE_HOME": home,
            "ORDER_PIPELINE_DATABASE_URL": warehouse.replace("+psycopg2", ""),
            "DAGSTER_POSTGRES_URL": storage.replace("+psycopg2", ""),
        }
        command = [sys.executable, "-m", "order_pipeline", "dev", "--port", str(_free_port())]
        with (Path(home) / "dev.log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=PROJECT, env=environment, stdout=log, stderr=log, start_new_session=True
            )
            try:
                peaks = _watch(process, storage, seconds)
            finally:
                _stop(process)
        runs = _overhead(storage, warehouse)
    table = Table(title=f"order-pipeline dev, followed for {seconds} s after its first run")
    for heading in (
        "idle MB",
        "with a run MB",
        "runs",
        "asked for to started, s",
        "started to first call, s",
        "events a run",
    ):
        table.add_column(heading, justify="right")
    table.add_row(
        f"{min(peaks):,.0f}", f"{max(peaks):,.0f}", f"{len(runs)}",
        *(f"{median(run[what] for run in runs):.2f}" for what in ("to_start", "to_call")),
        f"{median(run['events'] for run in runs):.0f}",
    )  # fmt: skip
    console.print(table)
    return {
        "dev_mb": round(max(peaks)),
        "tick_to_first_call_s": round(median(run["to_start"] + run["to_call"] for run in runs), 2),
        "events_per_run": round(median(run["events"] for run in runs)),
    }


def _watch(process: subprocess.Popen[bytes], storage: str, seconds: int) -> list[float]:
    """Return the tree's megabytes, sampled from the first run's end on."""
    up_by = time.monotonic() + UP_SECONDS
    while not _succeeded(storage):
        if process.poll() is not None or time.monotonic() > up_by:
            raise RuntimeError(f"dev had no run in {UP_SECONDS:.0f} s (status {process.poll()})")
        time.sleep(1)
    over_at = time.monotonic() + seconds
    samples = []
    while time.monotonic() < over_at:
        samples.append(_tree_megabytes(process.pid))
        time.sleep(0.5)
    return samples


def _tree_megabytes(pid: int) -> float:
    """Add up the processes' proportional memory: pages that several share count once."""
    total = 0.0
    for each in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            total += each.memory_full_info().pss / MEGABYTE
    return total


def _overhead(storage: str, warehouse: str) -> list[dict[str, float]]:
    """Return for each run how long it took to start and to make its first call, and how many events it wrote."""
    with create_engine(storage).connect() as dagster, create_engine(warehouse).connect() as ours:
        rows = dagster.execute(_RUNS).all()
        events = dict(dagster.execute(_EVENTS, {"runs": [row.run_id for row in rows]}).tuples().all())
        found = []
        for row in rows:
            asked_at = row.create_timestamp.replace(tzinfo=UTC).timestamp()
            since = datetime.fromtimestamp(row.start_time, UTC)
            first_call = ours.execute(_FIRST_CALL, {"since": since}).scalar()
            found.append(
                {
                    "to_start": row.start_time - asked_at,
                    "to_call": first_call.timestamp() - row.start_time if first_call else 0.0,
                    "events": events[row.run_id],
                }
            )
        return found


def _succeeded(storage: str) -> bool:
    engine = create_engine(storage)
    try:
        with engine.connect() as connection:
            return bool(connection.execute(_RUNS).first())
    except ProgrammingError:
        # Dagster has not made its tables yet.
        return False
    finally:
        engine.dispose()


def _storage(on: Stage) -> str:
    on.postgres.create_database("bench_dagster")
    return on.postgres.url("bench_dagster")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
