"""Lists that lag behind, each in its own way, and the list by arrival that can tell (contract 3.3, 7, 8)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from order_pipeline.sandbox.clock import DrivenClock, from_ms
from order_pipeline.sandbox.faults import Fault
from order_pipeline.sandbox.marketplace import Marketplace
from order_pipeline.sandbox.server import SandboxServer
from order_pipeline.sandbox.settings import SandboxSettings, open_marketplace
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline_tests.sandbox.conftest import NOW
from order_pipeline_tests.sandbox.contract_script import ALL_TYPES, FORMAT, Script, truth

CREATED = "taobao.trades.sold.get"
MODIFIED = "taobao.trades.sold.increment.get"
ENTERED = "taobao.trades.sold.incrementv.get"
DETAIL = "taobao.trade.fullinfo.get"
WINDOW_OF = {CREATED: "created", MODIFIED: "modified", ENTERED: "create"}


@pytest.fixture
def market() -> Marketplace:
    return open_marketplace(SandboxSettings(seed=3, orders=800, days=10, driven_from=NOW))


@pytest.fixture
def server(market: Marketplace) -> Iterator[SandboxServer]:
    with SandboxServer(market) as running:
        yield running


def rows(script: Script, method: str, start: datetime, end: datetime, fields: str = "tid") -> list[dict[str, Any]]:
    name = WINDOW_OF[method]
    window = {f"start_{name}": start.strftime(FORMAT), f"end_{name}": end.strftime(FORMAT)}
    return list(script.pages(method, fields=fields, type=ALL_TYPES, page_size=37, **window))


def tids(script: Script, method: str, seconds_ago: int, market: Marketplace) -> list[int]:
    """What a list shows of the last seconds, this one included."""
    now = from_ms(market.clock.now_ms())
    found = rows(script, method, now - timedelta(seconds=seconds_ago), now + timedelta(seconds=1))
    return [row["tid"] for row in found]


def test_without_delays_rows_arrive_when_they_change(script: Script) -> None:
    fields = "tid,modified,async_modified"
    by_entry = rows(script, ENTERED, NOW - timedelta(days=1), NOW, fields)
    assert len(by_entry) > 50
    assert [row["tid"] for row in by_entry] == [
        row["tid"] for row in rows(script, MODIFIED, NOW - timedelta(days=1), NOW)
    ]
    assert all(row["async_modified"] == row["modified"] for row in by_entry)


def test_the_list_by_arrival_has_its_own_window_and_fields(script: Script) -> None:
    missing = script.call(ENTERED, fields="tid", end_create=NOW.strftime(FORMAT))
    assert missing["msg"] == "Missing required arguments:start_create"
    long = {"start_create": (NOW - timedelta(days=1, seconds=1)).strftime(FORMAT), "end_create": NOW.strftime(FORMAT)}
    assert script.call(ENTERED, fields="tid", **long)["code"] == 41
    wanted = "tid,async_modified,cod_status,has_buyer_message,send_time,trade_from,seller_memo"
    found = rows(script, ENTERED, NOW - timedelta(days=1), NOW, wanted)
    assert {name for row in found for name in row} == {"tid", "async_modified", "cod_status", "has_buyer_message"}


def test_a_late_change_enters_lists_in_the_past_of_its_window(
    market: Marketplace, script: Script, clock: DrivenClock
) -> None:
    old = market.place_order(DEMO_SHOP.id)
    clock.advance(100)
    market.faults.switch_on(Fault("arrival_delay", seconds=60))
    new = market.place_order(DEMO_SHOP.id)
    market.edit_memo(DEMO_SHOP.id, old, "已催", 4)
    changed = from_ms(clock.now_ms())
    market.faults.clear()
    # Details know at once; lists show the old order as it was, at its old place, and the new one not at all.
    detail = script.call(DETAIL, fields="seller_flag,modified", tid=old)["trade"]
    assert (detail["seller_flag"], detail["modified"]) == (4, changed.strftime(FORMAT))
    assert script.call(DETAIL, fields="tid", tid=new)["trade"] == {"tid": new}
    assert not {old, new} & set(tids(script, MODIFIED, 50, market))
    (before,) = rows(script, CREATED, NOW, NOW + timedelta(days=1), "tid,seller_flag,modified")
    assert before == {"modified": NOW.strftime(FORMAT), "seller_flag": 0, "tid": old}
    clock.advance(59)
    assert not {old, new} & set(tids(script, ENTERED, 90, market))
    clock.advance(1)
    # Whoever has read the window of `changed` already will never see them there again ...
    assert not {old, new} & set(tids(script, MODIFIED, 50, market))
    late = rows(script, MODIFIED, changed, changed + timedelta(seconds=1), "tid,modified,seller_flag")
    assert {row["tid"] for row in late} == {old, new}
    assert {row["modified"] for row in late} == {changed.strftime(FORMAT)}
    # ... but the list by arrival has them now.
    now = from_ms(clock.now_ms())
    arrived = rows(script, ENTERED, now, now + timedelta(seconds=1), "tid,modified,async_modified")
    assert {row["tid"] for row in arrived} == {old, new}
    assert {row["async_modified"] for row in arrived} == {now.strftime(FORMAT)}
    assert {row["modified"] for row in arrived} == {changed.strftime(FORMAT)}


def test_a_punctual_change_overtakes_a_late_one(market: Marketplace, script: Script, clock: DrivenClock) -> None:
    tid = market.place_order(DEMO_SHOP.id)
    clock.advance(10)
    market.faults.switch_on(Fault("arrival_delay", seconds=600))
    market.edit_memo(DEMO_SHOP.id, tid, "late", 1)
    market.faults.clear()
    clock.advance(10)
    market.edit_memo(DEMO_SHOP.id, tid, "in time", 2)
    for wait in (0, 700):
        clock.advance(wait)
        found = rows(script, ENTERED, NOW, NOW + timedelta(hours=1), "tid,async_modified,seller_flag")
        (row,) = [row for row in found if row["tid"] == tid]
        assert row["seller_flag"] == 2
        assert row["async_modified"] == (NOW + timedelta(seconds=20)).strftime(FORMAT)


def test_whoever_reads_by_arrival_misses_nothing(
    market: Marketplace, server: SandboxServer, script: Script, clock: DrivenClock
) -> None:
    market.faults.switch_on(Fault("arrival_delay", rate=0.4, seconds=5_000, seed=2))
    begin, late = NOW, 0
    by_arrival: dict[int, str] = {}
    by_change: dict[int, str] = {}
    for _ in range(24):
        clock.advance(3600)
        end = from_ms(clock.now_ms())
        for row in rows(script, ENTERED, begin, end, "tid,modified,async_modified"):
            by_arrival[row["tid"]] = max(row["modified"], by_arrival.get(row["tid"], ""))
            late += row["async_modified"] > row["modified"]
        for row in rows(script, MODIFIED, begin, end, "tid,modified"):
            by_change[row["tid"]] = row["modified"]
        begin = end
    market.faults.clear()
    clock.advance(5_000)
    for row in rows(script, ENTERED, begin, from_ms(clock.now_ms()), "tid,modified"):
        by_arrival[row["tid"]] = max(row["modified"], by_arrival.get(row["tid"], ""))
    changed = {
        trade["tid"]: trade["modified"]
        for trade in truth(server.url, DEMO_SHOP.id, "tid,modified")
        if NOW.strftime(FORMAT) <= trade["modified"] < end.strftime(FORMAT)
    }
    assert late > 20
    assert changed.items() <= by_arrival.items()
    assert not changed.items() <= by_change.items()


def test_a_stale_list_is_the_list_of_some_time_ago(market: Marketplace, script: Script, clock: DrivenClock) -> None:
    def listed() -> list[dict[str, Any]]:
        return rows(script, CREATED, NOW - timedelta(days=1), NOW + timedelta(days=1), "tid,status,modified")

    before = listed()
    clock.advance(7_200)
    market.place_order(DEMO_SHOP.id)
    market.edit_memo(DEMO_SHOP.id, before[0]["tid"], "已催")
    now = listed()
    assert now != before
    market.faults.switch_on(Fault("stale_list", seconds=7_200))
    assert listed() == before
    total = script.call(CREATED, fields="tid", start_created=NOW.strftime(FORMAT))["total_results"]
    assert total == 0
    assert tids(script, MODIFIED, 7_000, market) == []
    market.faults.clear()
    assert listed() == now


def test_details_may_lag_behind_their_list(market: Marketplace, script: Script, clock: DrivenClock) -> None:
    tid = market.place_order(DEMO_SHOP.id)
    clock.advance(60)
    market.edit_memo(DEMO_SHOP.id, tid, "已催", 5)
    market.faults.switch_on(Fault("stale_detail", seconds=30))
    clock.advance(29)
    new = market.place_order(DEMO_SHOP.id)
    assert script.call(DETAIL, fields="seller_flag", tid=tid)["trade"] == {"seller_flag": 0}
    assert script.call(DETAIL, fields="tid", tid=new)["sub_code"] == "isv.trade-not-exist"
    assert {tid, new} <= set(tids(script, MODIFIED, 60, market))
    clock.advance(1)
    assert script.call(DETAIL, fields="seller_flag", tid=tid)["trade"] == {"seller_flag": 5}
    assert market.faults.struck["stale_detail"] == 2
