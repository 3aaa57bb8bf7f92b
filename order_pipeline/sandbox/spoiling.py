"""What a fault does to one record of an answer; the truth is never touched.

Belongs here: pure changes of encoded orders and refunds, and of messages. Not here: which records are struck
(``faults``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

# What an id must not look like: more digits than fit 64 bits.
HUGE_TID = 10**20
HUGE_FIELD_BYTES = 10 * 1024 * 1024

_TID = re.compile(rb'"tid":\d+')
_MONEY = re.compile(rb'"payment":"[^"]*"')
_STOCK = re.compile(rb'"(num|quantity)":\d+')
_STOCK_TEXTS: Mapping[str, bytes] = MappingProxyType(
    {
        "negative": rb'"\1":-7',
        "text": '"\\1":"缺货"'.encode(),
        "huge": b'"\\1":' + b"9" * 30,
        # A number that is not there at all; nothing is named so.
        "missing": rb'"no_\1":0',
    }
)
_IDS = frozenset({"tid", "oid", "num_iid", "refund_id", "cid"})
_NUMBERS = frozenset({"num", "seller_flag", "coupon_fee", "tmall_coupon_fee", "refund_version", "cs_status"})
_MONEYS = frozenset({"payment", "total_fee", "price", "post_fee", "discount_fee", "refund_fee", "divide_order_fee"})
_VALUES = frozenset({"status", "type", "refund_status", "step_trade_status", "good_status", "shipping_type"})
_DATES = frozenset({"pay_time", "consign_time", "end_time", "modified"})


def control_characters(fragment: bytes) -> bytes:
    """Put raw control characters into the memo, or else the title."""
    place = b'"seller_memo":"' if b'"seller_memo":"' in fragment else b'"title":"'
    return fragment.replace(place, place + b"\x01\t\n", 1)


def poisoned(kind: str, fragment: bytes) -> bytes:
    """Return a record that cannot be loaded."""
    if kind == "nul":
        return fragment.replace(b'"title":"', b'"title":"\\u0000', 1)
    if kind == "lone_surrogate":
        return fragment.replace(b'"title":"', b'"title":"\\ud800', 1)
    if kind == "money_text":
        return _MONEY.sub(b'"payment":"abc"', fragment, count=1)
    if kind == "money_nan":
        return _MONEY.sub(b'"payment":NaN', fragment, count=1)
    if kind == "huge_tid":
        return _TID.sub(b'"tid":%d' % HUGE_TID, fragment, count=1)
    fields: dict[str, Any] = msgspec.json.decode(fragment)
    fields.pop("orders", None)
    return msgspec.json.encode(fields)


def odd_stock(kind: str, fragment: bytes) -> bytes:
    """Return an item or SKU with stock that cannot be true; a record without stock stays as it is."""
    return _STOCK.sub(_STOCK_TEXTS[kind], fragment)


def odd(kind: str, fragment: bytes) -> bytes:
    """Return a record that is unlike the documentation."""
    fields: dict[str, Any] = msgspec.json.decode(fragment)
    _ODDITIES[kind](fields)
    return msgspec.json.encode(fields)


_MAY_BE_EMPTY = ("pay_time", "seller_memo", "buyer_message", "refund_id", "invoice_no", "receiver_city")


def _records(fields: dict[str, Any]) -> list[dict[str, Any]]:
    orders = fields.get("orders")
    return [fields, *(orders["order"] if isinstance(orders, dict) else ())]


def _changing(names: frozenset[str], change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], None]:
    def apply(fields: dict[str, Any]) -> None:
        for record in _records(fields):
            for name in names & record.keys():
                record[name] = change(record[name])

    return apply


def _unknown_field(fields: dict[str, Any]) -> None:
    for record in _records(fields):
        record["sandbox_new_field"] = {"new_part": [{"level": 1, "名称": "新"}]}


def _null_values(fields: dict[str, Any]) -> None:
    for record in _records(fields):
        for name in _MAY_BE_EMPTY:
            record[name] = None


def _missing_fields(fields: dict[str, Any]) -> None:
    for record in _records(fields):
        for name in _MAY_BE_EMPTY:
            record.pop(name, None)


def _huge_field(fields: dict[str, Any]) -> None:
    name = "seller_memo" if "seller_memo" in fields else "title"
    fields[name] = "x" * HUGE_FIELD_BYTES


def _absurd_numbers(fields: dict[str, Any]) -> None:
    for record in _records(fields):
        record["num"] = msgspec.Raw(b"-" + b"9" * 30)
        record["payment"] = "-" + "9" * 40 + ".99"
        record["seller_flag"] = msgspec.Raw(b"1e308")


def _text_for_list(fields: dict[str, Any]) -> None:
    fields["orders"] = "[]"


_ODDITIES: Mapping[str, Callable[[dict[str, Any]], None]] = MappingProxyType(
    {
        "unknown_value": _changing(_VALUES, lambda _: "SANDBOX_NEVER_SEEN"),
        "unknown_field": _unknown_field,
        "ids_as_text": _changing(_IDS, str),
        "numbers_as_text": _changing(_NUMBERS, str),
        "money_as_number": _changing(_MONEYS, lambda text: msgspec.Raw(text.encode())),
        "null_values": _null_values,
        "missing_fields": _missing_fields,
        "bad_date": _changing(_DATES, lambda _: "0000-00-00 00:00:00"),
        "huge_field": _huge_field,
        "absurd_numbers": _absurd_numbers,
        "text_for_list": _text_for_list,
    }
)


def spoilt_message(kind: str, message: dict[str, Any]) -> dict[str, Any]:
    """Return a message that names nothing known, or whose content cannot be read."""
    if kind == "unknown_topic":
        return message | {"topic": "taobao_trade_TradeTeleported"}
    if kind == "unknown_seller":
        return message | {"user_id": 1, "user_nick": "从未授权的店"}
    content: str = message["content"]
    if kind == "broken_content":
        return message | {"content": content[: len(content) // 2]}
    fields = {name: str(value) for name, value in msgspec.json.decode(content).items()}
    return message | {"content": msgspec.json.encode(fields).decode()}
