"""Memory: a first load takes as much for a hundred thousand orders as for a few hundred.

ORDER_PIPELINE_MEMORY_ORDERS=200000 loads that many; the normal suite a few.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline_tests.conftest import NOON, Play
from order_pipeline_tests.proving import proof

ORDERS = int(os.environ.get("ORDER_PIPELINE_MEMORY_ORDERS", "1500"))
DAYS = 12
# What Python, the drivers and the pages in hand take (measured: 85 MB), with room; the limit set for a first load.
LARGEST_MB = 300
# The allocator, and the book of calls, which ends at 20 MB (measured: 6 MB for 1,500 orders, 16 MB for 20,000, about 30
# for 100,000). Orders that were kept would be 15 KB each: 20 MB for 1,500, and 1.5 GB for 100,000.
LARGEST_GROWTH_MB = min(15 + ORDERS / 2_000, 45)

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


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="tells the peak of its memory on Linux only")
@pytest.mark.parametrize("play", [{"orders": ORDERS, "days": DAYS}], indirect=True)
def test_memory_does_not_grow_with_the_number_of_orders(engine: Engine, warehouse_url: str, play: Play) -> None:
    first = (NOON - timedelta(days=DAYS)).date()
    shop = [play.server.gateway_url, DEMO_SHOP.app_key, DEMO_SHOP.app_secret, DEMO_SHOP.session_key]
    done = subprocess.run(
        [sys.executable, "-c", LOADER, warehouse_url, *shop, str(first), str(DAYS + 1)],
        stdout=subprocess.PIPE,
        check=True,
    )
    said = json.loads(done.stdout)
    early, last = said["peaks"]
    found = proof(engine, play.access(), play.server.url)
    assert found.equal, found.examples
    assert found.orders == ORDERS
    print(f"{ORDERS} orders in {said['seconds']:.0f} s: {early:.0f} MB after a sixth, {last:.0f} MB at the end")
    assert last < LARGEST_MB
    assert last - early < LARGEST_GROWTH_MB
