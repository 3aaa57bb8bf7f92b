from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from order_pipeline.sandbox.marketplace import Marketplace
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline_tests.sandbox.conftest import NOW, OTHER_SHOP
from order_pipeline_tests.sandbox.contract_script import FORMAT, GMT8, Script

LIST = "taobao.trades.sold.get"
INCREMENT = "taobao.trades.sold.increment.get"
DETAIL = "taobao.trade.fullinfo.get"


def at(hours: float) -> str:
    return (NOW + timedelta(hours=hours)).strftime(FORMAT)


def refused(script: Script, changes: dict[str, str | None], method: str = LIST, verb: str = "POST") -> dict[str, Any]:
    parameters = script.parameters(method, fields="tid")
    for name, value in changes.items():
        if value is None:
            parameters.pop(name, None)
        else:
            parameters[name] = value
    response = script.send(parameters, verb)
    assert response.status_code == 200
    error: dict[str, Any] = response.json()["error_response"]
    assert error["request_id"]
    return error


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"method": None}, 21),
        ({"method": "taobao.no.such.get"}, 22),
        ({"sign": "0" * 32}, 25),
        ({"sign_method": "sha1"}, 25),
        ({"session": None}, 26),
        ({"session": "nonsense"}, 27),
        ({"session": OTHER_SHOP.session_key}, 27),
        ({"app_key": None}, 28),
        ({"app_key": "1"}, 29),
        ({"timestamp": None}, 30),
        ({"timestamp": "2026-13-01 00:00:00"}, 31),
        ({"v": None}, 32),
        ({"v": "1.0"}, 33),
        ({"fields": None}, 40),
        ({"fields": "no_such_field"}, 41),
        ({"page_size": "101"}, 41),
        ({"page_size": "0"}, 41),
        ({"page_no": "0"}, 41),
        ({"page_no": "one"}, 41),
        ({"type": "nonsense"}, 41),
        ({"status": "NONSENSE"}, 41),
        ({"start_created": "yesterday"}, 41),
        ({"start_created": at(-1), "end_created": at(-1)}, 41),
    ],
)
def test_a_wrong_call_gets_its_documented_code(script: Script, changes: dict[str, str | None], code: int) -> None:
    assert refused(script, changes)["code"] == code


def test_a_call_without_signature_gets_24(script: Script) -> None:
    response = script.http.post(script.url, data=script.parameters("taobao.time.get"), timeout=60)
    assert response.json()["error_response"]["code"] == 24


def test_a_rejected_format_is_answered_in_xml(script: Script) -> None:
    response = script.send(script.parameters("taobao.time.get", format="yaml"))
    assert "<error_response>" in response.text
    assert "<code>23</code>" in response.text


def test_other_verbs_get_9(script: Script) -> None:
    assert refused(script, {}, verb="PUT")["code"] == 9


@pytest.mark.parametrize(("minutes", "accepted"), [(-11, False), (-9, True), (9, True), (11, False)])
def test_the_timestamp_may_be_ten_minutes_off(script: Script, minutes: int, accepted: bool) -> None:
    for moment in (NOW, datetime.now(GMT8)):
        answer = script.call("taobao.time.get", timestamp=(moment + timedelta(minutes=minutes)).strftime(FORMAT))
        assert ("time" in answer) is accepted
        assert answer.get("code") == (None if accepted else 31)


def test_epoch_milliseconds_are_a_timestamp_too(script: Script) -> None:
    assert "time" in script.call("taobao.time.get", timestamp=int(NOW.timestamp() * 1000))


def test_the_missing_argument_is_named(script: Script) -> None:
    assert script.call(DETAIL, fields="tid")["msg"] == "Missing required arguments:tid"
    assert script.call(INCREMENT, fields="tid", end_modified=at(0))["msg"].endswith(":start_modified")
    assert script.call(INCREMENT, fields="tid", start_modified=at(0))["msg"].endswith(":end_modified")


@pytest.mark.parametrize(("start", "end"), [(-1, -1), (-1, -2), (-24.01, 0)])
def test_an_increment_window_rises_and_spans_a_day_at_most(script: Script, start: float, end: float) -> None:
    error = script.call(INCREMENT, fields="tid", start_modified=at(start), end_modified=at(end))
    assert (error["code"], error["sub_code"]) == (41, "isv.invalid-parameter")


def test_a_whole_day_is_not_too_long(script: Script) -> None:
    assert "total_results" in script.call(INCREMENT, fields="tid", start_modified=at(-24), end_modified=at(0))


def test_foreign_and_unknown_orders_do_not_exist(script: Script, market: Marketplace) -> None:
    foreign = market.place_order(OTHER_SHOP.id)
    for tid in (foreign, 1):
        error = script.call(DETAIL, fields="tid", tid=tid)
        assert (error["code"], error["sub_code"]) == (15, "isv.trade-not-exist")
    assert script.call(DETAIL, fields="tid", tid="abc")["msg"] == "Invalid arguments:tid"


def test_an_expired_session_is_named(script: Script, market: Marketplace) -> None:
    market.expire_session(DEMO_SHOP.id)
    error = script.call(LIST, fields="tid")
    assert (error["code"], error["sub_code"], error["msg"]) == (
        27,
        "session-expired",
        "Invalid session:session-expired",
    )
    assert "time" in script.call("taobao.time.get")
    market.renew_session(DEMO_SHOP.id)
    assert "trades" in script.call(LIST, fields="tid")
