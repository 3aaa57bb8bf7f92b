"""Trades and answers in the shape of the contract's recordings, for the tests of this folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

# The recordings lie beside the checkout; where they are missing, the tests that read them are skipped.
FIXTURES = Path(__file__).parents[4] / "shared" / "contracts" / "fixtures"


def fixture(name: str) -> Any:
    path = FIXTURES / name
    if not path.exists():
        pytest.skip(f"no contract fixture {name} beside this checkout")
    return json.loads(path.read_text(encoding="utf-8"))


def line(**fields: Any) -> dict[str, Any]:
    return {
        "oid": 2918463730000005259,
        "num_iid": 35223910000,
        "sku_id": "33395009470",
        "outer_iid": "TX324",
        "outer_sku_id": "TX324A0212",
        "title": "长袖T恤男",
        "sku_properties_name": "颜色:白色;尺码:180/100(XL)",
        "cid": 50000436,
        "num": 2,
        "price": "88.00",
        "total_fee": "101.80",
        "discount_fee": "74.20",
        "adjust_fee": "0.00",
        "payment": "101.80",
        "divide_order_fee": "100.00",
        "part_mjz_discount": "1.80",
        "status": "WAIT_BUYER_CONFIRM_GOODS",
        "refund_status": "NO_REFUND",
        "consign_time": "2026-03-02 09:00:00",
        "logistics_company": "顺丰速运",
        "invoice_no": "SF1234567890",
        "store_code": "HZ01",
    } | fields


def trade(**fields: Any) -> dict[str, Any]:
    return {
        "tid": 2918463730000005258,
        "status": "WAIT_BUYER_CONFIRM_GOODS",
        "type": "step",
        "created": "2026-03-01 20:00:00",
        "pay_time": "2026-03-01 20:00:30",
        "consign_time": "2026-03-02 09:00:00",
        "modified": "2026-03-02 09:00:01",
        "payment": "106.80",
        "total_fee": "176.00",
        "discount_fee": "0.00",
        "adjust_fee": "-1.00",
        "post_fee": "5.00",
        "received_payment": "0.00",
        "step_trade_status": "FRONT_PAID_FINAL_PAID",
        "step_paid_fee": "20.00",
        "send_time": "2026-03-05 00:00:00",
        "shipping_type": "express",
        "seller_flag": 3,
        "buyer_open_uid": "AAHq0001",
        "receiver_state": "浙江省",
        "receiver_city": "杭州市",
        "receiver_district": "西湖区",
        "seller_memo": "改为发顺丰",
        "trade_from": "WAP,WAP",
        "mark_desc": "",
        "new_field_of_tomorrow": {"a": [1, 2]},
        "orders": {"order": [line()]},
    } | fields


def list_answer(*trades: Any, has_next: bool = False, **fields: Any) -> bytes:
    payload = {"has_next": has_next, "trades": {"trade": list(trades)}, "request_id": "118g8gffrwskl"} | fields
    return json.dumps({"trades_sold_get_response": payload}, ensure_ascii=False).encode()
