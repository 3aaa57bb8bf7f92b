"""The second channel, against the sandbox over HTTP and a real Postgres, on a driven clock."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from order_pipeline.sandbox.faults import Fault
from order_pipeline.sandbox.shops import DEMO_SHOP, Shop
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.enrichment import drain
from order_pipeline.sync.messages import FIRST_PAUSE_SECONDS, REFUSED_PAUSE_SECONDS, read_messages
from order_pipeline.traffic.breaker import Breaker, Kind
from order_pipeline.traffic.breaker_rule import BreakerSettings
from order_pipeline.traffic.errors import AuthorizationError, ThrottledError, TransientError
from order_pipeline.traffic.gate import Gate
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.message_queues import hearing, only_reader
from order_pipeline_tests.conftest import Play
from order_pipeline_tests.proving import hear, now_due, pass_over, proof

SHOP = DEMO_SHOP.id
CONSUME, CONFIRM, PERMIT, DETAIL = (
    "taobao.tmc.messages.consume",
    "taobao.tmc.messages.confirm",
    "taobao.tmc.user.permit",
    "taobao.trade.fullinfo.get",
)
# What a queue holds after hours without a reader. ORDER_PIPELINE_BACKLOG=100500 takes minutes.
BACKLOG = int(os.environ.get("ORDER_PIPELINE_BACKLOG", "4500"))
SISTER = Shop(
    id="sister-shop",
    app_key=DEMO_SHOP.app_key,
    app_secret=DEMO_SHOP.app_secret,
    session_key="6100sister0session",
    seller_nick="同一应用的另一家店",
    user_id=2_200_000_000_003,
)


def rows(engine: Engine, query: str) -> list[Any]:
    with transaction(engine) as connection:
        found = [tuple(row) for row in connection.execute(text(query))]
    return [row[0] if len(row) == 1 else row for row in found]


def tids(play: Play, shop_id: str = SHOP) -> list[int]:
    with play.marketplace.looking():
        return [trade.tid for trade, _ in play.marketplace.ledger(shop_id).versions()]


def loaded(engine: Engine, play: Play) -> ShopAccess:
    """A shop whose orders are all there and whose messages are permitted."""
    access = play.access()
    pass_over(engine, access)
    hear(engine, access)
    play.clock.advance(60)
    pass_over(engine, access)
    hear(engine, access)
    return access


def test_the_sandbox_shop_is_permitted_and_known_by_its_seller_on_first_use(engine: Engine, play: Play) -> None:
    access = play.access()
    (reading,) = read_messages([access], engine)
    assert (reading.delivered, reading.idle, reading.failure, reading.hints) == (0, None, None, ())
    assert rows(engine, "SELECT shop_id, seller_nick, permitted_at IS NOT NULL FROM sync.message_seller") == [
        (SHOP, DEMO_SHOP.seller_nick, True)
    ]
    before = access.calls.total
    read_messages([access], engine)
    # At rest a look is one call.
    assert access.calls.total - before == 1


def test_a_change_is_in_the_tables_without_any_list(engine: Engine, play: Play) -> None:
    access = loaded(engine, play)
    tid = tids(play)[0]
    play.marketplace.edit_memo(SHOP, tid, "by message")
    new = play.marketplace.place_order(SHOP)
    play.clock.advance(5)
    lists = access.calls.total_by_method["taobao.trades.sold.increment.get"]
    reading = hear(engine, access)
    assert (reading.delivered, reading.new, reading.announced) == (2, 2, 2)
    assert reading.lag_seconds is not None
    assert 4 <= reading.lag_seconds <= 6
    assert access.calls.total_by_method["taobao.trades.sold.increment.get"] == lists
    assert rows(engine, f"SELECT seller_memo FROM core.orders WHERE order_id = '{tid}'") == ["by message"]
    assert rows(engine, f"SELECT count(*) FROM core.orders WHERE order_id = '{new}'") == [1]
    assert proof(engine, access, play.server.url).equal


def test_a_refund_puts_its_order_on_the_worklist(engine: Engine, play: Play) -> None:
    access = loaded(engine, play)
    tid = tids(play)[-1]
    play.marketplace.move_refund(SHOP, tid, "WAIT_SELLER_AGREE")
    play.clock.advance(5)
    assert hear(engine, access).announced == 1
    assert rows(engine, "SELECT order_id, refund_id IS NOT NULL FROM raw.message") == [(str(tid), True)]
    assert proof(engine, access, play.server.url).equal


def test_messages_are_stored_without_people(engine: Engine, play: Play) -> None:
    access = loaded(engine, play)
    play.marketplace.edit_memo(SHOP, tids(play)[0], "ring 138 0000 0000")
    play.clock.advance(5)
    hear(engine, access)
    (content,) = rows(engine, "SELECT content FROM raw.message")
    assert "buyer" not in content
    assert "138 0000" not in content
    assert rows(engine, "SELECT content::jsonb->>'seller_flag' FROM raw.message") == ["1"]


def test_nothing_is_confirmed_before_it_is_stored(engine: Engine, play: Play) -> None:
    access = loaded(engine, play)
    play.marketplace.edit_memo(SHOP, tids(play)[0], "x")
    play.clock.advance(5)
    with transaction(engine) as connection:
        connection.execute(text("ALTER TABLE raw.message RENAME TO message_away"))
    confirmed = access.calls.total_by_method.get(CONFIRM, 0)
    with pytest.raises(Exception, match=r"raw\.message"):
        read_messages([access], engine)
    assert access.calls.total_by_method.get(CONFIRM, 0) == confirmed
    with transaction(engine) as connection:
        connection.execute(text("ALTER TABLE raw.message_away RENAME TO message"))
    play.clock.advance(301)
    hear(engine, access)
    assert rows(engine, "SELECT count(*) FROM raw.message WHERE topic LIKE '%Memo%'") == [1]
    assert proof(engine, access, play.server.url).equal


def test_a_lost_confirmation_brings_the_messages_again_and_they_are_stored_once(engine: Engine, play: Play) -> None:
    access = loaded(engine, play)
    for tid in tids(play)[:30]:
        play.marketplace.edit_memo(SHOP, tid, "once")
    play.clock.advance(5)
    play.marketplace.faults.switch_on(Fault(name="http_error", method=CONFIRM))
    (reading,) = read_messages([access], engine)
    assert isinstance(reading.failure, TransientError)
    assert reading.new == 30
    drain(access, engine)
    assert proof(engine, access, play.server.url).equal
    play.marketplace.faults.clear()
    with transaction(engine) as connection:
        connection.execute(text("UPDATE sync.message_queue SET paused_until = '-infinity'"))
    play.clock.advance(301)
    again = hear(engine, access)
    # Besides, orders of the play live on.
    assert again.delivered - again.new == 30
    assert again.announced <= again.new
    assert rows(engine, "SELECT count(*) FROM raw.message WHERE deliveries = 2") == [30]
    play.clock.advance(301)
    last = hear(engine, access)
    assert last.delivered == last.new


def test_a_reader_that_is_killed_between_storing_and_confirming_loses_and_doubles_nothing(
    engine: Engine, play: Play, warehouse_url: str
) -> None:
    access = loaded(engine, play)
    for tid in tids(play)[:20]:
        play.marketplace.edit_memo(SHOP, tid, "killed")
    play.clock.advance(5)
    script = f"""
