"""The gateway as the contract describes it, driven by a script that shares no code with any client."""

from __future__ import annotations

import gzip
import json
import re
import urllib.request
import xml.etree.ElementTree as ET
from datetime import timedelta
from typing import Any

import pytest
import requests

from order_pipeline.sandbox.server import SandboxServer
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline_tests.sandbox.conftest import NOW
from order_pipeline_tests.sandbox.contract_script import ALL_TYPES, Script, sign, truth

DAY = (NOW - timedelta(days=3)).replace(hour=0)
DETAIL = (
    "tid,status,type,created,modified,pay_time,payment,seller_memo,buyer_message,receiver_name,receiver_address,"
    "receiver_mobile,receiver_phone,oaid,promotion_details,orders"
)


def some_tid(script: Script) -> int:
    return int(script.created(DAY, fields="tid")[0]["tid"])


def test_a_listed_day_and_its_details_are_the_truth(server: SandboxServer, script: Script) -> None:
    listed = script.created(DAY, fields="tid,created,modified,status,payment", type=ALL_TYPES, page_size=17)
    known = {
        trade["tid"]: trade
        for trade in truth(server.url, DEMO_SHOP.id, DETAIL)
        if trade["created"].startswith(DAY.strftime("%Y-%m-%d"))
    }
    assert len(listed) > 30
    assert [row["created"] for row in listed] == sorted((row["created"] for row in listed), reverse=True)
    assert {row["tid"] for row in listed} == set(known)
    for row in listed:
        detail = script.call("taobao.trade.fullinfo.get", fields=DETAIL, tid=row["tid"])["trade"]
        assert detail == known[row["tid"]]
        assert {name: detail[name] for name in row} == row


@pytest.mark.parametrize("method", ["md5", "hmac", "hmac-sha256"])
def test_every_sign_method_is_accepted(script: Script, method: str) -> None:
    assert "time" in script.call("taobao.time.get", sign_method=method)


def test_parameters_in_the_query_and_in_the_form_are_one_call(server: SandboxServer, script: Script) -> None:
    everything = script.parameters("taobao.trade.fullinfo.get", fields="tid", tid=some_tid(script))
    everything["sign"] = sign(everything, script.secret, "md5")
    form = {name: everything.pop(name) for name in ("fields", "tid")}
    answer = requests.post(server.gateway_url, params=everything, data=form, timeout=60).json()
    assert answer["trade_fullinfo_get_response"]["trade"]["tid"] == int(form["tid"])


def test_a_call_may_be_a_get(script: Script) -> None:
    answer = script.send(script.parameters("taobao.time.get"), "GET").json()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", answer["time_get_response"]["time"])


def test_ids_are_19_digit_numbers_above_what_a_double_holds(script: Script) -> None:
    tid = some_tid(script)
    body = script.send(script.parameters("taobao.trade.fullinfo.get", fields="tid,orders", tid=tid)).text
    assert f'"tid":{tid}' in body
    assert len(str(tid)) == 19
    assert re.search(r'"oid":\d{19}[,}]', body)


def test_keys_are_alphabetical_with_the_request_id_last(script: Script) -> None:
    def check(value: Any) -> None:
        if isinstance(value, list):
            for item in value:
                check(item)
        elif isinstance(value, dict):
            names = list(value)
            if "request_id" in names:
                assert names.pop() == "request_id"
            assert names == sorted(names)
            for item in value.values():
                check(item)

    fields = "tid,status,orders,receiver_name,created,modified,payment,has_buyer_message"
    answer = script.send(script.parameters("taobao.trades.sold.get", fields=fields)).json()
    assert list(answer["trades_sold_get_response"]) == ["total_results", "trades", "request_id"]
    check(answer)


def test_slashes_are_escaped_and_chinese_is_raw(script: Script) -> None:
    body = script.send(
        script.parameters("taobao.trades.sold.get", fields="pic_path,title,receiver_state,orders")
    ).content
    assert b"https:\\/\\/img" in body
    assert not re.search(rb"(?<!\\)/", body)
    assert "沙箱测试旗舰店".encode() in body


def test_a_value_that_is_not_there_is_left_out(server: SandboxServer, script: Script) -> None:
    wanted = "tid,status,pay_time,consign_time,end_time,receiver_phone,step_trade_status,orders"
    unpaid = next(
        trade
        for trade in truth(server.url, DEMO_SHOP.id)
        if trade["status"] == "TRADE_CLOSED_BY_TAOBAO" and trade["type"] == "fixed" and "receiver_phone" not in trade
    )
    response = script.send(script.parameters("taobao.trade.fullinfo.get", fields=wanted, tid=unpaid["tid"]))
    detail = response.json()["trade_fullinfo_get_response"]["trade"]
    assert set(detail) == {"tid", "status", "end_time", "orders"}
    assert "null" not in response.text
    assert detail["orders"]["order"][0]["refund_status"] == "NO_REFUND"
    assert not {"refund_id", "invoice_no", "consign_time"} & set(detail["orders"]["order"][0])


