"""Memory: a first load takes as much for half a million orders as for a few hundred, and fits into a small container.

ORDER_PIPELINE_MEMORY_ORDERS=500000 loads that many, of three months, in about half an hour; the normal suite a few.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import Engine

from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline_tests.conftest import NOON, Play
from order_pipeline_tests.proving import proof

ORDERS = int(os.environ.get("ORDER_PIPELINE_MEMORY_ORDERS", "1500"))
# From a hundred thousand orders on as many days as the platform lists.
DAYS = 90 if ORDERS >= 100_000 else 12
# What Python, the drivers and the pages in hand take (measured: 85 MB), with room; the limit set for a first load.
LARGEST_MB = 300
# The allocator, and the book of calls, which ends at 20 MB (measured: 6 MB for 1,500 orders, 16 MB for 20,000, about 30
# for 100,000, 50 for 500,000). Orders that were kept would be 15 KB each: 20 MB for 1,500, and 7 GB for 500,000.
LARGEST_GROWTH_MB = min(15 + ORDERS / 2_000, 55)

CONTAINER_MB = 512
# Version 1 of control groups, which has the memory in a tree of its own, and version 2.
GROUPS = {"/sys/fs/cgroup/memory": ("memory.limit_in_bytes", "memory.max_usage_in_bytes"),
          "/sys/fs/cgroup": ("memory.max", "memory.peak")}  # fmt: skip

LOADER = """
import json, re, sys, time
from datetime import date, timedelta
from pathlib import Path
from order_pipeline.configuration import Shop
from order_pipeline.sync.access import open_shop
from order_pipeline.sync.enrichment import drain
from order_pipeline.sync.listing import list_history
from order_pipeline.warehouse.database import connect
url, gateway, key, secret, session, first, days = sys.argv[1:]
shop = Shop(id="demo-shop", platform="taobao", gateway_url=gateway, app_key=key, app_secret=secret, session_key=session)
engine = connect(url)
access = open_shop(shop, engine)
days = [date.fromisoformat(first) + timedelta(days=number) for number in range(int(days))]
peaks = []
began = time.monotonic()
for part in (days[:2], days[2:]):
    for day in part:
        list_history(access, engine, day, access.platform.now())
    drain(access, engine)
    # Not getrusage: what it says begins with the size of the process that started this one.
    peaks.append(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024)
print(json.dumps({"peaks": peaks, "seconds": time.monotonic() - began}))
"""


class Container(NamedTuple):
    """The memory limit of a container, page cache included; where no control group can be made, of data alone."""

    group: Path | None = None
    peak: str = ""

    def enter(self) -> None:
        """Be limited from now on."""
        if self.group:
            (self.group / "cgroup.procs").write_text(str(os.getpid()))
        else:
            size = CONTAINER_MB * 2**20
            resource.setrlimit(resource.RLIMIT_DATA, (size, size))

    def told(self) -> str:
        """What the kernel says of it."""
        if self.group is None:
            return f"{CONTAINER_MB} MB of data by RLIMIT_DATA"
        peak = self.group / self.peak
        used = f"{int(peak.read_text()) / 2**20:.0f} of " if peak.exists() else ""
        return f"{used}{CONTAINER_MB} MB of {self.group.parent}, page cache included"


@pytest.fixture
def container() -> Iterator[Container]:
    for root, (limit, peak) in GROUPS.items():
        group = None
        try:
            group = Path(tempfile.mkdtemp(prefix="order-pipeline-", dir=root))
            (group / limit).write_text(str(CONTAINER_MB * 2**20))
        except OSError:
            if group:
                group.rmdir()
            continue
        yield Container(group, peak)
        group.rmdir()
        return
    yield Container()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="tells the peak of its memory on Linux only")
@pytest.mark.parametrize("play", [{"orders": ORDERS, "days": DAYS}], indirect=True)
def test_memory_does_not_grow_with_the_number_of_orders_and_fits_into_half_a_gigabyte(
    engine: Engine, warehouse_url: str, play: Play, container: Container
) -> None:
    first = (NOON - timedelta(days=DAYS)).date()
    shop = [play.server.gateway_url, DEMO_SHOP.app_key, DEMO_SHOP.app_secret, DEMO_SHOP.session_key]
    done = subprocess.run(
        [sys.executable, "-c", LOADER, warehouse_url, *shop, str(first), str(DAYS + 1)],
        stdout=subprocess.PIPE,
        check=True,
        preexec_fn=container.enter,
    )
    said = json.loads(done.stdout)
    early, last = said["peaks"]
    found = proof(engine, play.access(), play.server.url)
    assert found.equal, found.examples
    assert found.orders == ORDERS
    print(
        f"{ORDERS} orders of {DAYS} days in {said['seconds']:.0f} s: {early:.0f} MB after two days, {last:.0f} MB after"
    )
    print(f"all; {container.told()}")
    assert last < LARGEST_MB
    assert last - early < LARGEST_GROWTH_MB