import os, signal
from datetime import datetime
from order_pipeline.configuration import Shop
from order_pipeline.platforms.taobao.platform import TaobaoCredentials, TaobaoPlatform
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.messages import read_messages
from order_pipeline.traffic.call_log import CallLog
from order_pipeline.warehouse.database import connect

class Killed(TaobaoPlatform):
    def confirm_messages(self, group, message_ids):
        os.kill(os.getpid(), signal.SIGKILL)

names = dict(gateway_url={access.shop.gateway_url!r}, app_key={access.shop.app_key!r},
             app_secret={access.shop.app_secret!r}, session_key={access.shop.session_key!r})
shop, calls = Shop(id={SHOP!r}, platform="taobao", **names), CallLog()
now = datetime.fromisoformat({play.now.isoformat()!r})
platform = Killed(TaobaoCredentials(shop_id=shop.id, **names), calls, clock=lambda: now)
read_messages([ShopAccess(shop, platform, calls)], connect({warehouse_url!r}))
"""
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert rows(engine, "SELECT count(*), max(deliveries) FROM raw.message") == [(20, 1)]
    # What it stored is on the worklist already; the lock went with it.
    drain(access, engine)
    assert proof(engine, access, play.server.url).equal
    play.clock.advance(301)
    details = access.calls.total_by_method[DETAIL]
    again = hear(engine, access)
    assert again.delivered - again.new == 20
    assert access.calls.total_by_method[DETAIL] - details == again.announced <= again.new
    assert rows(engine, "SELECT count(*) FROM raw.message WHERE deliveries = 2") == [20]
    play.clock.advance(301)
    last = hear(engine, access)
    assert last.delivered == last.new


def test_a_change_that_a_list_showed_first_is_not_fetched_again_for_its_message(engine: Engine, play: Play) -> None:
    access = loaded(engine, play)
    details = access.calls.total_by_method[DETAIL]
    for number in range(20):
        for tid in tids(play)[number * 10 : number * 10 + 10]:
            play.marketplace.edit_memo(SHOP, tid, f"round {number}")
        play.clock.advance(7)
        for channel in (pass_over, hear) if number % 2 else (hear, pass_over):
            channel(engine, access)
    now_due(engine)
    drain(access, engine)
    # Live orders of the play change, too; each change once.
    changes = rows(engine, "SELECT count(*) FROM (SELECT DISTINCT order_id, published_at FROM raw.message) AS c")[0]
    assert changes >= 200
    assert access.calls.total_by_method[DETAIL] - details <= 1.02 * changes
    assert proof(engine, access, play.server.url).equal


def test_a_message_that_comes_while_its_order_is_fetched_costs_no_second_call(engine: Engine, play: Play) -> None:
    access = loaded(engine, play)
    details = access.calls.total_by_method[DETAIL]
    for tid in tids(play)[:40]:
        play.marketplace.edit_memo(SHOP, tid, "seen twice")
    play.clock.advance(10)
    platform = access.platform
    told: list[str] = []

    class Watched:
        """The real platform; the queue is read as soon as the first details have been fetched."""

        def __getattr__(self, name: str) -> Any:
            return getattr(platform, name)

        def orders(self, order_ids: Sequence[str], **options: bool) -> Any:
            details = platform.orders(order_ids, **options)
            if not told:
                told.extend(order_ids)
                read_messages([access], engine)
            return details

    pass_over(engine, access._replace(platform=Watched()))
    assert rows(engine, "SELECT count(*) FROM raw.message") == [40]
    now_due(engine)
    drain(access, engine)
    assert access.calls.total_by_method[DETAIL] - details == 40
    assert proof(engine, access, play.server.url).equal


def test_a_second_change_in_the_second_of_a_fetched_one_is_not_missed(engine: Engine, play: Play) -> None:
    access = loaded(engine, play)
    tid = tids(play)[0]
    play.marketplace.edit_memo(SHOP, tid, "first")
    read_messages([access], engine)
    now_due(engine)
    drain(access, engine)
    play.marketplace.edit_memo(SHOP, tid, "second")
    read_messages([access], engine)
    play.clock.advance(4)
    now_due(engine)
    drain(access, engine)
    assert proof(engine, access, play.server.url).equal
    assert rows(engine, "SELECT count(*) FROM sync.pending_order") == [0]


def test_details_that_lag_behind_their_message_are_asked_for_until_they_show_it(engine: Engine, play: Play) -> None:
    access = loaded(engine, play)
    play.marketplace.faults.switch_on(Fault(name="stale_detail", seconds=20))
    new = play.marketplace.place_order(SHOP)
    play.marketplace.edit_memo(SHOP, tids(play)[0], "late")
    play.clock.advance(5)
    hear(engine, access)
    assert rows(engine, "SELECT count(*) FROM sync.pending_order WHERE due_at < 'infinity'") == [2]
    play.clock.advance(20)
    now_due(engine)
    drain(access, engine)
    assert rows(engine, f"SELECT count(*) FROM core.orders WHERE order_id = '{new}'") == [1]
    assert proof(engine, access, play.server.url).equal


@pytest.mark.parametrize(
    ("kind", "query"),
    [
        ("unknown_topic", "SELECT count(*) FROM raw.message WHERE NOT known_topic AND problem IS NULL"),
        ("unknown_seller", "SELECT count(*) FROM raw.message WHERE shop_id IS NULL AND seller_id = '1'"),
        ("broken_content", "SELECT count(*) FROM raw.message WHERE problem LIKE '%no JSON%' AND order_id IS NULL"),
        ("ids_as_text", "SELECT count(*) FROM raw.message WHERE problem IS NULL AND order_id IS NOT NULL"),
    ],
)
def test_a_message_that_names_nothing_known_is_kept_confirmed_and_counted(
    engine: Engine, play: Play, kind: str, query: str
) -> None:
    access = loaded(engine, play)
    play.marketplace.faults.switch_on(Fault(name="message_spoilt", kind=kind))
    for tid in tids(play)[:15]:
        play.marketplace.edit_memo(SHOP, tid, kind)
    play.clock.advance(5)
    reading = hear(engine, access)
    counted = {
        "unknown_topic": reading.unknown_topics,
        "unknown_seller": reading.strangers,
        "broken_content": reading.unreadable,
        "ids_as_text": reading.new,
    }
    assert counted[kind] == 15
    assert rows(engine, query) == [15]
    play.marketplace.faults.clear()
    play.clock.advance(301)
    last = hear(engine, access)
    assert last.delivered == last.new
    pass_over(engine, access)
    assert proof(engine, access, play.server.url).equal


@pytest.mark.parametrize("play", [{"shops": (DEMO_SHOP, SISTER)}], indirect=True)
def test_the_messages_of_an_app_go_to_the_shops_of_their_sellers(engine: Engine, play: Play) -> None:
    accesses = [play.access(), play.access(id=SISTER.id, session_key=SISTER.session_key)]
    for access in accesses:
        pass_over(engine, access)
    (reading,) = read_messages(accesses, engine)
    assert len(reading.queue.accesses) == 2
    play.clock.advance(30)
    for shop in (DEMO_SHOP, SISTER):
        play.marketplace.edit_memo(shop.id, tids(play, shop.id)[0], "mine")
    play.clock.advance(5)
    read_messages(accesses, engine)
    for access in accesses:
        drain(access, engine)
        assert proof(engine, access, play.server.url).equal
    assert rows(engine, "SELECT shop_id, seller_id FROM sync.message_seller ORDER BY 1") == [
        (SHOP, str(DEMO_SHOP.user_id)),
        (SISTER.id, str(SISTER.user_id)),
    ]


@pytest.mark.parametrize("play", [{"shops": (DEMO_SHOP, SISTER)}], indirect=True)
def test_who_reads_for_one_shop_takes_nothing_away_from_the_others(engine: Engine, play: Play) -> None:
    one, other = play.access(), play.access(id=SISTER.id, session_key=SISTER.session_key)
    for access in (one, other):
        pass_over(engine, access)
    read_messages([one, other], engine)
    play.clock.advance(30)
    play.marketplace.edit_memo(SISTER.id, tids(play, SISTER.id)[0], "of the other")
    play.clock.advance(5)
    assert hear(engine, one).strangers == 0
    drain(other, engine)
    assert proof(engine, other, play.server.url).equal


@pytest.mark.parametrize("play", [{"shops": (DEMO_SHOP, SISTER)}], indirect=True)
def test_a_seller_without_a_shop_of_ours_is_kept_and_looked_for_nowhere(engine: Engine, play: Play) -> None:
    sister = play.access(id=SISTER.id, session_key=SISTER.session_key)
    sister.platform.permit_messages()
    access = loaded(engine, play)
    play.marketplace.edit_memo(SISTER.id, tids(play, SISTER.id)[0], "not ours")
    play.clock.advance(5)
    details = access.calls.total_by_method[DETAIL]
    assert hear(engine, access).strangers == 1
    assert access.calls.total_by_method[DETAIL] == details
    assert rows(engine, "SELECT shop_id, seller_nick FROM raw.message") == [(None, SISTER.seller_nick)]


@pytest.mark.parametrize("play", [{"shops": (DEMO_SHOP, SISTER)}], indirect=True)
def test_a_shop_that_is_refused_is_named_once_and_the_others_go_on(engine: Engine, play: Play) -> None:
    refused = play.access(id=SISTER.id, session_key="6100wrong")
    accesses = [refused, loaded(engine, play)]
    play.marketplace.edit_memo(SHOP, tids(play)[0], "still heard")
    play.clock.advance(5)
    (reading,) = read_messages(accesses, engine)
    assert reading.announced == 1
    (hint,) = reading.hints
    assert hint.startswith("shop sister-shop has no messages, polling goes on: taobao.tmc.user.permit")
    assert "session_key" in hint
    assert "6100wrong" not in hint
    # It is not asked again at every look.
    before = refused.calls.total_by_method[PERMIT]
    read_messages(accesses, engine)
    assert refused.calls.total_by_method[PERMIT] == before
    with transaction(engine) as connection:
        assert hearing(connection, SISTER.id).problem == hint.partition("polling goes on: ")[2]


@contextmanager
def pausing_for(engine: Engine, seconds: float) -> Iterator[None]:
    """What is done here lets the queue pause for so long, however long it takes itself."""
    (began,) = rows(engine, "SELECT now()")
    yield
    ((until, ended),) = rows(engine, "SELECT paused_until, now() FROM sync.message_queue")
    assert until - ended <= timedelta(seconds=seconds) <= until - began


def test_an_app_without_the_permission_is_asked_once_an_hour(engine: Engine, play: Play) -> None:
    access = play.access(message_group="no-such-group")
    with pausing_for(engine, REFUSED_PAUSE_SECONDS):
        (reading,) = read_messages([access], engine)
    assert reading.failure is not None
    assert not reading.failure.retryable
    before = access.calls.total
    (reading,) = read_messages([access], engine)
    assert re.search(r"not read for (3600|35\d\d) more seconds", reading.words)
    assert access.calls.total == before
    with transaction(engine) as connection:
        assert "no-such-group" in str(hearing(connection, SHOP).problem)


def test_a_queue_that_stumbles_is_left_alone_for_longer_each_time(engine: Engine, play: Play) -> None:
    access = loaded(engine, play)
    play.marketplace.faults.switch_on(Fault(name="http_error", method=CONSUME))
    for wait in (FIRST_PAUSE_SECONDS, 2 * FIRST_PAUSE_SECONDS, 4 * FIRST_PAUSE_SECONDS):
        with pausing_for(engine, wait):
            (reading,) = read_messages([access], engine)
        assert isinstance(reading.failure, TransientError)
        with transaction(engine) as connection:
            connection.execute(text("UPDATE sync.message_queue SET paused_until = '-infinity'"))
    play.marketplace.faults.clear()
    read_messages([access], engine)
    assert rows(engine, "SELECT failures, problem FROM sync.message_queue") == [(0, None)]


def test_a_ban_is_waited_out_without_alarm(engine: Engine, play: Play) -> None:
    access = loaded(engine, play)
    play.marketplace.faults.switch_on(Fault(name="ban", method=CONSUME, seconds=1800))
    (reading,) = read_messages([access], engine)
    assert isinstance(reading.failure, ThrottledError)
    assert not reading.is_alarming
    assert rows(engine, "SELECT extract(epoch FROM paused_until - now()) > 1700 FROM sync.message_queue") == [True]


def test_one_reader_at_a_time(engine: Engine, play: Play) -> None:
    access = loaded(engine, play)
    with only_reader(engine, DEMO_SHOP.app_key, "") as is_ours:
        assert is_ours
        (reading,) = read_messages([access], engine)
        assert reading.idle == "another process is reading"
        with only_reader(engine, "another app", "") as others:
            assert others
    (reading,) = read_messages([access], engine)
    assert reading.idle is None


def test_an_open_breaker_stops_no_message(engine: Engine, play: Play) -> None:
    loaded(engine, play)
    breaker = Breaker(engine, DEMO_SHOP.app_key, BreakerSettings(), clock=lambda: play.now)
    for _ in range(20):
        breaker.record(breaker.admit(Kind.POLL, "a poll"), failed=True)
    assert breaker.is_open()
    access = play.access(100, timedelta(0), Gate(breaker=breaker))
    play.marketplace.edit_memo(SHOP, tids(play)[0], "heard")
    play.clock.advance(5)
    assert hear(engine, access).announced == 1
    assert proof(engine, access, play.server.url).equal


@pytest.mark.parametrize("play", [{"orders": 1500, "days": 5}], indirect=True)
def test_a_backlog_of_thousands_is_read_in_batches_and_fetched_once_an_order(engine: Engine, play: Play) -> None:
    access = loaded(engine, play)
    everything = tids(play)
    for number in range(BACKLOG // len(everything)):
        for tid in everything:
            play.marketplace.edit_memo(SHOP, tid, f"backlog {number}")
        play.clock.advance(20)
    play.clock.advance(3 * 3600)
    details = access.calls.total_by_method[DETAIL]
    (reading,) = read_messages([access], engine, seconds=600)
    hear(engine, access)
    assert reading.is_empty
    assert reading.new >= BACKLOG
    assert reading.calls <= 2 * (reading.new // 200 + 1) + 1
    assert access.calls.total_by_method[DETAIL] - details <= 1.02 * len(everything)
    assert proof(engine, access, play.server.url).equal


def test_a_short_reading_leaves_the_rest_for_the_next(engine: Engine, play: Play) -> None:
    access = loaded(engine, play)
    for number in range(2):
        for tid in tids(play):
            play.marketplace.edit_memo(SHOP, tid, f"backlog {number}")
    play.clock.advance(5)
    (reading,) = read_messages([access], engine, seconds=0)
    assert (reading.delivered, reading.is_empty) == (200, False)
    assert "more to come" in reading.words
    (reading,) = read_messages([access], engine)
    assert reading.is_empty


def test_a_wrong_secret_is_said_and_not_tried_again_at_once(engine: Engine, play: Play) -> None:
    access = play.access(app_secret="wrong")
    (reading,) = read_messages([access], engine)
    assert reading.idle is not None
    assert "polling goes on" in reading.words
    assert "app_secret" in reading.words
    with pytest.raises(AuthorizationError):
        access.platform.messages(None)
