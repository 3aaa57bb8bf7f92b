from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from order_pipeline.sandbox.clock import DrivenClock
from order_pipeline.sandbox.marketplace import Bounds, Marketplace
from order_pipeline.sandbox.server import SandboxServer
from order_pipeline.sandbox.settings import SandboxSettings, open_marketplace
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline_tests.sandbox.conftest import NOW
from order_pipeline_tests.sandbox.contract_script import ALL_TYPES, FORMAT, Script, truth

LIST = "taobao.trades.sold.get"
INCREMENT = "taobao.trades.sold.increment.get"
DEFAULT_TYPES = {"fixed", "auction", "auto_delivery", "ec", "cod", "step"}


@pytest.fixture
def market() -> Marketplace:
    return open_marketplace(SandboxSettings(seed=3, orders=800, days=10, driven_from=NOW))


@pytest.fixture
def server(market: Marketplace) -> Iterator[SandboxServer]:
    with SandboxServer(market) as running:
        yield running


def ids(answer: dict[str, Any]) -> list[int]:
    return [trade["tid"] for trade in answer.get("trades", {}).get("trade", [])]


def day(until_hours: float = 0.0) -> dict[str, str]:
    end = NOW + timedelta(hours=until_hours)
    return {"start_modified": (end - timedelta(days=1)).strftime(FORMAT), "end_modified": end.strftime(FORMAT)}


def test_a_row_that_changes_moves_to_page_one(script: Script, market: Marketplace, clock: DrivenClock) -> None:
    window = day(until_hours=1)
    first = ids(script.call(INCREMENT, fields="tid", page_size=10, **window))
    second = ids(script.call(INCREMENT, fields="tid", page_size=10, page_no=2, **window))
    clock.advance(2)
    market.edit_memo(DEMO_SHOP.id, second[4], "改为发顺丰")
    moved = ids(script.call(INCREMENT, fields="tid", page_size=10, **window))
    after = ids(script.call(INCREMENT, fields="tid", page_size=10, page_no=2, **window))
    assert moved[0] == second[4]
    assert moved[1:] == first[:9]
    # Whoever pages forwards now sees the first page's last row again and never misses what is behind.
    assert after == [first[9], *second[:4], *second[5:]]


def test_a_row_that_changes_while_pages_are_read_is_missed_by_reading_forwards(
    script: Script, market: Marketplace, clock: DrivenClock
) -> None:
    window = day()
    first = ids(script.call(INCREMENT, fields="tid", page_size=10, **window))
    second = ids(script.call(INCREMENT, fields="tid", page_size=10, page_no=2, **window))
    clock.advance(5)
    market.touch(DEMO_SHOP.id, first[3])
    # The changed row left the window, so everything behind it moved up by one.
    assert ids(script.call(INCREMENT, fields="tid", page_size=10, page_no=2, **window))[:9] == second[1:]


def test_the_increment_is_sorted_by_modified_latest_first(script: Script) -> None:
    rows = list(script.pages(INCREMENT, fields="tid,modified", type=ALL_TYPES, page_size=13, **day()))
    assert len(rows) > 50
    assert [row["modified"] for row in rows] == sorted((row["modified"] for row in rows), reverse=True)
    assert len({row["tid"] for row in rows}) == len(rows)


def test_the_increment_holds_exactly_what_changed_in_the_window(server: SandboxServer, script: Script) -> None:
    window = day()
    rows = {row["tid"] for row in script.pages(INCREMENT, fields="tid", type=ALL_TYPES, **window)}
    assert rows == {
        trade["tid"]
        for trade in truth(server.url, DEMO_SHOP.id, "tid,modified")
        if window["start_modified"] <= trade["modified"] < window["end_modified"]
    }


def test_types_that_are_not_named_are_silently_missing(server: SandboxServer, script: Script) -> None:
    everything = {trade["tid"]: trade["type"] for trade in truth(server.url, DEMO_SHOP.id, "tid,type")}
    by_default = set(script.pages_of_ids(LIST))
    assert by_default == {tid for tid, kind in everything.items() if kind in DEFAULT_TYPES}
    assert set(script.pages_of_ids(LIST, type=ALL_TYPES)) == set(everything)
    assert len(everything) - len(by_default) > 10
    some = set(script.pages_of_ids(LIST, type="tmall_i18n,guarantee_trade"))
    assert some == {tid for tid, kind in everything.items() if kind in ("tmall_i18n", "fixed", "auction")}


