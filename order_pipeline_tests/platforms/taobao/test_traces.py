"""Traces: what carriers' words mean, and the methods against the sandbox over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from order_pipeline.insights.traces import Meaning
from order_pipeline.platforms.protocol import TraceMeaning
from order_pipeline.platforms.taobao.transit import read_meaning
from order_pipeline.sandbox.steering import Consign, MoveParcel, NewLine, NewScan, Pay, Place
from order_pipeline.traffic.errors import NotFoundError
from order_pipeline_tests.conftest import Play

SHOP = "demo-shop"


def test_the_rules_know_every_meaning_that_a_platform_can_give() -> None:
    assert {meaning.value for meaning in TraceMeaning} == {meaning.value for meaning in Meaning}


@pytest.mark.parametrize(
    ("action", "words", "meaning"),
    [
        ("CREATE", "商家已通知快递公司揽收", TraceMeaning.ANNOUNCED),
        ("CONSIGN", "您的包裹已出库/等待揽收", TraceMeaning.ANNOUNCED),
        ("GOT", "圆通速递 已揽收", TraceMeaning.IN_TRANSIT),
        ("ARRIVAL", "快件误签收，重新入库", TraceMeaning.IN_TRANSIT),
        ("TO_EMS", "快件转投EMS，单号已更换", TraceMeaning.IN_TRANSIT),
        ("SENT_SCAN", "快件正在派送中，请保持电话畅通", TraceMeaning.OUT_FOR_DELIVERY),
        ("OTHER", "快件已存放至菜鸟驿站，请凭取件码取件", TraceMeaning.PICKUP_POINT),
        # A locker's word that it was signed for is not the buyer's; his is.
        ("SIGNED", "快件已暂存至丰巢快递柜，请及时取件", TraceMeaning.PICKUP_POINT),
        ("SIGNED", "已在菜鸟驿站代收点取件签收", TraceMeaning.SIGNED),
        ("SIGNED", "已取件签收", TraceMeaning.SIGNED),
        ("SIGNED", "您的快件已签收，签收人：本人", TraceMeaning.SIGNED),
        ("SIGNED", "退回件已签收，签收人：发件人", TraceMeaning.RETURNED),
        ("FAILED", "派送失败：电话无人接听，约定次日再派", TraceMeaning.FAILED),
        ("FAILED", "收件人拒收，快件将退回", TraceMeaning.REFUSED),
        ("DEPARTURE", "快件退回中，已发出", TraceMeaning.RETURNING),
        ("OTHER", "快件已被拦截，安排退回", TraceMeaning.INTERCEPTED),
        ("ARRIVAL", "快件破损，已联系寄件人", TraceMeaning.FAILED),
        ("LOST", "快件疑似遗失，正在核实", TraceMeaning.LOST),
        ("OTHER", "地址不详，无法联系收件人", TraceMeaning.FAILED),
        ("TMS_SIGN", "", TraceMeaning.SIGNED),
        (None, "已签收，感谢使用", TraceMeaning.SIGNED),
        (None, "快件未签收，次日再派", TraceMeaning.IN_TRANSIT),
        (None, "正在派送中", TraceMeaning.OUT_FOR_DELIVERY),
        ("SOMETHING_NEW", "已到达上海", TraceMeaning.IN_TRANSIT),
        (None, "", TraceMeaning.IN_TRANSIT),
    ],
)
def test_what_a_step_means(action: str | None, words: str, meaning: TraceMeaning) -> None:
    assert read_meaning(action, words) is meaning


def shipped(play: Play, lines: int = 1, **consignment: Any) -> dict[str, Any]:
    market = play.marketplace
    ordered = tuple(NewLine(product_id=number) for number in range(1, lines + 1))
    placed = Place(shop=SHOP, lines=ordered).carry_out(market)
    Pay(shop=SHOP, tid=placed["tid"]).carry_out(market)
    sent = {}
    for line in range(lines):
        sent = Consign(shop=SHOP, tid=placed["tid"], lines=(line,), **consignment).carry_out(market)
        MoveParcel(shop=SHOP, waybill=sent["waybill"], action="stall").carry_out(market)
        placed.setdefault("waybills", []).append(sent["waybill"])
    return placed


def scan(play: Play, waybill: object, action: str, words: str = "快件状态已更新", time: str | None = None) -> None:
    event = NewScan(scan=action, desc=words, time=time)
    MoveParcel(shop=SHOP, waybill=str(waybill), action="event", event=event).carry_out(play.marketplace)


@pytest.mark.parametrize("play", [{"orders": 5, "days": 2}], indirect=True)
def test_traces_over_the_wire(play: Play) -> None:
    """One sandbox for all that a trace can be: none, one, of a split order, of an own carrier, of nobody."""
    platform = play.access().platform
    order = shipped(play, lines=2)
    tid, (first, second), oids = str(order["tid"]), order["waybills"], [str(oid) for oid in order["oids"]]
    nothing = platform.trace(tid)
    assert (nothing.answer, nothing.events, nothing.claims_signed) == (None, (), False)
    assert nothing.asked_at <= play.now
    scan(play, first, "GOT", "张三 13800001111 已揽收")
    scan(play, second, "GOT")
    scan(play, second, "SENT_SCAN")
    one = platform.trace(tid, [oids[0]])
    assert (one.tracking_number, [event.meaning for event in one.events]) == (first, [TraceMeaning.IN_TRANSIT])
    assert one.answer is not None
    assert "13800001111" not in one.answer.body
    assert "in_transit" in one.answer.body
    other = platform.trace(tid, [oids[1]])
    assert (other.tracking_number, len(other.events)) == (second, 2)
    assert [each.tracking_number for each in platform.traces(tid)] == [first, second]
    shipments = platform.shipments(tid)
    assert [(each.tracking_number, each.item_ids) for each in shipments] == [(first, (oids[0],)), (second, (oids[1],))]
    own = shipped(play, channel="offline")
    claimed = platform.trace(str(own["tid"]))
    assert (claimed.claims_signed, claimed.events) == (True, ())
    with pytest.raises(NotFoundError):
        platform.trace("5")
