"""Faults below and inside an answer, met by plain ``requests``; the truth never knows of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from order_pipeline.sandbox.faults import CATALOGUE
from order_pipeline.sandbox.server import SandboxServer
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline_tests.sandbox.conftest import OTHER_SHOP
from order_pipeline_tests.sandbox.contract_script import Script, truth

LIST = "taobao.trades.sold.get"
FIELDS = "tid,num,type,status,title,created,modified,payment,total_fee,seller_flag,orders"


@pytest.fixture(autouse=True)
def _no_faults_afterwards(server: SandboxServer) -> Iterator[None]:
    yield
    requests.delete(server.url + "/sandbox/faults", timeout=60)


def switch_on(server: SandboxServer, name: str, **options: object) -> None:
    response = requests.post(server.url + "/sandbox/faults", json={"name": name, **options}, timeout=60)
    assert response.status_code == 200, response.text


def raw(script: Script, **business: Any) -> requests.Response:
    return script.send(script.parameters(LIST, fields=FIELDS, page_size=50, **business))


def trades(script: Script) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = raw(script).json()["trades_sold_get_response"]["trades"]["trade"]
    return found


@pytest.mark.parametrize("kind", ["before", "midway"])
def test_a_connection_may_be_reset(server: SandboxServer, script: Script, kind: str) -> None:
    switch_on(server, "connection_reset", kind=kind, count=1)
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        raw(script)
    assert raw(script).status_code == 200


def test_a_body_may_stop_short_of_its_length(server: SandboxServer, script: Script) -> None:
    switch_on(server, "short_body", count=1)
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        raw(script)
    assert raw(script).json()


def test_compressed_bytes_may_be_cut_off(server: SandboxServer, script: Script) -> None:
    switch_on(server, "truncated_gzip")
    response = raw(script)
    assert response.headers["content-encoding"] == "gzip"
    with pytest.raises(json.JSONDecodeError):
        response.json()
    parameters = script.parameters(LIST, fields=FIELDS)
    assert script.send(parameters, headers={"accept-encoding": "identity"}).json()


def test_a_body_may_trickle_past_every_read_timeout(server: SandboxServer, script: Script) -> None:
    switch_on(server, "slow_body", milliseconds=60)
    limit = 2.0
    begin = time.monotonic()
    with script.http.get(
        script.url, params=script.parameters("taobao.time.get"), timeout=limit, stream=True
    ) as response:
        pieces = [piece for piece, _ in zip(response.iter_content(1), range(40), strict=False)]
    assert len(pieces) == 40
    assert time.monotonic() - begin > limit
    assert requests.get(server.url + "/sandbox/health", timeout=30).status_code == 200


def test_headers_may_come_and_then_nothing(server: SandboxServer, script: Script) -> None:
    switch_on(server, "slow_body", kind="silence", count=1)
    with pytest.raises((requests.ConnectionError, requests.Timeout)):
        script.http.get(script.url, params=script.parameters("taobao.time.get"), timeout=0.3)
    assert raw(script).status_code == 200


def test_totals_and_pages_may_lie(server: SandboxServer, script: Script) -> None:
    def call(**business: Any) -> dict[str, Any]:
        return script.call(LIST, fields="tid", page_size=10, **business)

    total, second = call()["total_results"], call(page_no=2)["trades"]
    switch_on(server, "wrong_total")
    assert {call()["total_results"] - total for _ in range(4)} == {1, -1}
    requests.delete(server.url + "/sandbox/faults", timeout=60)
    switch_on(server, "has_next_forever")
    assert call(page_no=100_000, use_has_next="true")["has_next"] is True
    switch_on(server, "repeated_page")
    assert call(page_no=3)["trades"] == second
    requests.delete(server.url + "/sandbox/faults", timeout=60)
    switch_on(server, "empty_page")
    assert "trades" not in (page := call(page_no=2))
    assert page["total_results"] == total
    switch_on(server, "empty_page", kind="list")
    assert call()["total_results"] == 0


def check_oddity(kind: str, trade: dict[str, Any]) -> bool:
    line = trade["orders"]["order"][0] if kind != "text_for_list" else {}
    checks: dict[str, bool] = {
        "unknown_value": trade["status"] == "SANDBOX_NEVER_SEEN",
        "unknown_field": "sandbox_new_field" in trade and "sandbox_new_field" in line,
        "ids_as_text": isinstance(trade["tid"], str) and isinstance(line.get("oid"), str),
        "numbers_as_text": isinstance(trade["num"], str),
        "money_as_number": isinstance(trade["payment"], float | int),
        "null_values": trade.get("pay_time", "") is None,
        "missing_fields": "pay_time" not in trade and "receiver_city" not in trade,
        "bad_date": trade["modified"] == "0000-00-00 00:00:00",
        "huge_field": len(trade["title"]) == 10 * 1024 * 1024,
        "absurd_numbers": trade["num"] == -(10**30 - 1),
        "text_for_list": trade["orders"] == "[]",
    }
    return checks[kind]


@pytest.mark.parametrize("kind", CATALOGUE["odd_record"].kinds)
def test_records_may_be_unlike_their_documentation(server: SandboxServer, script: Script, kind: str) -> None:
    before = trades(script)
    # Fifty records of ten megabytes each would prove no more than two do.
    switch_on(server, "odd_record", kind=kind, rate=1.0 if kind != "huge_field" else 0.05, seed=4)
    spoilt = [trade for trade in trades(script) if check_oddity(kind, trade)]
    assert len(spoilt) == 50 if kind != "huge_field" else 0 < len(spoilt) < 10
    requests.delete(server.url + "/sandbox/faults", timeout=60)
    assert trades(script) == before
    assert truth(server.url, DEMO_SHOP.id, "tid,num,payment,orders.oid")


def test_a_fault_strikes_as_often_as_it_is_told(server: SandboxServer, script: Script) -> None:
    switch_on(server, "http_error", status=503, count=3)
    assert [raw(script).status_code for _ in range(5)] == [503, 503, 503, 200, 200]


def test_a_fault_strikes_only_the_shop_and_method_it_names(server: SandboxServer, script: Script) -> None:
    other = Script(server.gateway_url, OTHER_SHOP.app_key, OTHER_SHOP.app_secret, OTHER_SHOP.session_key)
    switch_on(server, "http_error", shop=OTHER_SHOP.id, method=LIST)
    assert (raw(script).status_code, raw(other).status_code) == (200, 502)
    assert "time" in other.call("taobao.time.get")
    switch_on(server, "odd_record", kind="ids_as_text", shop=OTHER_SHOP.id)
    assert isinstance(trades(script)[0]["tid"], int)


def test_faults_of_one_name_are_told_apart_by_their_labels(server: SandboxServer, script: Script) -> None:
    switch_on(server, "odd_record", kind="ids_as_text", label="first", rate=0.3, seed=1)
    switch_on(server, "odd_record", kind="unknown_value", label="second", rate=0.3, seed=2)
    found = trades(script)
    assert any(isinstance(trade["tid"], str) for trade in found)
    assert any(trade["status"] == "SANDBOX_NEVER_SEEN" for trade in found)


def test_a_ban_refuses_the_method_it_was_given_for_and_no_other(server: SandboxServer, script: Script) -> None:
    switch_on(server, "ban", kind="api", method=LIST, seconds=30, count=1)
    for _ in range(3):
        error = script.call(LIST, fields="tid")
        assert (error["code"], error["sub_code"]) == (7, "accesscontrol.limited-by-api-access-count")
    assert "time" in script.call("taobao.time.get")


def test_one_fault_can_be_switched_off(server: SandboxServer) -> None:
    switch_on(server, "latency")
    switch_on(server, "isp")
    left = requests.delete(server.url + "/sandbox/faults", params={"label": "isp"}, timeout=60).json()["active"]
    assert [fault["name"] for fault in left] == ["latency"]


def test_broken_connections_leave_no_complaint_in_the_log(
    server: SandboxServer, script: Script, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, kind in (("connection_reset", "before"), ("connection_reset", "midway"), ("short_body", "")):
        switch_on(server, name, kind=kind, label="one", count=3)
        for _ in range(3):
            with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
                raw(script)
    assert raw(script).status_code == 200
    assert capfd.readouterr().err == ""


def test_the_table_of_faults_can_be_read(server: SandboxServer) -> None:
    known = requests.get(server.url + "/sandbox/faults", timeout=60).json()["known"]
    assert {row["name"] for row in known} == set(CATALOGUE)
    assert all(row["description"] and row["strikes"] for row in known)
    refused = requests.post(server.url + "/sandbox/faults", json={"name": "slow_body", "kind": "nul"}, timeout=60)
    assert (refused.status_code, "trickle" in refused.json()["error"]) == (400, True)
