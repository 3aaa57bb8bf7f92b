"""Parcels from the sandbox over HTTP into a real Postgres, on a driven clock: asked, known, alerted and told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from order_pipeline.insights.stalls import Rule
from order_pipeline.platforms.taobao.trace_methods import SEARCH, SHIPMENTS
from order_pipeline.sandbox.clock import from_ms
from order_pipeline.sandbox.faults import Fault
from order_pipeline.sandbox.steering import MoveParcel, MoveRefund
from order_pipeline.sync.shipment_traces import HOPELESS_FAILURES
from order_pipeline.traffic.gate import shared_gate
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.follow_ups import list_follow_ups
from order_pipeline.warehouse.notices import open_subjects
from order_pipeline.warehouse.parcels import refresh_parcels, take_due
from order_pipeline_tests.conftest import Play
from order_pipeline_tests.proving import begin_refunds_lately, hear
from order_pipeline_tests.replaying import replay
from order_pipeline_tests.shipping import SHOP, alerts, follow, later, scan, shipped, sync

PLAIN = {"orders": 6, "days": 2, "stall_rate": 0.0, "parcel_oddity": 0.0}
plain = pytest.mark.parametrize("play", [PLAIN], indirect=True)


def value(engine: Engine, query: str, **values: object) -> Any:
    with transaction(engine) as connection:
        return connection.execute(text(query), values).scalar()


def parcel(engine: Engine, number: str, direction: str = "outgoing") -> dict[str, Any]:
    with transaction(engine) as connection:
        row = connection.execute(
            text("SELECT * FROM core.parcel WHERE tracking_number = :number AND direction = :direction"),
            {"number": number, "direction": direction},
        )
        return dict(row.mappings().one())


@plain
def test_a_parcel_is_asked_about_once_an_hour_and_stalls_once_an_episode(engine: Engine, play: Play) -> None:
    access = play.access()
    begin_refunds_lately(engine, access, days=1)
    waybill = shipped(play)["waybills"][0]
    play.clock.advance(60)
    scan(play, waybill, "GOT")
    since = play.now
    play.clock.advance(60)
    sync(engine, access)
    first, judged = follow(engine, access)
    assert first.asked == first.answered > 0
    assert not judged.opened
    # Twice within the hour nothing is asked again.
    play.clock.advance(60)
    calls = access.calls.total
    again, _ = follow(engine, access)
    assert (again.asked, again.left) == (0, 0)
    assert access.calls.total - calls == 1
    assert value(engine, "SELECT count(*) FROM raw.page WHERE channel = 'traces'") == first.moved
    _, judged = later(play, engine, access, 71.9)
    assert alerts(engine, tracking_number=waybill) == []
    _, judged = later(play, engine, access, 1)
    assert judged.opened == {Rule.STALL: 1}
    (alert,) = alerts(engine, tracking_number=waybill)
    assert (alert["rule"], alert["is_open"], alert["crossed_at"]) == ("S2", True, since + timedelta(hours=72))
    assert alert["opened_at"] - alert["crossed_at"] < timedelta(hours=1)
    # Looked at again, the same is the same.
    _, judged = later(play, engine, access, 1)
    assert (judged.opened, judged.changed, judged.closed) == ({}, 0, 0)
    scan(play, waybill, "ARRIVAL")
    _, judged = later(play, engine, access, 1)
    (alert,) = alerts(engine, tracking_number=waybill)
    assert (alert["is_open"], alert["close_reason"], alert["follow_up_state"]) == (False, "it moves", "closed")
    _, judged = later(play, engine, access, 72)
    assert [each["is_open"] for each in alerts(engine, tracking_number=waybill)] == [False, True]
    MoveParcel(shop=SHOP, waybill=waybill, action="sign").carry_out(play.marketplace)
    later(play, engine, access, 1)
    assert alerts(engine, tracking_number=waybill)[1]["close_reason"] == "it was delivered"
    # It is watched for three days more, every six hours; then nobody asks any more.
    later(play, engine, access, 6)
    checked = parcel(engine, waybill)["checked_at"]
    assert checked == play.now
    later(play, engine, access, 73)
    assert parcel(engine, waybill)["checked_at"] == checked


@plain
def test_what_stands_in_a_trace_is_known_and_what_does_not_is_not(engine: Engine, play: Play) -> None:
    """One play for parcels of every kind: split, merged, own carrier, never traced, handed on, clocks, odd words."""
    access = play.access()
    begin_refunds_lately(engine, access, days=1)
    divided = shipped(play, lines=2)
    merged = [shipped(play, waybill="7100000000017") for _ in range(2)]
    own = shipped(play, channel="offline")["waybills"][0]
    silent = shipped(play)["waybills"][0]
    rerouted = shipped(play)["waybills"][0]
    ahead = shipped(play)["waybills"][0]
    too_early = shipped(play)["waybills"][0]
    locker = shipped(play)["waybills"][0]
    nameless = shipped(play, waybill="无")
    play.clock.advance(60)
    gone, stuck = divided["waybills"]
    for waybill in (gone, stuck, "7100000000017", rerouted, ahead, too_early, locker):
        scan(play, waybill, "GOT")
    scan(play, gone, "SIGNED", "已签收，签收人：本人")
    future = f"{play.now + timedelta(hours=5):%F %T}"
    scan(play, ahead, "ARRIVAL", time=future)
    scan(play, ahead, "ARRIVAL", "【中通】快件状态已更新。", time=future)
    scan(play, locker, "SIGNED", "快件已存放至丰巢快递柜，请凭取件码取件")
    play.clock.advance(60)
    MoveParcel(shop=SHOP, waybill=rerouted, action="reroute").carry_out(play.marketplace)
    scan(play, too_early, "SIGNED", "已签收，签收人：本人")
    play.clock.advance(60)
    scan(play, too_early, "ARRIVAL", "快件误签收，重新入库")
    sync(engine, access)
    following, judged = follow(engine, access)
    assert judged.ahead == (ahead,)
    # Of two events of one second and code, whatever their words, one is kept.
    assert parcel(engine, ahead)["events"] == 2
    assert parcel(engine, "7100000000017")["order_ids"] == sorted(order["tid"] for order in merged)
    assert parcel(engine, own)["is_untracked"]
    assert parcel(engine, own)["state"] is None
    assert parcel(engine, gone)["state"] == "signed"
    assert parcel(engine, too_early)["state"] == "in_transit"
    assert parcel(engine, locker)["state"] == "pickup_point"
    handed_on = parcel(engine, rerouted)
    assert handed_on["current_tracking_number"] not in (None, rerouted)
    assert handed_on["current_company"] == "EMS"
    # Nobody's words are kept.
    assert value(engine, "SELECT count(*) FROM raw.page WHERE channel = 'traces' AND body LIKE '%签收人%'") == 0
    # What was typed where a number belongs is named, and asked for at the list of shipments, which has no better one.
    assert [order.order_id for order in following.nameless] == [nameless["tid"]]
    assert value(engine, "SELECT count(*) FROM core.parcel WHERE tracking_number = '无'") == 0
    assert access.calls.total_by_method[SHIPMENTS] == 1
    # Not picked up for a day: the one that nothing is known of, and of the own carrier nothing ever is.
    later(play, engine, access, 24)
    assert [each["tracking_number"] for each in alerts(engine, rule="S1")] == [silent]
    later(play, engine, access, 48)
    found = {each["tracking_number"]: each for each in alerts(engine, is_open=True)}
    assert {number: each["rule"] for number, each in found.items()} == {
        stuck: "S2", "7100000000017": "S2", silent: "S1", rerouted: "S2", too_early: "S2", locker: "S4",
    }  # fmt: skip
    assert found["7100000000017"]["orders"] == 2
    # The clock that is ahead counts from its own time on.
    later(play, engine, access, 5)
    assert [each["rule"] for each in alerts(engine, tracking_number=ahead)] == ["S2"]
    # One digest a run and rule, however many parcels.
    told = value(engine, "SELECT max(title) FROM sync.notice WHERE subject LIKE 'demo-shop S2%'")
    assert told.startswith("4 parcels of shop demo-shop")
    assert value(engine, "SELECT count(*) FROM sync.notice WHERE kind = 'stuck_parcels'") == 4


@plain
def test_what_is_refunded_closed_or_sent_under_another_number_is_no_worry(engine: Engine, play: Play) -> None:
    access = play.access()
    begin_refunds_lately(engine, access, days=1)
    market = play.marketplace
    refunded, coming_back, both = shipped(play), shipped(play), [shipped(play, waybill="7100000000024") for _ in "ab"]
    returned = shipped(play)
    play.clock.advance(60)
    for order in (refunded, coming_back, returned, both[0]):
        scan(play, order["waybills"][0], "GOT")
    sync(engine, access)
    later(play, engine, access, 73)
    assert len(alerts(engine, is_open=True, rule="S2")) == 4

    def refund(order: dict[str, Any], status: str, **more: Any) -> None:
        MoveRefund(shop=SHOP, tid=int(order["tid"]), status=status, **more).carry_out(market)
        play.clock.advance(5)

    for order in (refunded, coming_back, both[0]):
        refund(order, "WAIT_SELLER_AGREE")
        refund(order, "SUCCESS")
    scan(play, coming_back["waybills"][0], "DEPARTURE", "快件退回中，已发出")
    # Goods that a buyer sends back have a parcel of their own.
    for status in ("WAIT_SELLER_AGREE", "WAIT_BUYER_RETURN_GOODS", "WAIT_SELLER_CONFIRM_GOODS"):
        refund(returned, status, kind="REFUND_AND_RETURN")
    play.clock.advance(30)
    sync(engine, access)
    later(play, engine, access, 1)
    states = {each["tracking_number"]: each["close_reason"] for each in alerts(engine, rule="S2")}
    assert states[refunded["waybills"][0]] == "it is refunded or closed"
    # The other order in the same parcel still waits for it.
    assert states["7100000000024"] is None
    sent_back = value(engine, "SELECT return_tracking_number FROM core.refunds WHERE order_id = :tid",
                      tid=returned["tid"])  # fmt: skip
    assert parcel(engine, sent_back, "return")["contents"] == "open"
    later(play, engine, access, 73)
    (stuck,) = alerts(engine, rule="S6")
    assert (stuck["tracking_number"], stuck["is_open"]) == (coming_back["waybills"][0], True)
    # Nobody has seen the return for ten days; then the seller gets it.
    later(play, engine, access, 240)
    assert {each["direction"] for each in alerts(engine, rule="S6", is_open=True)} == {"outgoing", "return"}
    refund(returned, "SUCCESS", kind="REFUND_AND_RETURN")
    # And a parcel that goes under another number is not the one that was lost.
    with transaction(engine) as connection:
        connection.execute(
            text(
                "UPDATE core.order_items SET tracking_number = 'NEW7100000099' WHERE tracking_number = '7100000000024'"
            )
        )
    play.clock.advance(30)
    sync(engine, access)
    later(play, engine, access, 1)
    reasons = {each["tracking_number"]: each["close_reason"] for each in alerts(engine, is_open=False)}
    assert reasons[sent_back] == "the buyer has confirmed"
    assert reasons["7100000000024"] == "it goes under another number"


@pytest.mark.parametrize("play", [PLAIN | {"orders": 2}], indirect=True)
def test_an_interface_that_is_away_raises_one_alert_and_none_about_parcels(engine: Engine, play: Play) -> None:
    gate = shared_gate(engine, "app-of-this-test", None)
    access = play.access(100, timedelta(0), gate)
    begin_refunds_lately(engine, access, days=1)
    for _ in range(HOPELESS_FAILURES + 10):
        scan(play, shipped(play)["waybills"][0], "GOT")
    play.clock.advance(60)
    sync(engine, access)
    follow(engine, access)
    play.marketplace.faults.switch_on(Fault("isp", method=SEARCH, kind="data_fetch_failed"))
    following, judged = later(play, engine, access, 1)
    # After so many in a row nobody goes on; what was not asked about is not said to be.
    assert following.stopped is not None
    assert "data-fetch-failed" in following.stopped
    assert following.asked - following.answered >= HOPELESS_FAILURES
    assert access.calls.total_by_method[SEARCH] < 3 * (HOPELESS_FAILURES + 10)
    assert judged.silent is None
    _, judged = later(play, engine, access, 100)
    assert judged.silent is not None
    assert alerts(engine) == []
    later(play, engine, access, 1)
    with transaction(engine) as connection:
        assert open_subjects(connection, "traces_unanswered") == {SHOP}
    # The orders' breaker has heard nothing of it.
    assert gate.breaker is not None
    assert not gate.breaker.is_open()
    play.marketplace.faults.clear()
    _, judged = later(play, engine, access, 1)
    assert judged.silent is None
    assert judged.opened == {Rule.STALL: HOPELESS_FAILURES + 10}
    with transaction(engine) as connection:
        assert open_subjects(connection, "traces_unanswered") == frozenset()
        assert len(list_follow_ups(connection, [SHOP], rules=["S2"])) == HOPELESS_FAILURES + 10


@pytest.mark.parametrize("play", [PLAIN | {"orders": 2}], indirect=True)
def test_messages_about_parcels_let_them_be_asked_about_first(engine: Engine, play: Play) -> None:
    access = play.access(trace_messages=True)
    begin_refunds_lately(engine, access, days=1)
    hear(engine, access)
    waybills = [shipped(play)["waybills"][0] for _ in range(3)]
    play.clock.advance(60)
    sync(engine, access)
    follow(engine, access)
    play.clock.advance(3600)
    scan(play, waybills[2], "GOT")
    play.clock.advance(10)
    hear(engine, access)
    # Orders' own messages come as ever, as their topics are named too.
    assert value(engine, "SELECT count(DISTINCT topic) FROM raw.message") > 1
    assert value(engine, "SELECT count(*) FROM raw.message WHERE content LIKE '%快件%'") == 0
    with transaction(engine) as connection:
        refresh_parcels(connection, SHOP, access.platform.trace_topic, play.now)
        announced = connection.execute(text("SELECT count(*) FROM core.parcel WHERE announced_at > known_at")).scalar()
        first = {each.tracking_number for each in take_due(connection, SHOP, play.now, announced or 0)}
    assert waybills[2] in first
    assert not {waybills[0], waybills[1]} & first


@pytest.mark.parametrize("play", [{"orders": 40, "days": 6, "seed": 3, "stall_rate": 0.9}], indirect=True)
def test_every_stall_is_found_within_an_hour_of_crossing_and_no_other(engine: Engine, play: Play) -> None:
    """The sandbox's own truth about its parcels, odd as they are, against the alerts of looks by the hour."""
    found = replay(engine, play, days=4)
    assert found.expected > 4
    assert found.missed == ()
    assert found.false == ()
    assert from_ms(play.clock.now_ms()) > found.began
