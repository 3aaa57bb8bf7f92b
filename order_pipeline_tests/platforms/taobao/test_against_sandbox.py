"""The platform against the sandbox marketplace, over real HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from order_pipeline.platforms.protocol import Order, OrderPlatform, Window
from order_pipeline.platforms.taobao.platform import TaobaoCredentials, TaobaoPlatform
from order_pipeline.platforms.taobao.signing import SIGN_METHODS, SignMethod
from order_pipeline.platforms.taobao.values import CHINA
from order_pipeline.sandbox.clock import DrivenClock
from order_pipeline.sandbox.faults import POISONS, Fault
from order_pipeline.sandbox.marketplace import Bounds
from order_pipeline.sandbox.server import SandboxServer
from order_pipeline.sandbox.settings import SandboxSettings, open_marketplace
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline.traffic.call_log import CallLog
from order_pipeline.traffic.errors import (
    AuthorizationError,
    MalformedAnswerError,
    NotFoundError,
    ThrottledError,
    TransientError,
)
from order_pipeline.traffic.retry import RetrySettings

START = datetime(2026, 3, 10, 12, 0, 0, tzinfo=CHINA)
ORDERS = 600
HISTORY = Window(START - timedelta(days=11), START + timedelta(days=1))
ONCE = RetrySettings(attempts=1)
PATIENT = RetrySettings(attempts=20, first_wait_seconds=0.001, longest_wait_seconds=0.002)


def sandbox(bounds: Bounds = "half_open") -> SandboxServer:
    return SandboxServer(open_marketplace(SandboxSettings(orders=ORDERS, days=10, driven_from=START, bounds=bounds)))


@pytest.fixture
def server() -> Iterator[SandboxServer]:
    with sandbox() as running:
        yield running


def platform_of(
    server: SandboxServer,
    *,
    log: CallLog | None = None,
    secret: str = DEMO_SHOP.app_secret,
    app_key: str = DEMO_SHOP.app_key,
    session_key: str = DEMO_SHOP.session_key,
    sign_method: SignMethod = "hmac-sha256",
    clock_ahead: timedelta = timedelta(),
    page_size: int = 100,
    retry: RetrySettings = ONCE,
) -> TaobaoPlatform:
    clock = server.marketplace.clock
    return TaobaoPlatform(
        TaobaoCredentials(
            shop_id=DEMO_SHOP.id,
            gateway_url=server.gateway_url,
            app_key=app_key,
            app_secret=secret,
            session_key=session_key,
            sign_method=sign_method,
        ),
        log or CallLog(),
        clock=lambda: datetime.fromtimestamp(clock.now_ms() / 1000, UTC) + clock_ahead,
        page_size=page_size,
        retry=retry,
    )


def truth(server: SandboxServer) -> dict[str, int]:
    """Return each order's id and the second of its last change."""
    with server.marketplace.looking():
        versions = server.marketplace.ledger(DEMO_SHOP.id).versions()
        return {str(trade.tid): trade.modified for trade, _ in versions}


def advance(server: SandboxServer, seconds: float) -> None:
    assert isinstance(server.marketplace.clock, DrivenClock)
    server.marketplace.clock.advance(seconds)


def test_the_platform_is_an_order_platform(server: SandboxServer) -> None:
    platform: OrderPlatform = platform_of(server)
    assert platform.now() == START


@pytest.mark.parametrize("bounds", get_args(Bounds))
def test_every_created_order_is_listed_once_whatever_the_bounds(bounds: Bounds) -> None:
    log = CallLog()
    with sandbox(bounds) as server:
        pages = list(platform_of(server, log=log).created_orders(HISTORY))
        listed = [order.order_id for page in pages for order in page.orders]
        assert sorted(listed) == sorted(truth(server))
    assert not any(page.rejected for page in pages)
    assert [page.has_more for page in pages] == [True] * (len(pages) - 1) + [False]
    assert log.total_by_method["taobao.trades.sold.get"] <= 1.05 * ORDERS / 100 + 2