def test_only_the_selected_fields_come_back(script: Script) -> None:
    tid = some_tid(script)
    whole = script.call("taobao.trade.fullinfo.get", fields="tid,orders", tid=tid)["trade"]
    dotted = script.call("taobao.trade.fullinfo.get", fields="orders.oid,orders.num,tid", tid=tid)["trade"]
    both = script.call("taobao.trade.fullinfo.get", fields="orders.oid,orders", tid=tid)["trade"]
    assert set(whole) == {"tid", "orders"}
    assert len(whole["orders"]["order"][0]) > 20
    assert all(set(line) == {"oid", "num"} for line in dotted["orders"]["order"])
    assert both["orders"] == whole["orders"]


def test_lists_lack_what_only_the_detail_has(script: Script) -> None:
    wanted = "tid,buyer_message,seller_memo,promotion_details,timeout_action_time,tid_str,send_time,trade_from,sid"
    listed = script.created(DAY, fields=wanted)
    assert {name for trade in listed for name in trade} == {"tid", "send_time", "trade_from", "sid"}
    window = {"start_modified": DAY.strftime("%Y-%m-%d 00:00:00"), "end_modified": DAY.strftime("%Y-%m-%d 23:59:59")}
    changed = script.pages("taobao.trades.sold.increment.get", fields=wanted, **window)
    assert {name for trade in changed for name in trade} == {"tid"}


def test_oaid_needs_all_five_addressee_fields(script: Script) -> None:
    tid = some_tid(script)
    five = "receiver_name,receiver_address,created,receiver_mobile,receiver_phone"
    assert "oaid" in script.call("taobao.trade.fullinfo.get", fields=f"oaid,{five}", tid=tid)["trade"]
    assert (
        "oaid"
        not in script.call("taobao.trade.fullinfo.get", fields=f"oaid,{five.removesuffix(',receiver_phone')}", tid=tid)[
            "trade"
        ]
    )


def test_addressees_are_masked(server: SandboxServer) -> None:
    for trade in truth(server.url, DEMO_SHOP.id, "receiver_name,receiver_mobile,receiver_address,buyer_nick"):
        assert trade["receiver_name"].endswith("**")
        assert trade["receiver_mobile"].endswith("****")
        assert "**" in trade["receiver_address"]
        assert trade["buyer_nick"].endswith("**")


def test_xml_is_the_default_format(script: Script) -> None:
    parameters = script.parameters("taobao.trades.sold.get", fields="tid,title,orders.oid", page_size=2)
    del parameters["format"]
    response = script.send(parameters)
    assert response.headers["content-type"].startswith("text/xml")
    root = ET.fromstring(response.content)
    assert root.tag == "trades_sold_get_response"
    assert len(root.findall("trades/trade")) == 2
    assert root.findtext("trades/trade/orders/order/oid")
    assert root.findtext("trades/trade/title") == "沙箱测试旗舰店"
    del parameters["app_key"]
    error = ET.fromstring(script.send(parameters).content)
    assert (error.tag, error.findtext("code")) == ("error_response", "28")


def test_simplify_removes_the_root_and_the_list_wrappers(script: Script) -> None:
    parameters = script.parameters("taobao.trades.sold.get", fields="tid,orders.oid", page_size=3, simplify="true")
    answer = script.send(parameters).json()
    assert set(answer) == {"total_results", "trades", "request_id"}
    assert len(answer["trades"]) == 3
    assert isinstance(answer["trades"][0]["orders"], list)
    error = script.send(script.parameters("taobao.trade.fullinfo.get", fields="tid", simplify="true")).json()
    assert error["error_response"]["code"] == 40


def test_large_answers_are_compressed_for_those_who_ask(server: SandboxServer, script: Script) -> None:
    def raw(parameters: dict[str, str], accept: str) -> tuple[str | None, bytes]:
        signed = parameters | {"sign": sign(parameters, script.secret, "md5")}
        body = urllib.parse.urlencode(signed).encode()
        request = urllib.request.Request(server.gateway_url, body, {"Accept-Encoding": accept})
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.headers.get("content-encoding"), response.read()

    large = script.parameters("taobao.trades.sold.get", fields="tid,orders", page_size=100)
    encoding, body = raw(large, "gzip")
    assert encoding == "gzip"
    assert len(json.loads(gzip.decompress(body))["trades_sold_get_response"]["trades"]["trade"]) == 100
    assert raw(large, "identity")[0] is None
    assert raw(script.parameters("taobao.time.get"), "gzip")[0] is None
