"""From one trade to one order: strict where it matters, tolerant in types, nothing dropped silently."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from order_pipeline.platforms.protocol import Order, RejectedRecord
from order_pipeline.platforms.taobao.fields import ALL_TYPES, PERSONAL_FIELDS, TRADE_TYPES
from order_pipeline.platforms.taobao.parsing import parse_trade
from order_pipeline.platforms.taobao.values import CHINA
from order_pipeline_tests.platforms.taobao.samples import fixture, line, trade

MISSING = object()


def accepted(**fields: Any) -> Order:
    order = parse_trade({name: value for name, value in trade(**fields).items() if value is not MISSING})
    assert isinstance(order, Order), order
    return order


def rejected(**fields: Any) -> RejectedRecord:
    record = parse_trade({name: value for name, value in trade(**fields).items() if value is not MISSING})
    assert isinstance(record, RejectedRecord), record
    return record


def test_every_column_comes_from_its_field() -> None:
    order = accepted()
    assert order.order_id == "2918463730000005258"
    assert order.status == "WAIT_BUYER_CONFIRM_GOODS"
    assert order.type == "step"
    assert order.created_at == datetime(2026, 3, 1, 20, 0, 0, tzinfo=CHINA)
    assert order.paid_at == datetime(2026, 3, 1, 20, 0, 30, tzinfo=CHINA)
    assert order.shipped_at == datetime(2026, 3, 2, 9, 0, 0, tzinfo=CHINA)
    assert order.ended_at is None
    assert order.modified_at == datetime(2026, 3, 2, 9, 0, 1, tzinfo=CHINA)
    assert order.payment == Decimal("106.80")
    assert order.total_fee == Decimal("176.00")
    assert order.discount_fee == Decimal("0.00")
    assert order.adjust_fee == Decimal("-1.00")
    assert order.post_fee == Decimal("5.00")
    assert order.received_payment == Decimal("0.00")
    assert order.step_status == "FRONT_PAID_FINAL_PAID"
    assert order.step_paid_fee == Decimal("20.00")
    assert order.promised_ship_at == datetime(2026, 3, 5, tzinfo=CHINA)
    assert order.shipping_type == "express"
    assert order.seller_flag == 3
    assert order.buyer_open_uid == "AAHq0001"
    assert (order.receiver_state, order.receiver_city, order.receiver_district) == ("浙江省", "杭州市", "西湖区")
    assert (order.buyer_message, order.seller_memo, order.trade_from) == (None, "改为发顺丰", "WAP,WAP")
    assert order.extra == {"mark_desc": "", "new_field_of_tomorrow": {"a": [1, 2]}}
    (item,) = order.items
    assert item.item_id == "2918463730000005259"
    assert (item.num_iid, item.sku_id, item.sku_code) == ("35223910000", "33395009470", "TX324A0212")
    assert (item.title, item.sku_properties) == ("长袖T恤男", "颜色:白色;尺码:180/100(XL)")
    assert (item.category_id, item.quantity) == ("50000436", 2)
    assert (item.price, item.total_fee, item.discount_fee) == (Decimal("88.00"), Decimal("101.80"), Decimal("74.20"))
    assert (item.adjust_fee, item.payment, item.divided_payment) == (
        Decimal("0.00"),
        Decimal("101.80"),
        Decimal("100.00"),
    )
    assert (item.status, item.refund_status, item.refund_id) == ("WAIT_BUYER_CONFIRM_GOODS", "NO_REFUND", None)
    assert (item.shipped_at, item.ended_at) == (datetime(2026, 3, 2, 9, 0, 0, tzinfo=CHINA), None)
    assert (item.logistics_company, item.tracking_number) == ("顺丰速运", "SF1234567890")
    assert item.extra == {
        "outer_iid": "TX324",
        "outer_sku_id": "TX324A0212",
        "part_mjz_discount": "1.80",
        "store_code": "HZ01",
    }


def test_times_are_the_platforms_and_not_this_machines() -> None:
    assert accepted(modified="2026-01-01 00:00:00").modified_at == datetime(2025, 12, 31, 16, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "column", "expected"),
    [
        ({"tid": "2918463730000005258"}, "order_id", "2918463730000005258"),
        ({"tid": 9999999999999999999}, "order_id", "9999999999999999999"),
        ({"payment": 19.9}, "payment", Decimal("19.90")),
        ({"payment": 20}, "payment", Decimal("20.00")),
        ({"payment": "30.5"}, "payment", Decimal("30.50")),
        ({"payment": ""}, "payment", None),
        ({"payment": MISSING}, "payment", None),
        ({"payment": "9999999999999999.99"}, "payment", Decimal("9999999999999999.99")),
        ({"adjust_fee": "-5.00"}, "adjust_fee", Decimal("-5.00")),
        ({"pay_time": ""}, "paid_at", None),
        ({"pay_time": None}, "paid_at", None),
        ({"seller_flag": "0"}, "seller_flag", 0),
        ({"seller_flag": ""}, "seller_flag", None),
        ({"buyer_message": True}, "buyer_message", "true"),
        ({"buyer_message": 17}, "buyer_message", "17"),
        ({"trade_from": ""}, "trade_from", None),
        ({"type": "a_type_of_tomorrow"}, "type", "a_type_of_tomorrow"),
    ],
)
def test_a_value_of_another_type_means_the_same(fields: dict[str, Any], column: str, expected: Any) -> None:
    assert getattr(accepted(**fields), column) == expected


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"tid": MISSING}, "tid: null is no id"),
        ({"tid": 10**20}, "tid: 100000000000000000000 is no id"),
        ({"tid": "12a"}, "tid"),
        ({"tid": "１２"}, "tid"),
        ({"tid": -5}, "tid"),
        ({"tid": 2.9e18}, "tid"),
        ({"tid": True}, "tid"),
        ({"tid": ""}, "tid"),
        ({"status": MISSING}, "status: missing"),
        ({"status": ""}, "status: missing"),
        ({"status": "x" * 501}, "status: a text of 501 characters is no code"),
        ({"created": MISSING}, "created: missing"),
        ({"modified": ""}, "modified: missing"),
        ({"modified": "yesterday"}, 'modified: "yesterday" is no time'),
        ({"modified": 1770000000}, "modified: 1770000000 is no time"),
        ({"modified": "2026-02-30 00:00:00"}, "modified"),
        ({"modified": "2026-03-01T00:00:00"}, "modified"),
        ({"modified": "2026-W09-7 00:00:00"}, "modified"),
        ({"pay_time": "soon"}, "pay_time"),
        ({"payment": "abc"}, 'payment: "abc" is no money'),
        ({"payment": "NaN"}, "payment"),
        ({"payment": "sNaN"}, "payment"),
        ({"payment": "Infinity"}, "payment"),
        ({"payment": float("nan")}, "payment"),
        ({"payment": float("inf")}, "payment"),
        ({"payment": "1e16"}, 'payment: "1e16" does not fit numeric'),
        ({"payment": "1e999999999"}, "payment"),
        ({"payment": 10**16}, "payment"),
        ({"payment": 10**5000}, "payment: a number of hundreds of digits"),
        ({"payment": "1.005"}, 'payment: "1.005" has fractions of a cent'),
        ({"payment": "1_0"}, "payment"),
        ({"payment": "１"}, "payment"),
        ({"payment": " "}, "payment"),
        ({"payment": "0" * 1000}, "payment"),
        ({"payment": []}, "payment: a list is no money"),
        ({"payment": True}, "payment"),
        ({"payment": "-0.01"}, "payment: -0.01 is negative"),
        ({"seller_flag": "red"}, "seller_flag"),
        ({"seller_flag": 2**31}, "seller_flag"),
        ({"seller_memo": {"a": 1}}, "seller_memo: a dict is no text"),
        ({"orders": MISSING}, "orders: not one line"),
        ({"orders": {}}, "orders: not one line"),
        ({"orders": {"order": []}}, "orders: not one line"),
        ({"orders": "text"}, "orders: a str is no list"),
        ({"orders": {"order": ["x"]}}, "orders: line 1 is a str"),
        ({"orders": {"order": [line(), line(oid=MISSING)]}}, "orders: line 2: oid"),
        ({"orders": {"order": [line(), line()]}}, "two lines with the same oid"),
        ({"orders": {"order": [line(num=None)]}}, "line 1: num: missing"),
        ({"orders": {"order": [line(num="2.5")]}}, "line 1: num"),
        ({"orders": {"order": [line(num=2.0)]}}, "line 1: num"),
        ({"orders": {"order": [line(num=True)]}}, "line 1: num"),
        ({"orders": {"order": [line(num=-1)]}}, "line 1: num: -1 is negative"),
        ({"orders": {"order": [line(payment="-1.00")]}}, "line 1: payment: -1.00 is negative"),
        ({"orders": {"order": [line(price="cheap")]}}, "line 1: price"),
        ({"seller_memo": "a\x00b"}, "NUL character"),
        ({"anything": {"deep": ["\x00"]}}, "NUL character"),
        ({"k\x00": 1}, "NUL character"),
        ({"orders": {"order": [line(title="\ud800")]}}, "lone surrogate"),
    ],
)
def test_a_record_that_cannot_be_believed_is_rejected_with_its_reason(fields: dict[str, Any], reason: str) -> None:
    fields = {
        name: {"order": [{k: v for k, v in one.items() if v is not MISSING} for one in value["order"]]}
        if name == "orders" and isinstance(value, dict) and all(isinstance(x, dict) for x in value.get("order", "x"))
        else value
        for name, value in fields.items()
    }
    assert reason in rejected(**fields).reason


@pytest.mark.parametrize("record", [None, "text", 7, [], [trade()], True, {}])
def test_what_is_no_trade_at_all_is_rejected(record: Any) -> None:
    assert isinstance(parse_trade(record), RejectedRecord)


def test_a_rejected_record_keeps_its_body_and_what_could_be_read() -> None:
    record = rejected(payment="abc", title="a\x00\ud800")
    assert record.order_id == "2918463730000005258"
    assert record.modified_at == datetime(2026, 3, 2, 9, 0, 1, tzinfo=CHINA)
    assert record.body.isascii()
    assert json.loads(record.body) == trade(payment="abc", title="a\x00\ud800")


def test_a_nest_too_deep_to_be_written_out_is_rejected_and_harms_nobody() -> None:
    nest: Any = "x"
    for _ in range(100_000):
        nest = [nest]
    record = parse_trade(trade(nest=nest), text_is_clean=True)
    assert isinstance(record, RejectedRecord)
    assert "nested deeper than" in record.reason
    json.loads(record.body)
    while isinstance(nest, list):
        nest = nest[0]


def test_a_ship_promise_in_words_is_kept_as_it_came() -> None:
    order = accepted(send_time="付款后7天内")
    assert order.promised_ship_at is None
    assert order.extra["send_time"] == "付款后7天内"


def test_personal_data_is_kept_neither_in_columns_nor_in_extra_nor_in_quarantine() -> None:
    personal = dict.fromkeys(PERSONAL_FIELDS, "geheim-4711")
    order = accepted(**personal, orders={"order": [line(**personal)]})
    assert "geheim-4711" not in repr(order)
    assert "geheim-4711" not in rejected(**personal, payment="abc").body


def test_a_line_without_its_own_code_takes_the_items() -> None:
    (item,) = accepted(orders={"order": [line(outer_sku_id="")]}).items
    assert item.sku_code == "TX324"


@pytest.mark.parametrize("orders", [[line()], {"order": line()}, line(), {"trade_order": [line()]}])
def test_lines_are_found_in_every_shape_of_a_list(orders: Any) -> None:
    assert len(accepted(orders=orders).items) == 1


def test_a_refund_number_may_be_a_number() -> None:
    (item,) = accepted(orders={"order": [line(refund_id=2231958349)]}).items
    assert item.refund_id == "2231958349"


@pytest.mark.parametrize(
    "name",
    [
        "trade_fullinfo_get.jdp-2014-closed-before-pay.json",
        "trade_fullinfo_get.jdp-2014-finished.json",
        "trade_fullinfo_get.recorded-2013-step.json",
        "trade_fullinfo_get.thirdparty-template-2017-multiorder.json",
        "trade_get.sandbox-2016.json",
    ],
)
def test_every_recorded_trade_is_read_whole(name: str) -> None:
    (root,) = fixture(name).values()
    order = parse_trade(root["trade"])
    assert isinstance(order, Order), order
    assert order.order_id == str(root["trade"]["tid"])
    assert len(order.items) == len(root["trade"]["orders"]["order"])


@pytest.mark.parametrize("name", ["trades_sold_get.sandbox-2016.json", "trades_sold_get.official-example-old.json"])
def test_every_recorded_list_is_read(name: str) -> None:
    for record in fixture(name)["trades_sold_get_response"]["trades"]["trade"]:
        assert isinstance(parse_trade(record), Order)


def test_the_official_example_without_lines_is_rejected_and_not_dropped() -> None:
    example = fixture("trades_sold_get.official-example-2016.json")["trades_sold_get_response"]["trades"]["trade"][0]
    record = parse_trade(example)
    assert isinstance(record, RejectedRecord)
    assert record.order_id == "2231958349"


any_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=500)
@given(
    st.dictionaries(st.sampled_from(sorted(trade())), any_value, max_size=3),
    st.dictionaries(st.sampled_from(sorted(line())), any_value, max_size=3),
)
def test_any_value_in_any_field_gives_an_order_or_a_rejection(fields: dict[str, Any], of_line: dict[str, Any]) -> None:
    record = parse_trade(trade(**({"orders": {"order": [line(**of_line)]}} | fields)))
    if isinstance(record, RejectedRecord):
        json.loads(record.body)
    else:
        assert record.items


def test_every_type_is_asked_for_by_name() -> None:
    assert len(set(TRADE_TYPES)) == 27
    assert {"step", "fixed", "auction", "tmall_i18n", "nopaid", "eticket"} <= set(ALL_TYPES.split(","))
    assert not {"fenxiao", "guarantee_trade"} & set(ALL_TYPES.split(","))
