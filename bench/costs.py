"""What a unit of work costs: processor time of ours and of Postgres, write-ahead log, disk. Counted, not timed.

Processor seconds hardly change on a busy machine, where seconds on the wall double. measure() is what the simulation
uses; by hand: python -m bench.costs. Linux only, as the server's processes are read from /proc.
"""

from __future__ import annotations

import json
import os
import resource
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Engine, text

from bench.stage import Stage, in_own_process, opened, stage
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.due import due_work
from order_pipeline.sync.enrichment import drain
from order_pipeline.sync.listing import list_history
from order_pipeline.sync.windows import day_of
from order_pipeline.warehouse.database import transaction

ORDERS, DAYS = 2_000, 5
LOOKS = 40


class Costs(NamedTuple):
    """Seconds are of a processor, bytes of the write-ahead log or the disk."""

    list_seconds: float
    list_database_seconds: float
    detail_seconds: float
    detail_database_seconds: float
    detail_log_bytes: float
    look_seconds: float
    look_database_seconds: float
    look_calls: float
    run_seconds: float
    order_disk_bytes: float


# Measured on 2026-11-20 by measure(): two cores, sandbox and embedded PostgreSQL 18 beside it, orders of 1.67 lines. A
# run here keeps its event log in memory; the daemon's part of a run is not in it.
MEASURED = Costs(
    list_seconds=0.000_09,
    list_database_seconds=0.000_07,
    detail_seconds=0.000_19,
    detail_database_seconds=0.000_13,
    detail_log_bytes=4_610,
    look_seconds=0.001_0,
    look_database_seconds=0.000_5,
    look_calls=1.0,
    run_seconds=0.95,
    order_disk_bytes=5_800,
)


def measure() -> Costs:
    """Load, fetch and look, a process's and the server's accounts in hand."""
    with stage(ORDERS, DAYS) as on, opened(on.database()) as engine:
        access = on.access(engine)
        account = _Account(on, engine)
        now = access.platform.now()
        for number in range(DAYS + 1):
            list_history(access, engine, day_of(now) - timedelta(days=DAYS - number), now)
        listed = account.turn()
        details = drain(access, engine).drained.loaded
        fetched = account.turn()
        calls = _look(access, engine)
        looked = account.turn()
        with transaction(engine) as connection:
            size = connection.execute(
                text("SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' "
                     "AND relnamespace IN ('raw'::regnamespace, 'core'::regnamespace)")
            ).scalar_one()  # fmt: skip
            orders = connection.execute(text("SELECT count(*) FROM core.orders")).scalar_one()
        with on.as_shops_file():
            run = in_own_process("bench.load", "run", on.database(), on.url, "0")
    return Costs(
        list_seconds=listed.seconds / orders,
        list_database_seconds=listed.database_seconds / orders,
        detail_seconds=fetched.seconds / details,
        detail_database_seconds=fetched.database_seconds / details,
        detail_log_bytes=fetched.log_bytes / details,
        look_seconds=looked.seconds / LOOKS,
        look_database_seconds=looked.database_seconds / LOOKS,
        look_calls=calls / LOOKS,
        run_seconds=run["cpu_seconds"],
        order_disk_bytes=float(size) / orders,
    )


def _look(access: ShopAccess, engine: Engine) -> int:
    before = access.calls.total
    for _ in range(LOOKS):
        due_work(access, engine)
    return access.calls.total - before


class _Spent(NamedTuple):
    seconds: float
    database_seconds: float
    log_bytes: float


class _Account:
    """What was spent since the last turn."""

    def __init__(self, on: Stage, engine: Engine) -> None:
        self._engine = engine
        with transaction(engine) as connection:
            folder = str(connection.execute(text("SHOW data_directory")).scalar_one())
        self._postmaster = int(Path(folder, "postmaster.pid").read_text().split()[0])
        self._stage = on
        self._last = self._now()

    def turn(self) -> _Spent:
        last, self._last = self._last, self._now()
        return _Spent(*(after - before for before, after in zip(last, self._last, strict=True)))

    def _now(self) -> _Spent:
        own = resource.getrusage(resource.RUSAGE_SELF)
        with transaction(self._engine) as connection:
            written = connection.execute(text("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")).scalar_one()
        return _Spent(own.ru_utime + own.ru_stime, _server_seconds(self._postmaster), float(written))


def _server_seconds(postmaster: int) -> float:
    """Processor seconds of a server: its living children's, and those it has buried."""
    ticks = 0
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name, in brackets, may hold blanks.
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == postmaster:
            ticks += int(fields[11]) + int(fields[12])
        elif entry.parent.name == str(postmaster):
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    print(json.dumps(measure()._asdict()))
