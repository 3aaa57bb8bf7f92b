"""Which fields an answer's records have, whatever the answer is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from order_pipeline.platforms.taobao.shapes import FIELDS, shapes_of_answer

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def test_a_trade_its_lines_and_a_refund_are_named_with_the_type_of_each_field() -> None:
    trade = {"tid": 1, "status": "NEW", "pay_time": None, "is_x": True,
             "orders": {"order": [{"oid": 2, "price": 1.5}, {"oid": "3", "tags": []}]}}  # fmt: skip
    shapes = shapes_of_answer(json.dumps({"trade_fullinfo_get_response": {"trade": trade, "request_id": "r"}}))
    assert [(shape.object, dict(shape.kinds)) for shape in shapes] == [
        ("order", {"tid": "number", "status": "text", "pay_time": "null", "is_x": "boolean", "orders": "object"}),
        ("order line", {"oid": "number", "price": "number"}),
        ("order line", {"oid": "text", "tags": "list"}),
    ]
    (refund,) = shapes_of_answer(json.dumps({"refund": {"refund_id": "1"}}))
    assert (refund.object, dict(refund.kinds)) == ("refund", {"refund_id": "text"})


def test_every_field_with_a_column_is_asked_for() -> None:
    for name, fields in FIELDS.items():
        assert fields.mapped <= fields.known, name


@pytest.mark.parametrize("body", ["", "<html>", "[1]", '"trade"', "null", '{"trade": 7}'])
def test_what_is_no_answer_has_no_records(body: str) -> None:
    assert shapes_of_answer(body) == []


@given(JSON, JSON)
def test_no_json_is_too_odd(trade: object, lines: object) -> None:
    for answer in ({"x": {"trade": trade}}, {"x": {"trade": {"tid": 1, "orders": lines}}}, {"refund": trade}, trade):
        for shape in shapes_of_answer(json.dumps(answer)):
            assert shape.object in FIELDS
