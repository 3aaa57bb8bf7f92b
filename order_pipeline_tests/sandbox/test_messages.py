"""The message service, read over the HTTP API by a script written from contract 3.9 and 6."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from order_pipeline.sandbox.clock import DrivenClock
from order_pipeline.sandbox.faults import Fault
from order_pipeline.sandbox.marketplace import Marketplace
from order_pipeline.sandbox.server import SandboxServer
from order_pipeline.sandbox.settings import SandboxSettings, open_marketplace
from order_pipeline.sandbox.shops import DEMO_SHOP, Shop
from order_pipeline_tests.sandbox.conftest import NOW
from order_pipeline_tests.sandbox.contract_script import FORMAT, Script, truth

SISTER_SHOP = Shop(
    id="sister-shop",
    app_key=DEMO_SHOP.app_key,
    app_secret=DEMO_SHOP.app_secret,
    session_key="6100sister0session",
    seller_nick="同一应用的另一家店",
    user_id=2_200_000_000_003,
)
REDELIVERY = 60
SETTINGS = SandboxSettings(
    shops=(DEMO_SHOP, SISTER_SHOP), seed=3, orders=400, days=10, driven_from=NOW, message_redelivery_seconds=REDELIVERY
)


@pytest.fixture
def market() -> Marketplace:
    return open_marketplace(SETTINGS)


@pytest.fixture
def server(market: Marketplace) -> Iterator[SandboxServer]:
    with SandboxServer(market) as running:
        yield running


@pytest.fixture
def sister(server: SandboxServer) -> Script:
    return Script(server.gateway_url, DEMO_SHOP.app_key, DEMO_SHOP.app_secret, SISTER_SHOP.session_key)


def consume(script: Script, **business: Any) -> list[dict[str, Any]]:
    answer = script.call("taobao.tmc.messages.consume", session="", **business)
    assert "code" not in answer, answer
    messages: list[dict[str, Any]] = answer.get("messages", {}).get("tmc_message", [])
    return messages


def confirm(script: Script, messages: list[dict[str, Any]], **business: Any) -> None:
    ids = ",".join(str(message["id"]) for message in messages)
    assert script.call("taobao.tmc.messages.confirm", session="", s_message_ids=ids, **business)["is_success"] is True


def drain(script: Script, **business: Any) -> list[dict[str, Any]]:
    """Everything there is, confirmed."""
    found: list[dict[str, Any]] = []
    while messages := consume(script, quantity=200, **business):
        confirm(script, messages, **business)
        found += messages
    return found


def permit(script: Script, **business: Any) -> None:
    assert script.call("taobao.tmc.user.permit", **business)["is_success"] is True


def content(message: dict[str, Any]) -> dict[str, Any]:
    assert isinstance(message["content"], str)
    fields: dict[str, Any] = json.loads(message["content"])
    return fields


def test_nothing_is_told_before_the_permit_and_everything_after_it(
    market: Marketplace, script: Script, clock: DrivenClock
) -> None:
    clock.advance(3600)
    market.place_order(DEMO_SHOP.id)
    assert consume(script) == []
    permit(script)
    assert consume(script) == []
    tid = market.place_order(DEMO_SHOP.id, order_type="fixed")
    market.place_order(SISTER_SHOP.id)
    market.edit_memo(DEMO_SHOP.id, tid, "改为发顺丰", 3)
    first, second = consume(script)
    assert set(first) == {"content", "id", "pub_app_key", "pub_time", "topic", "user_id", "user_nick"}
    assert first["topic"] == "taobao_trade_TradeCreate"
    assert (first["user_id"], first["user_nick"]) == (DEMO_SHOP.user_id, DEMO_SHOP.seller_nick)
    assert (first["pub_app_key"], len(str(first["id"]))) == ("12497914", 19)
    assert first["pub_time"] == (NOW + timedelta(hours=1)).strftime(FORMAT)
    told = content(first)
    assert (told["tid"], told["oid"]) == (tid, tid)
    assert (told["seller_nick"], told["buyer_nick"][1:]) == (DEMO_SHOP.seller_nick, "**")
    detail = script.call("taobao.trade.fullinfo.get", fields="payment", tid=tid)["trade"]
    assert (told["payment"], told["type"]) == (detail["payment"], "guarantee_trade")
    memo = content(second)
    assert second["topic"] == "taobao_trade_TradeMemoModified"
    assert (memo["seller_memo"], memo["seller_flag"], memo["action_type"]) == ("改为发顺丰", 3, "seller")


def test_every_change_of_every_order_is_told(server: SandboxServer, script: Script, clock: DrivenClock) -> None:
    permit(script)
    before = {trade["tid"]: trade["modified"] for trade in truth(server.url, DEMO_SHOP.id, "tid,modified")}
    topics: Counter[str] = Counter()
    latest: dict[int, str] = {}
    with_status = 0
    for _ in range(40):
        clock.advance(20 * 3600)
        for message in drain(script):
            told = content(message)
            topics[message["topic"]] += 1
            latest[told["tid"]] = max(latest.get(told["tid"], ""), message["pub_time"])
            with_status += "status" in told
            if "refund_id" in told:
                assert isinstance(told["refund_id"], int)
                assert told["bill_type"] in ("refund_bill", "return_bill", "replace_bill")
                assert told["modified"] == message["pub_time"]
    after = {trade["tid"]: trade["modified"] for trade in truth(server.url, DEMO_SHOP.id, "tid,modified")}
    assert latest == {tid: modified for tid, modified in after.items() if modified != before[tid]}
    assert {
        "taobao_trade_TradeBuyerPay",
        "taobao_trade_TradeSellerShip",
        "taobao_trade_TradeSuccess",
        "taobao_trade_TradeClose",
        "taobao_trade_TradeMemoModified",
        "taobao_refund_RefundCreated",
        "taobao_refund_RefundSuccess",
    } <= set(topics)
    assert 0.15 < with_status / sum(topics.values()) < 0.45
    assert topics["taobao_trade_TradeSuccess"] > 50


def test_a_staged_order_and_parts_of_a_delivery_have_their_topics(
    market: Marketplace, script: Script, clock: DrivenClock
) -> None:
    permit(script)
    staged = {market.place_order(DEMO_SHOP.id, order_type="step", lives=True) for _ in range(20)}
    told: dict[int, list[str]] = {}
    for _ in range(80):
        clock.advance(20 * 3600)
        for message in drain(script):
            told.setdefault(content(message)["tid"], []).append(message["topic"].removeprefix("taobao_trade_Trade"))
    paid = [told[tid] for tid in staged if "BuyerPay" in told[tid]]
    assert paid
    assert all(topics.index("BuyerStepPay") < topics.index("BuyerPay") for topics in paid)
    parts = [topics for topics in told.values() if "PartlySellerShip" in topics]
    assert all(
        topics.index("PartlySellerShip") < topics.index("SellerShip") for topics in parts if "SellerShip" in topics
    )


def test_an_unconfirmed_message_comes_again_and_a_confirmed_one_never(
    market: Marketplace, script: Script, clock: DrivenClock
) -> None:
    permit(script)
    for _ in range(15):
        market.place_order(DEMO_SHOP.id)
    first = consume(script, quantity=10)
    rest = consume(script)
    assert (len(first), len(rest)) == (10, 5)
    confirm(script, first[:7])
    clock.advance(REDELIVERY - 1)
    assert consume(script) == []
    clock.advance(2)
    assert consume(script) == [*first[7:], *rest]
    clock.advance(REDELIVERY + 1)
    again = consume(script)
    assert again == [*first[7:], *rest]
    confirm(script, again)
    clock.advance(REDELIVERY + 1)
    assert consume(script) == []


def test_messages_are_kept_for_a_day(market: Marketplace, script: Script, clock: DrivenClock) -> None:
    permit(script, topics="taobao_trade_TradeCreate")
    for _ in range(12):
        market.place_order(DEMO_SHOP.id)
    assert len(consume(script, quantity=10)) == 10
    clock.advance(23 * 3600)
    assert len(consume(script)) == 12
    clock.advance(3601)
    assert consume(script) == []


def test_topics_overwrite_the_earlier_ones(market: Marketplace, script: Script, clock: DrivenClock) -> None:
    def told() -> list[str]:
        clock.advance(1)
        tid = market.place_order(DEMO_SHOP.id)
        market.edit_memo(DEMO_SHOP.id, tid, "已催")
        market.touch(DEMO_SHOP.id, tid)
        return [message["topic"].removeprefix("taobao_trade_Trade") for message in drain(script)]

    permit(script, topics="taobao_trade_TradeCreate,taobao_trade_TradeMemoModified")
    assert told() == ["Create", "MemoModified"]
    permit(script, topics="taobao_trade_TradeChanged")
    assert told() == ["Changed"]
    permit(script)
    assert told() == ["Create", "MemoModified", "Changed"]
    assert script.call("taobao.tmc.user.permit", topics="taobao_trade_TradeCreated")["code"] == 41
    assert script.call("taobao.tmc.user.permit", session="")["code"] == 26


def test_what_was_permitted_can_be_read_and_cancelled(market: Marketplace, script: Script) -> None:
    nick = {"nick": DEMO_SHOP.seller_nick, "session": ""}
    assert script.call("taobao.tmc.user.get", fields="topics", **nick).keys() == {"request_id"}
    permit(script, topics="taobao_trade_TradeCreate,taobao_refund_RefundCreated")
    user = script.call("taobao.tmc.user.get", fields="user_nick,user_id,is_valid,topics,group_name", **nick)["tmc_user"]
    assert user == {
        "group_name": "default",
        "is_valid": True,
        "topics": {"string": ["taobao_refund_RefundCreated", "taobao_trade_TradeCreate"]},
        "user_id": DEMO_SHOP.user_id,
        "user_nick": DEMO_SHOP.seller_nick,
    }
    topics = script.call("taobao.tmc.user.topics.get", **nick)
    assert topics["topics"] == user["topics"]
    market.place_order(DEMO_SHOP.id)
    assert script.call("taobao.tmc.user.cancel", **nick)["is_success"] is True
    assert script.call("taobao.tmc.user.cancel", **nick)["is_success"] is False
    assert script.call("taobao.tmc.user.cancel", nick="nobody", session="")["is_success"] is False
    market.place_order(DEMO_SHOP.id)
    assert len(consume(script)) == 1


def test_shops_of_one_app_share_a_queue_in_the_order_of_time(
    market: Marketplace, script: Script, sister: Script, clock: DrivenClock
) -> None:
    permit(script)
    permit(sister)
    placed = []
    for turn in range(12):
        clock.advance(1)
        placed.append(market.place_order((DEMO_SHOP, SISTER_SHOP)[turn % 2].id))
    messages = [message for message in consume(script) if message["topic"].endswith("TradeCreate")]
    assert [content(message)["tid"] for message in messages] == placed
    assert {message["user_id"] for message in messages} == {DEMO_SHOP.user_id, SISTER_SHOP.user_id}


def test_a_group_takes_what_its_sellers_publish_from_then_on(
    market: Marketplace, script: Script, sister: Script
) -> None:
    def told(**business: Any) -> list[int]:
        return [content(message)["tid"] for message in drain(script, **business)]

    permit(script)
    permit(sister)
    early = market.place_order(SISTER_SHOP.id)
    assert script.call("taobao.tmc.messages.consume", group_name="vip")["code"] == 41
    made = script.call("taobao.tmc.group.add", session="", group_name="vip", nicks=SISTER_SHOP.seller_nick)
    assert (made["group_name"], made["created"]) == ("vip", NOW.strftime(FORMAT))
    late, ours = market.place_order(SISTER_SHOP.id), market.place_order(DEMO_SHOP.id)
    assert told(group_name="vip") == [late]
    assert sorted(told()) == sorted([early, ours])
    groups = script.call("taobao.tmc.groups.get", session="")
    assert (groups["groups"], groups["total_results"]) == ({"tmc_group": [{"name": "vip"}]}, 1)
    queue = script.call("taobao.tmc.queue.get", session="", group_name="vip")["datas"]["tmc_queue_info"]
    assert [(entry["put_toal"], entry["get_total"]) for entry in queue] == [(1, 1)]
    market.place_order(SISTER_SHOP.id)
    assert script.call("taobao.tmc.group.delete", session="", group_name="vip")["is_success"] is True
    assert script.call("taobao.tmc.group.delete", session="", group_name="vip")["code"] == 41
    after = market.place_order(SISTER_SHOP.id)
    assert told() == [after]
    for name in ("default2", "x" * 33):
        refused = script.call("taobao.tmc.group.add", session="", group_name=name, nicks=DEMO_SHOP.seller_nick)
        assert refused["code"] == 41


@pytest.mark.parametrize("quantity", [9, 201, 0])
def test_ten_to_two_hundred_messages_are_taken_at_once(script: Script, quantity: int) -> None:
    assert script.call("taobao.tmc.messages.consume", quantity=quantity)["code"] == 41


def test_at_most_two_hundred_are_confirmed_at_once(script: Script) -> None:
    ids = ",".join(str(number) for number in range(201))
    assert script.call("taobao.tmc.messages.confirm", s_message_ids=ids)["code"] == 41
    assert script.call("taobao.tmc.messages.confirm", s_message_ids="1,x")["code"] == 41
    assert script.call("taobao.tmc.messages.confirm")["code"] == 40


def test_messages_may_be_lost_repeated_and_out_of_order(
    market: Marketplace, script: Script, clock: DrivenClock
) -> None:
    def told(*faults: Fault) -> list[int]:
        for fault in faults:
            market.faults.switch_on(fault)
        clock.advance(1)
        numbers = {market.place_order(DEMO_SHOP.id): number for number in range(60)}
        seen = [content(message)["tid"] for message in drain(script)]
        clock.advance(30)
        seen += [content(message)["tid"] for message in drain(script)]
        market.faults.clear()
        return [numbers[tid] for tid in seen if tid in numbers]

    permit(script, topics="taobao_trade_TradeCreate")
    everything = list(range(60))
    lost = told(Fault("message_lost", rate=0.3, seed=1))
    assert 20 < len(lost) < 55
    assert lost == sorted(set(lost))
    held = told(Fault("message_held", rate=0.3, seed=1, seconds=20))
    assert held != everything == sorted(held)
    repeated = told(Fault("message_repeated", rate=0.3, seed=1, seconds=20))
    assert repeated[:60] == everything
    assert 5 < len(repeated) - 60 < 35
    assert len(told(Fault("message_lost", count=4))) == 56
    assert len(told(Fault("message_lost", shop=SISTER_SHOP.id))) == 60


def test_messages_may_name_nothing_known(market: Marketplace, script: Script) -> None:
    def told(kind: str) -> dict[str, Any]:
        market.faults.switch_on(Fault("message_spoilt", kind=kind))
        market.place_order(DEMO_SHOP.id)
        (message,) = drain(script)
        return message

    permit(script)
    assert told("unknown_topic")["topic"] == "taobao_trade_TradeTeleported"
    assert told("unknown_seller")["user_id"] == 1
    assert content(told("ids_as_text"))["tid"].isdigit()
    with pytest.raises(json.JSONDecodeError):
        content(told("broken_content"))


def test_no_message_is_forgotten_however_it_is_read_and_confirmed(
    market: Marketplace, script: Script, clock: DrivenClock
) -> None:
    random = Random(5)
    permit(script, topics="taobao_trade_TradeCreate")
    market.faults.switch_on(Fault("message_held", rate=0.2, seconds=100, seed=3))
    placed: set[int] = set()
    delivered: set[int] = set()
    confirmed: set[int] = set()

    def read(share: float) -> int:
        messages = consume(script, quantity=random.randrange(10, 40))
        ids = {message["id"] for message in messages}
        assert len(ids) == len(messages)
        assert not ids & confirmed
        delivered.update(content(message)["tid"] for message in messages)
        chosen = [message for message in messages if random.random() < share]
        if chosen:
            confirm(script, chosen)
            confirmed.update(message["id"] for message in chosen)
        return len(messages)

    for _ in range(60):
        placed.update(market.place_order(DEMO_SHOP.id) for _ in range(random.randrange(9)))
        clock.advance(random.choice((0, 1, 20, REDELIVERY + 1)))
        if random.random() < 0.1:
            permit(script, topics="taobao_trade_TradeCreate")
        read(share=0.6)
    for _ in range(100):
        clock.advance(REDELIVERY + 1)
        read(share=1.0)
    assert placed <= delivered
    assert len(confirmed) == len(delivered)
    assert read(share=1.0) == 0


def test_permissions_and_groups_outlive_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "sandbox.json"

    def started(minutes: float) -> Marketplace:
        return open_marketplace(
            SandboxSettings(
                orders=50,
                days=5,
                live_orders_per_second=1,
                live_life_speed=100,
                state_path=state,
                driven_from=NOW + timedelta(minutes=minutes),
            )
        )

    first = started(0)
    assert isinstance(first.clock, DrivenClock)
    with SandboxServer(first) as server:
        script = Script(server.gateway_url, DEMO_SHOP.app_key, DEMO_SHOP.app_secret, DEMO_SHOP.session_key)
        script.call("taobao.tmc.group.add", group_name="demo", nicks=DEMO_SHOP.seller_nick)
        first.clock.advance(30)
        permit(script)
        first.clock.advance(60)
        before = drain(script, group_name="demo")
    assert len(before) > 60
    second = started(5)
    with SandboxServer(second) as server:
        script = Script(server.gateway_url, DEMO_SHOP.app_key, DEMO_SHOP.app_secret, DEMO_SHOP.session_key)
        again = drain(script, group_name="demo")
    # What was confirmed is forgotten, so all of it comes again, in the same order and under the same ids.
    assert again[: len(before)] == before
