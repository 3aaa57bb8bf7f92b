"""Parcels over the wire as contract 3.7 and 6.3 have them, their truth, and how tests drive them."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
import requests

from order_pipeline.sandbox.clock import DrivenClock, from_ms
from order_pipeline.sandbox.faults import Fault
from order_pipeline.sandbox.logistics.evidence import episodes, standings
from order_pipeline.sandbox.logistics.journeys import ACTIONS, Odds, Scan, plan_journey
from order_pipeline.sandbox.marketplace import Marketplace
from order_pipeline.sandbox.server import SandboxServer
from order_pipeline.sandbox.shops import DEMO_SHOP
from order_pipeline_tests.sandbox.contract_script import FORMAT, Script

SEARCH, GET, ORDERS = "taobao.logistics.trace.search", "taobao.logistics.trace.get", "taobao.logistics.orders.get"
SHIPPING = "tid,out_sid,company_name,sub_tids,is_split,seller_confirm,status,delivery_start,delivery_end,created"
TOPIC = "taobao_logistics_LogsticDetailTrace"
HOUR = 3_600


def parcels_of(server: SandboxServer, **query: Any) -> list[dict[str, Any]]:
    response = requests.get(server.url + "/sandbox/truth/parcels", params={"shop": DEMO_SHOP.id, **query}, timeout=30)
    assert response.status_code == 200
    assert response.headers["x-platform-now"]
    return [json.loads(line) for line in response.text.splitlines()]


def parcel_of(server: SandboxServer, waybill: str) -> dict[str, Any]:
    return next(parcel for parcel in parcels_of(server) if parcel["waybill"] == waybill)


def act(server: SandboxServer, where: str, expected: int = 200, /, **body: Any) -> dict[str, Any]:
    response = requests.post(f"{server.url}/sandbox/{where}", json={"shop": DEMO_SHOP.id, **body}, timeout=60)
    assert response.status_code == expected, response.text
    answer: dict[str, Any] = response.json()
    return answer


def drained(script: Script) -> list[dict[str, Any]]:
    """Everything that is told about parcels until the queue is empty."""
    found: list[dict[str, Any]] = []
    while page := script.call("taobao.tmc.messages.consume", quantity=200).get("messages"):
        identifiers = ",".join(str(message["id"]) for message in page["tmc_message"])
        script.call("taobao.tmc.messages.confirm", s_message_ids=identifiers)
        found += [message for message in page["tmc_message"] if message["topic"] == TOPIC]
    return found


def shipped(server: SandboxServer, **consignment: Any) -> dict[str, Any]:
    placed = act(server, "orders", action="place")
    act(server, "orders", action="pay", tid=placed["tid"])
    return placed | act(server, "orders", action="consign", tid=placed["tid"], **consignment)


def test_the_same_waybill_makes_the_same_journey() -> None:
    journeys = [plan_journey(seed, 5, "EMS", 0, 6.0, Odds()) for seed in (1, 1, 2)]
    assert journeys[0] == journeys[1] != journeys[2]


def test_without_stalls_nothing_meaningful_is_ever_two_days_apart() -> None:
    """So that what a rule of 72 hours finds is a stall that was meant."""
    for number in range(3_000):
        scans = plan_journey(3, number, "EMS", 0, 1 + number % 50, Odds(stall_rate=0.0))
        assert [scan.at_ms for scan in scans] == sorted(scan.at_ms for scan in scans)
        assert {scan.action for scan in scans} <= ACTIONS
        assert episodes(standings(scans), 10**9, 48) == []
    stuck = [plan_journey(3, number, "EMS", 0, 5, Odds(stall_rate=1.0)) for number in range(300)]
    found = [bool(episodes(standings(scans), 10**9, 72)) for scans in stuck]
    # What is stuck in a pick-up point waits for its buyer, and what was lost is lost.
    assert sum(found) > 0.85 * len(found)


@pytest.mark.parametrize(("waited", "crossed"), [(72 * HOUR - 1, False), (72 * HOUR, True)])
def test_an_episode_begins_at_exactly_seventy_two_hours(waited: int, crossed: bool) -> None:
    known = standings([Scan(0, 0, "GOT", ""), Scan(1_000, 0, "GOT", "the same in other words")])
    assert bool(episodes(known, waited, 72)) is crossed


def test_what_the_buyer_signed_for_and_what_came_back_is_told_apart() -> None:
    def state(*scans: tuple[str, str]) -> str:
        made = [Scan(number, number, action, text) for number, (action, text) in enumerate(scans)]
        return standings(made)[-1].state

    assert state(("CREATE", "")) == "created"
    assert state(("GOT", ""), ("SIGNED", "")) == "signed"
    assert state(("GOT", ""), ("SIGNED", ""), ("ARRIVAL", "")) == "in_transit"
    assert state(("GOT", ""), ("FAILED", "拒收，退回"), ("SIGNED", "退回件已签收")) == "returned"
    assert state(("SENT_SCAN", ""), ("OTHER", "已存放至菜鸟驿站")) == "pickup_point"


def test_the_shop_has_parcels_of_every_kind(server: SandboxServer) -> None:
    parcels = parcels_of(server)
    states = Counter(parcel["state"] for parcel in parcels)
    assert {"signed", "in_transit", "untracked", "pickup_point", "returned", "created", "no_trace"} <= set(states)
    assert any(len(parcel["orders"]) > 1 for parcel in parcels)
    orders = Counter(order["tid"] for parcel in parcels for order in parcel["orders"])
    assert max(orders.values()) > 1
    assert 0 < sum(parcel["stalled"] for parcel in parcels) < 0.03 * len(parcels)
    for parcel in parcels:
        assert parcel["stalled"] == (bool(parcel["episodes"]) and parcel["episodes"][-1]["ended_at"] is None)


def test_traces_are_the_truth_and_none_at_all_is_an_error(server: SandboxServer, script: Script) -> None:
    answers: Counter[str] = Counter()
    for parcel in parcels_of(server)[-250:]:
        order = parcel["orders"][0]
        of_order = [other for other in parcels_of_order(script, order["tid"]) if other != parcel["out_sid"]]
        extra = {"is_split": 1, "sub_tid": ",".join(map(str, order["oids"]))} if of_order else {}
        trace = script.call(SEARCH, tid=order["tid"], **extra)
        if "sub_code" in trace:
            assert (trace["code"], parcel["events"]) == (15, [])
            answers[trace["sub_code"]] += 1
            continue
        assert (trace["out_sid"], trace["company_name"], trace["tid"]) == (
            parcel["out_sid"], parcel["company"] if parcel["out_sid"] == parcel["waybill"] else "EMS", order["tid"],
        )  # fmt: skip
        steps = trace.get("trace_list", {}).get("transit_step_info", [])
        told = Counter((event["time"], event["action"], event["desc"]) for event in parcel["events"])
        assert Counter((step["status_time"], step["action"], step["status_desc"]) for step in steps) == told
        answers["trace" if steps else trace["status"]] += 1
    assert {"trace", "isv.order-no-trace", "isp.order-no-trace"} <= set(answers)


def parcels_of_order(script: Script, tid: int) -> list[str]:
    rows = script.call(ORDERS, fields=SHIPPING, tid=tid)["shippings"]["shipping"]
    return [row["out_sid"] for row in rows]


def test_an_own_carrier_claims_to_have_delivered_at_once(server: SandboxServer, script: Script) -> None:
    order = shipped(server, channel="offline")
    trace = script.call(SEARCH, tid=order["tid"])
    assert (trace["status"], trace["out_sid"], "trace_list" in trace) == ("对方已签收", order["waybill"], False)
    assert parcel_of(server, order["waybill"])["state"] == "untracked"


def test_a_split_order_has_a_trace_for_each_parcel(server: SandboxServer, script: Script) -> None:
    order = shipped_in_two(server)
    first, second = order["waybills"]
    for waybill, oid in zip(order["waybills"], order["oids"], strict=True):
        act(server, "parcels", waybill=waybill, action="event", event={"scan": "GOT"})
        assert script.call(SEARCH, tid=order["tid"], is_split=1, sub_tid=oid)["out_sid"] == waybill
    assert script.call(SEARCH, tid=order["tid"])["out_sid"] == first
    every = script.call(GET, tid=order["tid"])["result"]["transit_step_result"]
    assert [trace["out_sid"] for trace in every] == [first, second]
    rows = script.call(ORDERS, fields=SHIPPING, tid=order["tid"])["shippings"]["shipping"]
    assert [(row["out_sid"], row["sub_tids"]["number"], row["is_split"]) for row in rows] == [
        (first, [order["oids"][0]], 1), (second, [order["oids"][1]], 1),
    ]  # fmt: skip
    wrong = script.call(SEARCH, tid=order["tid"], is_split=1, sub_tid=",".join(map(str, order["oids"])))
    assert wrong["sub_code"] == "isv.split-data-error:CD22"
    assert script.call(SEARCH, tid=order["tid"], is_split=1)["code"] == 40
    assert script.call(SEARCH, tid=order["tid"], is_split=1, sub_tid=",".join(["1"] * 51))["code"] == 41


def shipped_in_two(server: SandboxServer) -> dict[str, Any]:
    placed = act(server, "orders", action="place", lines=[{"product_id": 1}, {"product_id": 2}])
    act(server, "orders", action="pay", tid=placed["tid"])
    sent = [act(server, "orders", action="consign", tid=placed["tid"], lines=[line]) for line in (0, 1)]
    assert sent[0]["status"] == "SELLER_CONSIGNED_PART"
    return sent[1] | {"waybills": [one["waybill"] for one in sent]}


def test_one_parcel_may_carry_several_orders(server: SandboxServer, script: Script) -> None:
    orders = [shipped(server, waybill="7000000000017") for _ in range(2)]
    parcel = parcel_of(server, "7000000000017")
    assert [order["tid"] for order in parcel["orders"]] == [order["tid"] for order in orders]
    assert all(parcels_of_order(script, order["tid"]) == ["7000000000017"] for order in orders)


def test_a_stall_that_is_injected_crosses_and_ends_when_the_truth_says(
    server: SandboxServer, script: Script, clock: DrivenClock
) -> None:
    script.call("taobao.tmc.user.permit", topics=TOPIC)
    order = shipped(server, days=10.0)
    waybill = order["waybill"]
    act(server, "parcels", waybill=waybill, action="event", event={"scan": "GOT", "desc": "已揽收"})
    act(server, "parcels", waybill=waybill, action="stall")
    since = from_ms(clock.now_ms())
    clock.advance(72 * HOUR - 1)
    before = parcel_of(server, waybill)
    crosses = (since + timedelta(hours=72)).strftime(FORMAT)
    assert (before["stalled"], before["state"], before["crossed_at"]) == (False, "in_transit", crosses)
    clock.advance(1)
    assert parcel_of(server, waybill)["stalled"]
    clock.advance(5 * HOUR)
    act(server, "parcels", waybill=waybill, action="revive")
    revived = parcel_of(server, waybill)
    moving = from_ms(clock.now_ms()).strftime(FORMAT)
    assert revived["episodes"] == [{"since": since.strftime(FORMAT), "crossed_at": crosses, "ended_at": moving}]
    assert not revived["stalled"]
    act(server, "parcels", waybill=waybill, action="sign")
    assert parcel_of(server, waybill)["state"] == "signed"
    told = [json.loads(message["content"]) for message in drained(script)]
    mine = [(content["action"], content["out_sid"]) for content in told if content["tid"] == order["tid"]]
    # The first scan was told of too, but messages are kept for one day only.
    assert mine[-1] == ("SIGNED", waybill)
    assert len(mine) == 2


def test_a_parcel_can_be_handed_on_lost_and_clocked_wrong(
    server: SandboxServer, script: Script, clock: DrivenClock
) -> None:
    order = shipped(server)
    waybill, tid = order["waybill"], order["tid"]
    act(server, "parcels", waybill=waybill, action="reroute")
    rerouted = script.call(SEARCH, tid=tid)
    assert rerouted["out_sid"] != waybill
    assert rerouted["company_name"] == "EMS"
    ahead = (from_ms(clock.now_ms()) + timedelta(hours=3)).strftime(FORMAT)
    act(server, "parcels", waybill=waybill, action="event", event={"scan": "ARRIVAL", "time": ahead})
    assert parcel_of(server, waybill)["last_event_at"] == ahead
    act(server, "parcels", waybill=waybill, action="lose", at=from_ms(clock.now_ms()).isoformat())
    assert parcel_of(server, waybill)["events"][-1]["action"] == "LOST"
    act(server, "parcels", 404, waybill="nobody", action="stall")
    act(server, "parcels", 400, waybill=waybill, action="fly")
    act(server, "parcels", 400, waybill=waybill, action="event", event={"scan": "FLY"})


def test_messages_about_parcels_come_only_where_they_are_named(
    server: SandboxServer, script: Script, clock: DrivenClock
) -> None:
    script.call("taobao.tmc.user.permit")
    since = from_ms(clock.now_ms()).strftime(FORMAT)
    clock.advance(2 * HOUR)
    seen = script.call("taobao.tmc.messages.consume", quantity=200)["messages"]["tmc_message"]
    assert TOPIC not in {message["topic"] for message in seen if message["pub_time"] > since}
    script.call("taobao.tmc.user.permit", topics=TOPIC)
    begin = from_ms(clock.now_ms()).strftime(FORMAT)
    clock.advance(6 * HOUR)
    expected = Counter(
        (order["tid"], event["action"], event["time"])
        for parcel in parcels_of(server) for event in parcel["events"] if event["at"] > begin
        for order in parcel["orders"]
    )  # fmt: skip
    told: Counter[tuple[int, str, str]] = Counter()
    for message in drained(script):
        content = json.loads(message["content"])
        if message["pub_time"] > begin:
            told[content["tid"], content["action"], content["time"]] += 1
    assert told == expected
    assert len(expected) > 50
    script.call("taobao.tmc.user.cancel", nick=DEMO_SHOP.seller_nick)


def test_shipments_are_listed_by_when_they_left(server: SandboxServer, script: Script, clock: DrivenClock) -> None:
    now = from_ms(clock.now_ms())
    window = {"start_created": (now - timedelta(days=2)).strftime(FORMAT), "end_created": now.strftime(FORMAT)}
    found = [
        row
        for page in (1, 2)
        for row in script.call(ORDERS, fields=SHIPPING, page_size=100, page_no=page, **window)
        .get("shippings", {}).get("shipping", [])
    ]  # fmt: skip
    left = [
        parcel
        for parcel in parcels_of(server)
        if window["start_created"] <= parcel["handed_over_at"] < window["end_created"]
    ]
    expected = sorted(str(order["tid"]) for parcel in left for order in parcel["orders"])
    assert sorted(str(row["tid"]) for row in found) == expected[: len(found)] or len(expected) > 200
    assert [row["created"] for row in found] == sorted((row["created"] for row in found), reverse=True)
    assert script.call(ORDERS, fields="tid", seller_confirm="no", **window)["total_results"] == 0


def test_the_trace_api_can_be_down(market: Marketplace, server: SandboxServer, script: Script) -> None:
    order = shipped(server)
    act(server, "parcels", waybill=order["waybill"], action="event", event={"scan": "GOT"})
    market.faults.switch_on(Fault("isp", method=SEARCH, kind="data_fetch_failed"))
    assert script.call(SEARCH, tid=order["tid"])["sub_code"] == "isp.data-fetch-failed"
    market.faults.clear()
    assert script.call(SEARCH, tid=order["tid"])["out_sid"] == order["waybill"]


@pytest.mark.parametrize(
    ("method", "business", "code"),
    [
        (SEARCH, {}, 40),
        (SEARCH, {"tid": "x"}, 41),
        (SEARCH, {"tid": 5}, 15),
        (SEARCH, {"tid": 5, "is_split": 2}, 15),
        (GET, {"tid": 5}, 15),
        (ORDERS, {"tid": 5}, 40),
        (ORDERS, {"fields": "nothing"}, 41),
    ],
)
def test_a_wrong_call_gets_its_code(script: Script, method: str, business: dict[str, Any], code: int) -> None:
    assert script.call(method, **business)["code"] == code
