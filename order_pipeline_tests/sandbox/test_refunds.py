"""Refunds over the wire as contract 3.6 and 4.3 have them, and their truth."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import requests

from order_pipeline.sandbox.clock import DrivenClock, from_ms
from order_pipeline.sandbox.demand import BasketLine
from order_pipeline.sandbox.faults import Fault
from order_pipeline.sandbox.marketplace import Marketplace
from order_pipeline.sandbox.server import SandboxServer
from order_pipeline.sandbox.settings import SandboxSettings, open_marketplace
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline_tests.sandbox.conftest import NOW, OTHER_SHOP
from order_pipeline_tests.sandbox.contract_script import ALL_TYPES, FORMAT, Script, truth

LIST = "taobao.refunds.receive.get"
DETAIL = "taobao.refund.get"
LISTED = (
    "refund_id,tid,oid,status,order_status,good_status,has_good_return,refund_fee,total_fee,payment,num,title,sku,"
    "outer_id,reason,desc,created,modified,end_time,company_name,sid,refund_phase,refund_version,dispute_type,"
    "operation_contraint,attribute,buyer_nick,buyer_open_uid,seller_nick"
)
ALL = LISTED + (
    ",num_iid,good_return_time,price,address,alipay_no,shipping_type,cs_status,advance_status,refund_remind_timeout"
)
LINE = BasketLine(1, "测试商品/一件", "测试", 1, 10_000, 10_000, 0)


@pytest.fixture
def market() -> Marketplace:
    return open_marketplace(
        SandboxSettings(shops=(DEMO_SHOP, OTHER_SHOP), seed=3, orders=1_600, days=30, driven_from=NOW)
    )


@pytest.fixture
def server(market: Marketplace) -> Iterator[SandboxServer]:
    with SandboxServer(market) as running:
        yield running


def refunds_of(server: SandboxServer, shop: str = DEMO_SHOP.id) -> list[dict[str, Any]]:
    response = requests.get(server.url + "/sandbox/truth/refunds", params={"shop": shop}, timeout=60)
    assert response.status_code == 200
    assert response.headers["x-platform-now"]
    return [json.loads(line) for line in response.text.splitlines()]


def listed(script: Script, fields: str = LISTED, **business: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    page_no = 1
    while True:
        answer = script.call(LIST, fields=fields, page_no=page_no, page_size=17, use_has_next="true", **business)
        assert "total_results" not in answer
        rows += answer.get("refunds", {}).get("refund", [])
        if not answer["has_next"]:
            return rows
        page_no += 1


def detail(script: Script, refund_id: int, fields: str = ALL) -> dict[str, Any]:
    found: dict[str, Any] = script.call(DETAIL, fields=fields, refund_id=refund_id)["refund"]
    return found


def test_the_list_and_the_details_are_the_truth(server: SandboxServer, script: Script) -> None:
    known = {refund["refund_id"]: refund for refund in refunds_of(server)}
    rows = listed(script, type=ALL_TYPES)
    assert len(rows) > 60
    assert [row["modified"] for row in rows] == sorted((row["modified"] for row in rows), reverse=True)
    assert {row["refund_id"] for row in rows} == set(known)
    for row in rows:
        whole = known[row["refund_id"]]
        assert row == {name: value for name, value in whole.items() if name in LISTED.split(",")}
    for refund_id in list(known)[:20]:
        assert detail(script, refund_id) == known[refund_id]


def test_refunds_agree_with_the_lines_they_are_of(server: SandboxServer) -> None:
    lines = {
        line["oid"]: (trade, line) for trade in truth(server.url, DEMO_SHOP.id) for line in trade["orders"]["order"]
    }
    refunds = refunds_of(server)
    latest = {line["refund_id"] for _, line in lines.values() if "refund_id" in line}
    assert latest <= {refund["refund_id"] for refund in refunds}
    assert len(latest) >= 0.95 * len(refunds)
    for refund in refunds:
        trade, line = lines[refund["oid"]]
        assert refund["tid"] == trade["tid"]
        fee, whole = Decimal(refund["refund_fee"]), Decimal(line["divide_order_fee"])
        if refund["refund_id"] == line["refund_id"]:
            assert (refund["status"], refund["num"]) == (line["refund_status"], line["num"])
        if refund["dispute_type"] in ("REFUND", "REFUND_AND_RETURN"):
            is_deposit = trade.get("step_trade_status") == "FRONT_PAID_FINAL_NOPAID"
            assert 0 < fee <= whole if is_deposit or Decimal(refund["payment"]) else fee == whole
        else:
            assert fee == 0
        assert trade["created"] <= refund["created"] <= refund["modified"] <= trade["modified"]
        assert ("end_time" in refund) == (refund["status"] in ("SUCCESS", "CLOSED"))
        assert ("sid" in refund) == (refund["good_status"] == "BUYER_RETURNED_GOODS") <= refund["has_good_return"]
        assert refund["refund_phase"] in ("onsale", "aftersale")
        assert {name for name in refund if refund[name] is None} == set()


def test_only_two_types_come_unless_others_are_named(server: SandboxServer, script: Script) -> None:
    types = {trade["tid"]: trade["type"] for trade in truth(server.url, DEMO_SHOP.id, "tid,type")}
    by_default = {types[row["tid"]] for row in listed(script)}
    everything = {types[row["tid"]] for row in listed(script, type=ALL_TYPES)}
    assert by_default <= {"fixed", "auction", "auto_delivery"}
    assert by_default < everything


def test_windows_and_statuses_filter(server: SandboxServer, script: Script) -> None:
    known = refunds_of(server)
    start, end = (NOW - timedelta(days=9)).strftime(FORMAT), (NOW - timedelta(days=2)).strftime(FORMAT)
    window = {"start_modified": start, "end_modified": end, "type": ALL_TYPES}
    inside = {refund["refund_id"] for refund in known if start <= refund["modified"] < end}
    assert {row["refund_id"] for row in listed(script, **window)} == inside != set()
    done = {refund["refund_id"] for refund in known if refund["status"] == "SUCCESS"}
    assert {row["refund_id"] for row in listed(script, status="SUCCESS", type=ALL_TYPES)} == done
    counted = script.call(LIST, fields="refund_id", type=ALL_TYPES)
    assert counted["total_results"] == len(known)
    assert len(counted["refunds"]["refund"]) == 40
    assert "has_next" not in counted


def test_a_refund_has_times_of_its_own(market: Marketplace, script: Script, clock: DrivenClock) -> None:
    script.call("taobao.tmc.user.permit", topics="taobao_refund_RefundCreated,taobao_refund_RefundBuyerReturnGoods")
    tid = market.place_order(DEMO_SHOP.id, lines=(LINE, LINE), order_type="fixed")
    market.touch(DEMO_SHOP.id, tid, status="WAIT_SELLER_SEND_GOODS", paid_at=int(NOW.timestamp()))
    clock.advance(60)
    market.move_refund(DEMO_SHOP.id, tid, "WAIT_SELLER_AGREE", lines=(1,))
    asked = from_ms(clock.now_ms()).strftime(FORMAT)
    line = script.call("taobao.trade.fullinfo.get", fields="orders", tid=tid)["trade"]["orders"]["order"][1]
    refund_id = line["refund_id"]
    clock.advance(60)
    market.edit_memo(DEMO_SHOP.id, tid, "已催")
    refund = detail(script, refund_id)
    assert (refund["created"], refund["modified"], refund["oid"]) == (asked, asked, line["oid"])
    assert (refund["status"], refund["good_status"]) == ("WAIT_SELLER_AGREE", "BUYER_NOT_RECEIVED")
    assert refund["order_status"] == "WAIT_SELLER_SEND_GOODS"
    for status in ("WAIT_BUYER_RETURN_GOODS", "WAIT_SELLER_CONFIRM_GOODS", "SUCCESS"):
        clock.advance(60)
        market.move_refund(DEMO_SHOP.id, tid, status, lines=(1,))
    over = detail(script, refund_id)
    now = from_ms(clock.now_ms()).strftime(FORMAT)
    assert (over["created"], over["modified"], over["end_time"], over["status"]) == (asked, now, now, "SUCCESS")
    assert (over["has_good_return"], over["dispute_type"]) == (True, "REFUND_AND_RETURN")
    assert over["refund_version"] > refund["refund_version"]
    messages = script.call("taobao.tmc.messages.consume")["messages"]["tmc_message"]
    told = [
        (message["topic"].removeprefix("taobao_refund_Refund"), json.loads(message["content"])) for message in messages
    ]
    mine = [(topic, content["bill_type"]) for topic, content in told if content["refund_id"] == refund_id]
    assert mine == [("Created", "refund_bill"), ("BuyerReturnGoods", "return_bill")]
    with pytest.raises(ValueError, match="SELLER_REFUSE_BUYER"):
        market.move_refund(DEMO_SHOP.id, tid, "NO_REFUND")


@pytest.mark.parametrize(
    ("method", "business", "code"),
    [
        (LIST, {}, 40),
        (LIST, {"fields": "nothing"}, 41),
        (LIST, {"fields": "refund_id", "status": "DONE"}, 41),
        (LIST, {"fields": "refund_id", "type": "nonsense"}, 41),
        (LIST, {"fields": "refund_id", "page_size": 101}, 41),
        (LIST, {"fields": ",".join(["tid"] * 101)}, 41),
        (LIST, {"fields": "refund_id", "session": ""}, 26),
        (DETAIL, {"fields": "refund_id"}, 40),
        (DETAIL, {"fields": "refund_id", "refund_id": "x"}, 41),
        (DETAIL, {"fields": "refund_id", "refund_id": 1}, 15),
    ],
)
def test_a_wrong_call_gets_its_code(script: Script, method: str, business: dict[str, Any], code: int) -> None:
    assert script.call(method, **business)["code"] == code


def test_another_shops_refunds_do_not_exist(server: SandboxServer, script: Script) -> None:
    foreign = refunds_of(server, OTHER_SHOP.id)[0]["refund_id"]
    assert script.call(DETAIL, fields="refund_id", refund_id=foreign)["code"] == 15
    unknown = requests.get(server.url + "/sandbox/truth/refunds", params={"shop": "nobody"}, timeout=60)
    assert unknown.status_code == 404


def test_faults_strike_refunds_too(
    market: Marketplace, server: SandboxServer, script: Script, clock: DrivenClock
) -> None:
    before = listed(script, type=ALL_TYPES)
    clock.advance(86_400)
    now = listed(script, type=ALL_TYPES)
    assert now != before
    market.faults.switch_on(Fault("stale_list", method=LIST, seconds=86_400))
    assert listed(script, type=ALL_TYPES) == before
    market.faults.switch_on(Fault("odd_record", method=LIST, kind="ids_as_text", rate=0.5))
    kinds = {type(row["refund_id"]) for row in listed(script, type=ALL_TYPES)}
    assert kinds == {int, str}
    market.faults.clear()
    assert listed(script, type=ALL_TYPES) == now
    assert len(refunds_of(server)) == len(now)