def test_statuses_and_their_unions_filter(server: SandboxServer, script: Script) -> None:
    everything = truth(server.url, DEMO_SHOP.id, "tid,status")

    def of(*statuses: str) -> set[int]:
        return {trade["tid"] for trade in everything if trade["status"] in statuses}

    def listed(status: str) -> set[int]:
        return set(script.pages_of_ids(LIST, type=ALL_TYPES, status=status))

    assert listed("WAIT_SELLER_SEND_GOODS") == of("WAIT_SELLER_SEND_GOODS") != set()
    assert listed("ALL_WAIT_PAY") == of("WAIT_BUYER_PAY") != set()
    assert listed("ALL_CLOSED") == of("TRADE_CLOSED", "TRADE_CLOSED_BY_TAOBAO") != set()


def test_a_list_counts_or_says_whether_there_is_more_never_both(script: Script) -> None:
    counted = script.call(LIST, fields="tid", page_size=100)
    assert "has_next" not in counted
    total = counted["total_results"]
    last = (total + 99) // 100
    for page_no in (1, last):
        answer = script.call(LIST, fields="tid", page_size=100, page_no=page_no, use_has_next="true")
        assert "total_results" not in answer
        assert answer["has_next"] is (page_no < last)
    beyond = script.call(LIST, fields="tid", page_size=100, page_no=last + 1, use_has_next="true")
    assert (beyond["has_next"], "trades" in beyond) == (False, False)


@pytest.mark.parametrize("text", ["True", "1", "yes"])
def test_only_the_text_true_turns_has_next_on(script: Script, text: str) -> None:
    assert "total_results" in script.call(LIST, fields="tid", use_has_next=text)


def test_a_page_has_forty_rows_unless_told_otherwise(script: Script) -> None:
    assert len(ids(script.call(LIST, fields="tid"))) == 40
    assert len(ids(script.call(LIST, fields="tid", page_size=100))) == 100


@pytest.mark.parametrize(("bounds", "offsets"), [("inclusive", (0, 1, 2)), ("half_open", (0, 1)), ("exclusive", (1,))])
def test_which_ends_belong_to_a_window_is_a_setting(bounds: Bounds, offsets: tuple[int, ...]) -> None:
    market = open_marketplace(SandboxSettings(orders=1, days=1, driven_from=NOW, bounds=bounds))
    clock = market.clock
    assert isinstance(clock, DrivenClock)
    clock.advance(86_400)
    placed = []
    for _ in range(3):
        placed.append(market.place_order(DEMO_SHOP.id))
        clock.advance(1)
    begin = NOW + timedelta(days=1)
    with SandboxServer(market) as server:
        script = Script(server.gateway_url, DEMO_SHOP.app_key, DEMO_SHOP.app_secret, DEMO_SHOP.session_key)
        for method, name in ((LIST, "created"), (INCREMENT, "modified")):
            window = {
                f"start_{name}": begin.strftime(FORMAT),
                f"end_{name}": (begin + timedelta(seconds=2)).strftime(FORMAT),
            }
            found = ids(script.call(method, fields="tid", **window))
            assert found == [placed[offset] for offset in reversed(offsets)]


def test_orders_older_than_three_months_are_in_no_list_and_have_no_details(
    server: SandboxServer, script: Script, clock: DrivenClock
) -> None:
    clock.advance(95 * 86_400)
    old = truth(server.url, DEMO_SHOP.id, "tid,created")
    recent = {trade["tid"] for trade in old if trade["created"] >= (NOW + timedelta(days=3)).strftime(FORMAT)}
    assert set(script.pages_of_ids(LIST, type=ALL_TYPES)) == recent
    answer = script.call("taobao.trade.fullinfo.get", fields="tid", tid=old[0]["tid"])
    assert answer["sub_code"] == "isv.trade-not-exist"
