"""Several orders in one request: against the sandbox, which checks and counts, and against a gateway of raw bytes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from order_pipeline.platforms.protocol import OrderDetail, Window
from order_pipeline.platforms.taobao.batch import ALONE_SECONDS, GOOD_UNTIL_LARGER, BatchSize, batch_url
from order_pipeline.platforms.taobao.platform import TaobaoCredentials, TaobaoPlatform
from order_pipeline.sandbox.clock import DrivenClock
from order_pipeline.sandbox.faults import Fault
from order_pipeline.sandbox.server import SandboxServer
from order_pipeline.sandbox.settings import SandboxSettings, open_marketplace
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline.traffic.call_log import CallLog
from order_pipeline.traffic.errors import AuthorizationError, CallerError, CallError, ThrottledError, TransientError
from order_pipeline_tests.conftest import NOON, QUICK_RETRY
from order_pipeline_tests.platforms.taobao.raw_gateway import RawGateway, http

DETAIL = "taobao.trade.fullinfo.get"
KNOWN = 30


@pytest.fixture(scope="module")
def serving() -> Iterator[SandboxServer]:
    with SandboxServer(open_marketplace(SandboxSettings(orders=60, days=3, seed=5, driven_from=NOON))) as server:
        yield server


@pytest.fixture
def server(serving: SandboxServer) -> SandboxServer:
    serving.marketplace.faults.clear()
    serving.marketplace.calls.clear()
    return serving


def platform_of(server: SandboxServer, log: CallLog | None = None, gateway_url: str = "") -> TaobaoPlatform:
    clock = server.marketplace.clock
    assert isinstance(clock, DrivenClock)
    credentials = TaobaoCredentials(
        shop_id=DEMO_SHOP.id,
        gateway_url=gateway_url or server.gateway_url,
        app_key=DEMO_SHOP.app_key,
        app_secret=DEMO_SHOP.app_secret,
        session_key=DEMO_SHOP.session_key,
    )
    now = datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
    return TaobaoPlatform(credentials, log or CallLog(), clock=lambda: now, retry=QUICK_RETRY)


def known(server: SandboxServer) -> list[str]:
    with server.marketplace.looking():
        return [str(trade.tid) for trade, _ in server.marketplace.ledger(DEMO_SHOP.id).versions()][:KNOWN]


def ids(details: object) -> list[str | None]:
    assert isinstance(details, list)
    assert all(detail is None or isinstance(detail, OrderDetail) for detail in details)
    return [detail.record_id if detail else None for detail in details]


def test_what_comes_together_is_what_comes_alone_and_each_is_a_call(server: SandboxServer) -> None:
    log, order_ids = CallLog(), known(server)
    platform = platform_of(server, log)
    platform.now()
    log.drain()
    together = platform.orders(order_ids)
    assert [(call.method, call.outcome, call.together) for call in log.drain()] == [(DETAIL, "ok", 20)] * 20 + [
        (DETAIL, "ok", 10)
    ] * 10
    assert server.marketplace.calls[DETAIL] == KNOWN
    # Whatever differs would be the request's number.
    alone = [platform.order(order_id) for order_id in order_ids]
    assert [detail and detail.order for detail in together] == [detail.order for detail in alone]
    assert [_body(detail) for detail in together] == [_body(detail) for detail in alone]


def _body(detail: OrderDetail | None) -> object:
    assert detail is not None
    return msgspec.json.decode(detail.answer.body)["trade_fullinfo_get_response"]["trade"]


def test_refunds_come_together_too(server: SandboxServer) -> None:
    platform = platform_of(server)
    now = platform.now()
    refunds = [
        refund.refund_id
        for page in platform.changed_refunds(Window(now - timedelta(days=3), now))
        for refund in page.refunds
    ]
    assert refunds
    brought = platform.refunds([*refunds, "123"])
    assert [detail.record_id if detail else None for detail in brought] == [*refunds, None]
    assert server.marketplace.calls["taobao.refund.get"] == len(refunds) + 1


def test_no_address_holds_a_secret_and_the_session_travels_in_the_body(server: SandboxServer) -> None:
    with RawGateway(http(b'{"time_get_response":{"time":"2026-03-15 12:00:00"}}'), http(b"")) as gateway:
        platform = platform_of(server, gateway_url=gateway.url)
        assert ids(platform.orders(["1", "2"])) == [None, None]
    line = gateway.request_lines[-1]
    assert line.startswith("POST /router/batch?app_key=")
    assert DEMO_SHOP.session_key not in line
    assert DEMO_SHOP.app_secret not in line
    assert DEMO_SHOP.session_key in str(gateway.forms[-1])


@pytest.mark.parametrize(
    ("fault", "good"),
    [
        # An answer's own trouble is its own, and the last one's end is missing where a body was cut.
        (Fault("isp", count=3), slice(3, None)),
        (Fault("session_expired", count=1), slice(1, None)),
        (Fault("ban", seconds=1, count=1), slice(0, 0)),
        # Less or otherwise than asked for: nothing of it is believed.
        (Fault("batch_mixed_up", kind="fewer", count=1), slice(0, 0)),
        (Fault("batch_mixed_up", kind="reordered", count=1), slice(0, 0)),
        (Fault("batch_refused", kind="too_many", count=1), slice(0, 0)),
        (Fault("batch_refused", kind="permission", count=1), slice(0, 0)),
        # Faults of the wire that are meant for the method strike the request that holds it.
        (Fault("http_error", method=DETAIL, count=1), slice(0, 0)),
        (Fault("html", method=DETAIL, count=1), slice(0, 0)),
        (Fault("truncated", method=DETAIL, count=1), slice(0, 0)),
        (Fault("connection_reset", method=DETAIL, kind="midway", count=1), slice(0, 0)),
    ],
    ids=lambda value: f"{value.name}-{value.kind}".rstrip("-") if isinstance(value, Fault) else "",
)
def test_only_what_is_certainly_the_answer_is_handed_over(server: SandboxServer, fault: Fault, good: slice) -> None:
    log, order_ids = CallLog(), known(server)[:10]
    platform = platform_of(server, log)
    platform.now()
    log.drain()
    server.marketplace.faults.switch_on(fault)
    expected = [order_id if order_id in order_ids[good] else None for order_id in order_ids]
    assert ids(platform.orders(order_ids)) == expected
    calls = log.drain()
    assert len(calls) == 10
    assert sum(call.outcome == "ok" for call in calls) == len(order_ids[good])
    assert server.marketplace.faults.struck[fault.name] > 0
    # Alone each has its retries.
    assert [platform.order(order_id).record_id for order_id in order_ids] == order_ids


def test_answers_whose_end_is_cut_off_lose_the_last_one_only(server: SandboxServer) -> None:
    trades = [b'{"trade_fullinfo_get_response":{"trade":%s}}' % _trade(server, tid) for tid in known(server)[:2]]
    body = b"\r\n-S-\r\n".join(trades)
    time = http(b'{"time_get_response":{"time":"2026-03-15 12:00:00"}}')
    with RawGateway(time, http(body[:-9])) as gateway:
        platform = platform_of(server, gateway_url=gateway.url)
        assert ids(platform.orders(known(server)[:2])) == [known(server)[0], None]


def _trade(server: SandboxServer, tid: str) -> bytes:
    answer = msgspec.json.decode(platform_of(server).order(tid).answer.body)
    return msgspec.json.encode(answer["trade_fullinfo_get_response"]["trade"])


def test_an_order_that_cannot_be_told_from_another_is_asked_for_alone(server: SandboxServer) -> None:
    first, second = known(server)[:2]
    server.marketplace.faults.switch_on(Fault("poison", kind="huge_tid", method=DETAIL))
    assert ids(platform_of(server).orders([first, second])) == [None, None]


def test_a_gateway_of_another_address_is_asked_one_by_one() -> None:
    assert batch_url("https://eco.taobao.com/router/rest") == "https://eco.taobao.com/router/batch"
    assert batch_url("https://proxy.example/taobao") is None
    credentials = TaobaoCredentials(
        shop_id="shop", gateway_url="https://proxy.example/taobao", app_key="1", app_secret="s"
    )
    assert TaobaoPlatform(credentials, CallLog()).details_at_once == 1


def refused() -> CallError:
    return CallerError("calls", "too many", remedy="none")


def lost() -> CallError:
    return TransientError("calls", "no answer", remedy="none")


def test_a_refused_size_is_not_tried_again_and_the_largest_good_one_is_found() -> None:
    size = BatchSize(most=20)
    tried = []
    for _ in range(20 * GOOD_UNTIL_LARGER):
        count = size.now()
        tried.append(count)
        if count > 12:
            size.came_to_nothing(count, refused())
        else:
            size.went_through(count)
    assert max(tried[-50:]) == 12
    assert len(tried) == len([count for count in tried if count <= 12]) + len({count for count in tried if count > 12})


def test_a_lost_request_makes_the_next_ones_smaller_until_some_went_well() -> None:
    size = BatchSize(most=20)
    size.came_to_nothing(20, lost())
    # Another thread's, of the same time.
    size.came_to_nothing(20, lost())
    assert size.now() == 10
    for _ in range(2 * GOOD_UNTIL_LARGER):
        size.went_through(size.now())
    assert size.now() == 20


@pytest.mark.parametrize("error", [AuthorizationError("calls", "not permitted", remedy="none"), None])
def test_what_is_not_offered_is_left_alone_for_a_while(error: CallError | None) -> None:
    now = [0.0]
    size = BatchSize(most=20, monotonic=lambda: now[0])
    while size.now() > 1:
        size.came_to_nothing(size.now(), error or refused())
    now[0] += ALONE_SECONDS - 1
    assert size.now() == 1
    now[0] += 2
    assert size.now() == 2


def test_calls_that_are_too_many_for_now_say_nothing_about_the_request() -> None:
    size = BatchSize(most=20)
    size.came_to_nothing(20, ThrottledError("calls", "banned", remedy="wait", ban_seconds=1))
    assert size.now() == 20