@pytest.mark.parametrize("bounds", get_args(Bounds))
def test_every_change_is_found_while_orders_go_on_changing(bounds: Bounds) -> None:
    with sandbox(bounds) as server:
        platform = platform_of(server, page_size=7)
        tids = [int(order_id) for order_id in truth(server)]
        for tid in tids[:120]:
            server.marketplace.touch(DEMO_SHOP.id, tid)
            advance(server, 3)
        advance(server, 10)
        until = platform.now()
        expected = truth(server)
        seen: dict[str, Order] = {}
        moving = iter(tids[:120])
        start = START - timedelta(minutes=5)
        for page in platform.changed_orders(Window(start, until)):
            seen |= {order.order_id: order for order in page.orders}
            for _ in range(3):
                server.marketplace.touch(DEMO_SHOP.id, next(moving, tids[0]))
            advance(server, 1)
        for page in platform.changed_orders(Window(until, platform.now() + timedelta(seconds=1))):
            seen |= {order.order_id: order for order in page.orders}
        changed = {tid for tid, modified in truth(server).items() if modified >= start.timestamp()}
        assert changed <= set(seen)
        assert len(expected) == ORDERS
        stale = [tid for tid in changed if seen[tid].modified_at.timestamp() != truth(server)[tid]]
        assert stale == []


def test_a_whole_day_of_changes_is_asked_for_in_allowed_spans(server: SandboxServer) -> None:
    platform = platform_of(server)
    midnight = START.replace(hour=0)
    for page in platform.changed_orders(Window(midnight - timedelta(days=1), midnight)):
        assert page.window.end - page.window.start <= timedelta(days=1)


def test_an_order_comes_whole_and_the_lists_agree_with_it(server: SandboxServer) -> None:
    platform = platform_of(server)
    listed = [order for page in platform.created_orders(HISTORY) for order in page.orders]
    for order in listed[:20]:
        detail = platform.order(order.order_id)
        assert detail.order is not None
        assert detail.order.modified_at == order.modified_at
        assert detail.order.payment == order.payment
        assert [item.item_id for item in detail.order.items] == [item.item_id for item in order.items]
        assert detail.answer.sent_at <= START
        assert order.order_id in detail.answer.body


def test_the_memo_is_only_in_the_whole_order(server: SandboxServer) -> None:
    tid = server.marketplace.place_order(DEMO_SHOP.id)
    server.marketplace.edit_memo(DEMO_SHOP.id, tid, "改为发\t顺丰\n", 4)
    order = platform_of(server).order(str(tid)).order
    assert order is not None
    assert (order.seller_memo, order.seller_flag) == ("改为发\t顺丰\n", 4)


def test_an_order_of_a_type_outside_the_default_filter_is_listed(server: SandboxServer) -> None:
    tid = server.marketplace.place_order(DEMO_SHOP.id, order_type="tmall_i18n")
    listed = {order.order_id for page in platform_of(server).created_orders(HISTORY) for order in page.orders}
    assert str(tid) in listed


def test_an_order_that_is_not_served_is_not_found(server: SandboxServer) -> None:
    with pytest.raises(NotFoundError, match=r"order 4711, shop demo-shop.*isv\.trade-not-exist.*three months"):
        platform_of(server).order("4711")


@pytest.mark.parametrize("sign_method", SIGN_METHODS)
def test_each_signature_is_accepted(server: SandboxServer, sign_method: SignMethod) -> None:
    assert platform_of(server, sign_method=sign_method).now() == START


def test_a_wrong_secret_is_named_with_its_remedy(server: SandboxServer) -> None:
    with pytest.raises(AuthorizationError, match=r"code 25.*check the shop's app_secret") as caught:
        platform_of(server, secret="wrong-secret").now()
    assert "wrong-secret" not in str(caught.value)


def test_an_unknown_app_key_is_named_with_its_remedy(server: SandboxServer) -> None:
    with pytest.raises(AuthorizationError, match=r"code 29.*app_key"):
        platform_of(server, app_key="999").now()


def test_an_expired_session_asks_to_re_authorise(server: SandboxServer) -> None:
    platform = platform_of(server, retry=PATIENT)
    server.marketplace.expire_session(DEMO_SHOP.id)
    with pytest.raises(AuthorizationError, match=r"session-expired.*a retry does not help.*re-authorise the shop"):
        next(platform.created_orders(HISTORY))
    server.marketplace.renew_session(DEMO_SHOP.id)
    assert next(platform.created_orders(HISTORY)).orders


