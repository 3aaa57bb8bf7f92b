"""Orders and refunds moved on by hand over HTTP, and how the wire shows it: pre-sales, holds, partial refunds."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from order_pipeline.sandbox.clock import DrivenClock
from order_pipeline.sandbox.faults import Fault
from order_pipeline.sandbox.marketplace import Marketplace
from order_pipeline.sandbox.server import SandboxServer
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline_tests.sandbox.contract_script import ALL_TYPES, Script, truth
from order_pipeline_tests.sandbox.test_logistics import act

FULLINFO, REFUND, REFUNDS = "taobao.trade.fullinfo.get", "taobao.refund.get", "taobao.refunds.receive.get"
MESSAGES = "taobao.refund.messages.get"
TRADE = (
    "tid,status,type,step_trade_status,step_paid_fee,pay_time,new_presell,send_time,est_con_time,top_hold,orders,"
    "forbid_consign,team_buy_hold,payment,received_payment,receiver_name,receiver_address,created,receiver_mobile,"
    "receiver_phone,oaid,receiver_city,promotion_details"
)
DETAIL = "refund_id,status,refund_fee,payment,num,dispute_type,cs_status,refund_phase,has_good_return,modified,created"


def order(server: SandboxServer, action: str, expected: int = 200, /, **body: Any) -> dict[str, Any]:
    return act(server, "orders", expected, action=action, **body)


def shown(script: Script, tid: int) -> dict[str, Any]:
    found: dict[str, Any] = script.call(FULLINFO, fields=TRADE, tid=tid)["trade"]
    return found


def refund(server: SandboxServer, tid: int, status: str, **step: Any) -> int:
    identifier: int = act(server, "refunds", tid=tid, status=status, **step)["refund_ids"][0]
    return identifier


def detail(script: Script, refund_id: int) -> dict[str, Any]:
    found: dict[str, Any] = script.call(REFUND, fields=DETAIL, refund_id=refund_id)["refund"]
    return found


def paid(server: SandboxServer, **placement: Any) -> int:
    tid: int = order(server, "place", **placement)["tid"]
    order(server, "pay", tid=tid)
    return tid


def topics(script: Script) -> list[tuple[str, dict[str, Any]]]:
    page = script.call("taobao.tmc.messages.consume", quantity=200).get("messages", {}).get("tmc_message", [])
    identifiers = ",".join(str(message["id"]) for message in page)
    if identifiers:
        script.call("taobao.tmc.messages.confirm", s_message_ids=identifiers)
    return [(message["topic"].split("_", 1)[1], json.loads(message["content"])) for message in page]


def test_a_deposit_leads_to_the_final_payment(server: SandboxServer, script: Script, clock: DrivenClock) -> None:
    script.call("taobao.tmc.user.permit", topics="taobao_trade_TradeBuyerStepPay,taobao_trade_TradeBuyerPay")
    tid = order(server, "place", type="step")["tid"]
    assert shown(script, tid)["step_trade_status"] == "FRONT_NOPAID_FINAL_NOPAID"
    order(server, "pay_deposit", tid=tid)
    waiting = shown(script, tid)
    assert waiting["status"] in ("WAIT_BUYER_PAY", "TRADE_NO_CREATE_PAY")
    assert waiting["step_trade_status"] == "FRONT_PAID_FINAL_NOPAID"
    assert "pay_time" not in waiting
    assert 0 < Decimal(waiting["step_paid_fee"]) < Decimal(waiting["payment"])
    order(server, "pay_deposit", 400, tid=tid)
    clock.advance(60)
    order(server, "pay", tid=tid)
    over = shown(script, tid)
    assert (over["status"], over["step_trade_status"]) == ("WAIT_SELLER_SEND_GOODS", "FRONT_PAID_FINAL_PAID")
    assert (over["step_paid_fee"], over["new_presell"]) == (over["payment"], True)
    told = [topic for topic, content in topics(script) if content["tid"] == tid]
    assert told == ["trade_TradeBuyerStepPay", "trade_TradeBuyerPay"]


def test_a_deposit_may_be_lost_or_given_back(server: SandboxServer, script: Script) -> None:
    lost, back = (order(server, "place", type="step")["tid"] for _ in range(2))
    for tid in (lost, back):
        order(server, "pay_deposit", tid=tid)
    order(server, "forfeit", tid=lost)
    forfeited = shown(script, lost)
    assert forfeited["step_trade_status"] == "FRONT_PAID_FRONT_FORFEITED"
    assert forfeited["status"] == "TRADE_CLOSED_BY_TAOBAO"
    deposit = shown(script, back)["step_paid_fee"]
    refund(server, back, "WAIT_SELLER_AGREE")
    returned = detail(script, refund(server, back, "SUCCESS"))
    assert (returned["refund_fee"], shown(script, back)["status"]) == (deposit, "TRADE_CLOSED")


def test_the_buyer_may_change_what_was_ordered_in_advance(server: SandboxServer, script: Script) -> None:
    tid = order(server, "place", type="step")["tid"]
    order(server, "pay_deposit", tid=tid)
    before = shown(script, tid)["orders"]["order"][0]
    order(server, "change_sku", tid=tid, variant=2)
    order(server, "change_quantity", tid=tid, quantity=3)
    after = shown(script, tid)["orders"]["order"][0]
    assert (after["num"], int(after["sku_id"]) - int(before["sku_id"])) == (3, 2)
    order(server, "change_sku", 400, tid=tid, variant=4)
    order(server, "change_sku", 400, tid=tid, line=1)
    order(server, "change_quantity", 400, tid=tid, quantity=0)


def test_a_presale_paid_in_full_promises_a_day(server: SandboxServer, script: Script) -> None:
    tid = paid(server, presale_days=10)
    trade = shown(script, tid)
    assert (trade["type"], trade["new_presell"]) == ("fixed", True)
    assert "step_trade_status" not in trade
    assert trade["send_time"] in trade["est_con_time"] == trade["orders"]["order"][0]["estimate_con_time"]
    ordinary = shown(script, paid(server))
    assert {"new_presell", "send_time", "est_con_time"}.isdisjoint(ordinary)


@pytest.mark.parametrize("name", ["top_hold", "forbid_consign", "team_buy_hold"])
def test_holds_come_and_go(server: SandboxServer, script: Script, name: str) -> None:
    tid = paid(server)
    order(server, "hold", tid=tid, name=name)
    held = shown(script, tid)
    expected = "PAID_FORBID_CONSIGN" if name == "team_buy_hold" else "WAIT_SELLER_SEND_GOODS"
    assert (held[name], held["status"]) == (1, expected)
    order(server, "hold", tid=tid, name=name, value=False)
    free = shown(script, tid)
    assert (free.get(name), free["status"]) == (None, "WAIT_SELLER_SEND_GOODS")
    order(server, "hold", 400, tid=tid, name="nonsense")


def test_another_address_is_another_addressee(server: SandboxServer, script: Script) -> None:
    script.call("taobao.tmc.user.permit", topics="taobao_trade_TradeLogisticsAddressChanged")
    tid = paid(server)
    before = shown(script, tid)
    order(server, "change_address", tid=tid)
    after = shown(script, tid)
    assert before["oaid"] != after["oaid"]
    assert before["receiver_address"] != after["receiver_address"]
    ((topic, content),) = [told for told in topics(script) if told[1]["tid"] == tid]
    assert (topic, set(content)) == (
        "trade_TradeLogisticsAddressChanged", {"tid", "buyer_nick", "buyer_open_uid"},
    )  # fmt: skip


def test_a_gift_costs_nothing(server: SandboxServer, script: Script) -> None:
    tid = paid(server, lines=[{"product_id": 1}, {"product_id": 2, "unit_price": 0}])
    assert [line["payment"] for line in shown(script, tid)["orders"]["order"]] == ["100.00", "0.00"]


def test_several_refunds_of_a_line_add_up_and_the_last_one_closes_it(server: SandboxServer, script: Script) -> None:
    tid = paid(server, lines=[{"product_id": 1, "quantity": 2}, {"product_id": 2}])
    whole = Decimal(shown(script, tid)["orders"]["order"][0]["divide_order_fee"])
    first = refund(server, tid, "WAIT_SELLER_AGREE", fee=3_000, quantity=1)
    assert (detail(script, first)["refund_fee"], detail(script, first)["num"]) == ("30.00", 1)
    refund(server, tid, "SUCCESS", fee=3_000, quantity=1)
    line = shown(script, tid)["orders"]["order"][0]
    assert (line["status"], line["refund_status"]) == ("WAIT_SELLER_SEND_GOODS", "SUCCESS")
    assert Decimal(detail(script, first)["payment"]) == whole - 30
    act(server, "refunds", 400, tid=tid, status="WAIT_SELLER_AGREE", number=1, fee=int(whole * 100))
    second = refund(server, tid, "WAIT_SELLER_AGREE", number=1)
    assert second != first
    assert Decimal(detail(script, second)["refund_fee"]) == whole - 30
    refund(server, tid, "SUCCESS", number=1)
    trade = shown(script, tid)
    assert [line["status"] for line in trade["orders"]["order"]] == ["TRADE_CLOSED", "WAIT_SELLER_SEND_GOODS"]
    assert trade["orders"]["order"][0]["refund_id"] == second
    listed = script.call(REFUNDS, fields="refund_id,tid,refund_fee", type=ALL_TYPES, status="SUCCESS")
    fees = {row["refund_id"]: row["refund_fee"] for row in listed["refunds"]["refund"] if row["tid"] == tid}
    assert (set(fees), sum(map(Decimal, fees.values()))) == ({first, second}, whole)


def test_a_refund_may_be_asked_for_again(server: SandboxServer, script: Script, clock: DrivenClock) -> None:
    tid = paid(server)
    steps = [("WAIT_SELLER_AGREE", False), ("CLOSED", True), ("WAIT_SELLER_AGREE", False), ("SUCCESS", True)]
    seen = []
    for status, _ in steps:
        clock.advance(60)
        seen.append(refund(server, tid, status))
        assert detail(script, seen[-1])["status"] == status
    assert len(set(seen)) == 1
    assert detail(script, seen[0])["created"] < detail(script, seen[0])["modified"]


def test_goods_for_goods_move_no_money(server: SandboxServer, script: Script) -> None:
    script.call("taobao.tmc.user.permit", topics="taobao_refund_RefundCreated,taobao_refund_RefundSuccess")
    tid = paid(server)
    order(server, "consign", tid=tid)
    order(server, "finish", tid=tid)
    for status in ("WAIT_SELLER_AGREE", "WAIT_BUYER_RETURN_GOODS", "WAIT_SELLER_CONSIGN_GOODS", "SUCCESS"):
        exchanged = refund(server, tid, status, kind="TMALL_EXCHANGE")
    over = detail(script, exchanged)
    assert (over["refund_fee"], over["dispute_type"], over["refund_phase"]) == ("0.00", "TMALL_EXCHANGE", "aftersale")
    trade = shown(script, tid)
    assert (trade["status"], trade["received_payment"]) == ("TRADE_FINISHED", trade["payment"])
    assert {content["bill_type"] for _, content in topics(script)} == {"replace_bill"}
    act(server, "refunds", 400, tid=tid, status="SUCCESS", kind="NONSENSE")


def test_what_is_said_about_a_refund_and_who_steps_in(server: SandboxServer, script: Script) -> None:
    script.call("taobao.tmc.user.permit")
    tid = paid(server)
    topics(script)
    order(server, "consign", tid=tid)
    refund_id = refund(server, tid, "WAIT_SELLER_AGREE")
    refund(server, tid, "WAIT_SELLER_AGREE", said="请尽快处理/谢谢")
    refund(server, tid, "WAIT_SELLER_AGREE", fee=2_000)
    refund(server, tid, "WAIT_SELLER_AGREE", fee=2_000, cs_status=2)
    refund(server, tid, "WAIT_SELLER_AGREE", fee=2_000, cs_status=3)
    refund(server, tid, "WAIT_BUYER_RETURN_GOODS", fee=2_000)
    assert detail(script, refund_id)["cs_status"] == 3
    told = [topic for topic, content in topics(script) if content.get("refund_id") == refund_id]
    assert told == [
        "refund_RefundCreated", "refund_RefundCreateMessage", "refund_RefundBuyerModifyAgreement",
        "refund_TaobaoInterApplied", "refund_TaobaoIntervened", "refund_RefundSellerAgreeAgreement",
    ]  # fmt: skip
    fields = "id,content,message_type,owner_role,created,refund_id"
    answer = script.call(MESSAGES, fields=fields, refund_id=refund_id, refund_phase="onsale")
    said = answer["refund_messages"]["refund_message"]
    assert (answer["total_results"], said[1]["content"]) == (6, "请尽快处理/谢谢")
    assert [one["message_type"] for one in said].count("RETURN_GOODS_APPROVED") == 1
    assert {one["owner_role"] for one in said} == {"1", "2", "3"}
    assert len({one["id"] for one in said}) == 6
    # A Tmall shop must name the phase (contract 3.6).
    assert script.call(MESSAGES, fields=fields, refund_id=refund_id)["code"] == 40
    assert script.call(MESSAGES, fields=fields, refund_id=5, refund_phase="onsale")["code"] == 15
    page = script.call(MESSAGES, fields="id", refund_id=refund_id, refund_phase="onsale", page_no=2, page_size=4)
    assert [list(one) for one in page["refund_messages"]["refund_message"]] == [["id"], ["id"]]
    script.call("taobao.tmc.user.cancel", nick=DEMO_SHOP.seller_nick)


def test_a_refund_may_be_seen_before_its_order(market: Marketplace, server: SandboxServer, script: Script) -> None:
    market.faults.switch_on(Fault("arrival_delay", seconds=600))
    market.faults.switch_on(Fault("stale_detail", method=FULLINFO, seconds=600))
    tid = paid(server)
    refund_id = refund(server, tid, "WAIT_SELLER_AGREE")
    assert script.call(FULLINFO, fields="tid", tid=tid)["sub_code"] == "isv.trade-not-exist"
    assert detail(script, refund_id)["status"] == "WAIT_SELLER_AGREE"
    market.faults.clear()
    assert shown(script, tid)["status"] == "WAIT_SELLER_SEND_GOODS"


@pytest.mark.parametrize(
    ("where", "body", "status"),
    [
        ("orders", {"action": "pay", "tid": 5}, 404),
        ("orders", {"action": "fly", "tid": 5}, 400),
        ("orders", {"action": "pay"}, 400),
        ("orders", {"action": "pay", "tid": 5, "speed": 3}, 400),
        ("refunds", {"tid": 5, "status": "SUCCESS"}, 404),
        ("stock", {"sku_id": 5, "set": 1}, 404),
    ],
)
def test_what_cannot_be_is_refused(server: SandboxServer, where: str, body: dict[str, Any], status: int) -> None:
    assert act(server, where, status, **body)["error"]


def test_the_shop_lives_all_of_it(server: SandboxServer) -> None:
    trades = truth(server.url, DEMO_SHOP.id)
    seen = Counter(
        name
        for trade in trades
        for name, is_so in {
            "paid in full before it is there": trade.get("new_presell") and "step_trade_status" not in trade,
            "only the deposit": trade.get("step_trade_status") == "FRONT_PAID_FINAL_NOPAID",
            "bundle": any("combine_item_info" in line for line in trade["orders"]["order"]),
            "gift": any(
                "gift_item_id" in promotion
                for promotion in trade.get("promotion_details", {}).get("promotion_detail", [])
            ),
        }.items()
        if is_so
    )
    assert len(seen) == 4, seen
