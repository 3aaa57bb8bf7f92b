"""Clocks and time zones: a host that is minutes off, a step in the middle of work, nights when summer time ends."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from order_pipeline.platforms.taobao.platform import TaobaoPlatform
from order_pipeline.sandbox.clock import SHANGHAI
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.enrichment import drain
from order_pipeline.sync.listing import list_changes
from order_pipeline.warehouse.database import connect, transaction
from order_pipeline.warehouse.embedded import EmbeddedServer
from order_pipeline_tests.conftest import Play, fresh_database
from order_pipeline_tests.proving import now_due, pass_over, proof

SHOP = DEMO_SHOP.id


def watermark(engine: Engine) -> datetime:
    with transaction(engine) as connection:
        found = connection.execute(text("SELECT position FROM sync.watermark")).scalar_one()
    assert isinstance(found, datetime)
    return found


def step(play: Play, access: ShopAccess, minutes: int) -> None:
    """Set the host's clock so many minutes off, as a time service does under running work."""
    assert isinstance(access.platform, TaobaoPlatform)
    access.platform._client.clock = lambda: play.now + timedelta(minutes=minutes)


# At most ten minutes off: with more the platform refuses every call, and doctor says so.
@pytest.mark.parametrize("offsets", [(9, 9, 9), (-9, -9, -9), (0, 9, -9, 5)])
def test_whatever_our_clock_says_the_watermark_is_never_in_the_platforms_future_and_nothing_is_lost(
    engine: Engine, play: Play, offsets: tuple[int, ...]
) -> None:
    access = play.access(100, timedelta(minutes=offsets[0]))
    pass_over(engine, access)
    assert watermark(engine) <= play.now
    with play.marketplace.looking():
        known = [trade.tid for trade, _ in play.marketplace.ledger(SHOP).versions()]
    for number, minutes in enumerate(offsets):
        # Changes just before the look, on both sides of a step, some in the very second.
        play.clock.advance(200)
        play.marketplace.edit_memo(SHOP, known[number], "before the step")
        play.marketplace.place_order(SHOP)
        step(play, access, minutes)
        play.marketplace.edit_memo(SHOP, known[number + 10], "after the step")
        before = watermark(engine)
        list_changes(access, engine, play.now.date(), access.platform.now())
        assert before <= watermark(engine) <= play.now
        drain(access, engine)
    play.clock.advance(30)
    pass_over(engine, access)
    now_due(engine)
    drain(access, engine)
    found = proof(engine, access, play.server.url)
    assert found.equal, found.examples
    assert watermark(engine) <= play.now


# Two in the morning in Los Angeles, when clocks there jump ahead and back; it is 18 and 17 o'clock in Shanghai.
SPRING = datetime(2026, 3, 8, 18, 0, 0, tzinfo=SHANGHAI)
AUTUMN = datetime(2026, 11, 1, 17, 0, 0, tzinfo=SHANGHAI)
ORDERS = 100
ZONES = ("UTC", "Asia/Shanghai", "America/Los_Angeles")

LOADER = """
import os, sys, time
from order_pipeline.configuration import Shop
from order_pipeline.sync.access import open_shop
from order_pipeline.sync.messages import read_messages
from order_pipeline.sync.reconciliation import reconcile_day
from order_pipeline.sync.windows import day_of
from order_pipeline.warehouse.database import connect
from order_pipeline_tests.proving import pass_over
gateway, key, secret, session, *loads = sys.argv[1:]
shop = Shop(id="demo-shop", platform="taobao", gateway_url=gateway, app_key=key, app_secret=secret, session_key=session)
for zone, url in zip(loads[::2], loads[1::2]):
    os.environ["TZ"] = os.environ["PGTZ"] = zone
    time.tzset()
    engine = connect(url)
    access = open_shop(shop, engine)
    pass_over(engine, access)
    now = access.platform.now()
    read_messages([access], engine)
    assert reconcile_day(access, engine, day_of(now), now).row.equal
    print(time.strftime("%Z"), day_of(now))
"""

# Everything that a person reads, as the same text whatever zone the session has.
PICTURE = """
    SELECT md5(string_agg(picture, '' ORDER BY picture)) FROM (
        SELECT (to_jsonb(o) - 'sent_at' - 'stored_at')::text AS picture FROM core.orders o
        UNION ALL SELECT to_jsonb(i)::text FROM core.order_items i
        UNION ALL SELECT (to_jsonb(s))::text FROM bi.daily_sales s
    ) AS everything
"""


@pytest.mark.parametrize(
    "play", [{"driven_from": night, "orders": ORDERS} for night in (SPRING, AUTUMN)], indirect=True
)
def test_the_tables_are_the_same_in_every_time_zone(postgres: EmbeddedServer, play: Play) -> None:
    arguments = [play.server.gateway_url, DEMO_SHOP.app_key, DEMO_SHOP.app_secret, DEMO_SHOP.session_key]
    databases = {zone: fresh_database(postgres) for zone in ZONES}
    loads = [word for load in databases.items() for word in load]
    done = subprocess.run([sys.executable, "-c", LOADER, *arguments, *loads], stdout=subprocess.PIPE, check=True)
    days = [line.split() for line in done.stdout.decode().splitlines()]
    assert len({name for name, _ in days}) == len(ZONES), "they were different zones"
    assert {day for _, day in days} == {str(play.now.date())}
    pictures = set()
    for zone, url in databases.items():
        engine = connect(url)
        with transaction(engine) as connection:
            connection.execute(text("SET LOCAL TIME ZONE 'UTC'"))
            pictures.add(connection.execute(text(PICTURE)).scalar_one())
        found = proof(engine, play.access(), play.server.url)
        assert found.equal, (zone, found.examples)
        assert found.orders == ORDERS
        engine.dispose()
    assert len(pictures) == 1