@pytest.mark.parametrize("minutes", [-11, 11])
def test_a_clock_that_is_off_by_eleven_minutes_is_named_with_its_remedy(server: SandboxServer, minutes: int) -> None:
    with pytest.raises(AuthorizationError, match=r"clock is off by more than 10 minutes.*fix NTP"):
        platform_of(server, clock_ahead=timedelta(minutes=minutes)).now()


def test_a_clock_that_is_off_by_nine_minutes_does_not_matter(server: SandboxServer) -> None:
    platform = platform_of(server, clock_ahead=timedelta(minutes=9))
    assert platform.now() == START
    assert next(platform.created_orders(HISTORY)).answer.sent_at == START


@pytest.mark.parametrize(
    "fault",
    [
        Fault("http_error", rate=0.4, status=503),
        Fault("html", rate=0.4),
        Fault("empty_body", rate=0.4),
        Fault("truncated", rate=0.4),
        Fault("isp", rate=0.4),
    ],
    ids=lambda fault: fault.name,
)
def test_a_gateway_that_stumbles_loses_nothing(server: SandboxServer, fault: Fault) -> None:
    server.marketplace.faults.switch_on(fault)
    pages = platform_of(server, retry=PATIENT, page_size=40).created_orders(HISTORY)
    assert {order.order_id for page in pages for order in page.orders} == set(truth(server))
    assert server.marketplace.faults.struck[fault.name] > 0


def test_a_gateway_that_is_down_is_an_error_and_never_an_empty_list(server: SandboxServer) -> None:
    platform = platform_of(server)
    platform.now()
    server.marketplace.faults.switch_on(Fault("html"))
    with pytest.raises(MalformedAnswerError, match="HTML"):
        list(platform.created_orders(HISTORY))
    server.marketplace.faults.clear()
    server.marketplace.faults.switch_on(Fault("http_error"))
    with pytest.raises(TransientError, match="502"):
        list(platform.created_orders(HISTORY))


def test_a_ban_is_named_with_its_seconds(server: SandboxServer) -> None:
    server.marketplace.faults.switch_on(Fault("ban", seconds=31062))
    with pytest.raises(ThrottledError, match="31062") as caught:
        platform_of(server, retry=PATIENT).now()
    assert caught.value.ban_seconds == 31062


def test_control_characters_in_texts_are_read(server: SandboxServer) -> None:
    server.marketplace.faults.switch_on(Fault("control_characters", rate=0.3))
    pages = list(platform_of(server).created_orders(HISTORY))
    assert not any(page.rejected for page in pages)
    assert {order.order_id for page in pages for order in page.orders} == set(truth(server))
    assert any("\x01\t\n" in (item.title or "") for page in pages for order in page.orders for item in order.items)


@pytest.mark.parametrize("kind", POISONS)
def test_a_poisoned_record_is_set_aside_and_the_rest_is_read(server: SandboxServer, kind: str) -> None:
    server.marketplace.faults.switch_on(Fault("poison", rate=0.05, kind=kind))
    pages = list(platform_of(server, page_size=20).created_orders(HISTORY))
    orders = [order.order_id for page in pages for order in page.orders]
    rejected = [record for page in pages for record in page.rejected]
    assert rejected
    assert len(orders) == len(set(orders))
    assert len(orders) + len(rejected) == ORDERS
    assert all(record.body.isascii() and record.reason for record in rejected)


def test_threads_share_a_platform(server: SandboxServer) -> None:
    log = CallLog()
    platform = platform_of(server, log=log)
    ids = sorted(truth(server))[:80]
    found: list[str] = []

    def fetch(mine: list[str]) -> None:
        for order_id in mine:
            order = platform.order(order_id).order
            assert order is not None
            found.append(order.order_id)

    platform.now()
    threads = [threading.Thread(target=fetch, args=(ids[start::8],)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ids
    assert log.total == len(ids) + 1
