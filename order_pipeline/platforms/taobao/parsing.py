"""One trade of an answer -> the Order or version it means, or a RejectedRecord that says why not (contract §4).

Belongs here: which field holds what, and what a record needs to be believed. Not here: how a single value is
read (values.py), nor the envelope around the trade (decoding.py).

Strict on what the tables stand on (ids, times, status, money, quantities, lines), tolerant in types (§1.4), and nothing
is dropped silently: what has no column goes to ``extra``, save personal data (fields.PERSONAL_FIELDS).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeAlias

import msgspec

from order_pipeline.platforms.protocol import Order, OrderItem, OrderVersion, RejectedRecord
from order_pipeline.platforms.taobao.decoding import unwrap_list
from order_pipeline.platforms.taobao.fields import PERSONAL_FIELDS
from order_pipeline.platforms.taobao.records import (
    needed,
    not_negative,
    read_record_field,
    refuse_deep_values,
    refuse_forbidden_characters,
    rejected,
)
from order_pipeline.platforms.taobao.values import (
    UnreadableError,
    read_code,
    read_id,
    read_integer,
    read_moment,
    read_money,
    read_text,
)

_Read: TypeAlias = Callable[[Any], Any]
# (column, field of the answer, reader).
_Readers: TypeAlias = tuple[tuple[str, str, _Read], ...]


def _needed(read: _Read) -> _Read:
    return lambda value: needed(read(value))


def _not_negative(read: _Read) -> _Read:
    return lambda value: not_negative(read(value))


def _read_promise(value: object) -> datetime | None:
    # Documented as text without a form: a promise in words has no moment, and is kept as it came (_parse).
    try:
        return read_moment(value)
    except UnreadableError:
        return None


# In the order of protocol.Order. Every reader answers a missing value with None,
# or refuses it.
_TRADE_READERS: _Readers = (
    ("order_id", "tid", read_id),
    ("status", "status", _needed(read_code)),
    ("type", "type", read_code),
    ("created_at", "created", _needed(read_moment)),
    ("paid_at", "pay_time", read_moment),
    ("shipped_at", "consign_time", read_moment),
    ("ended_at", "end_time", read_moment),
    ("modified_at", "modified", _needed(read_moment)),
    ("payment", "payment", _not_negative(read_money)),
    ("total_fee", "total_fee", read_money),
    ("discount_fee", "discount_fee", read_money),
    ("adjust_fee", "adjust_fee", read_money),
    ("post_fee", "post_fee", read_money),
    ("received_payment", "received_payment", read_money),
    ("step_status", "step_trade_status", read_code),
    ("step_paid_fee", "step_paid_fee", read_money),
    ("promised_ship_at", "send_time", _read_promise),
    ("shipping_type", "shipping_type", read_code),
    ("seller_flag", "seller_flag", read_integer),
    ("buyer_open_uid", "buyer_open_uid", read_code),
    ("receiver_state", "receiver_state", read_text),
    ("receiver_city", "receiver_city", read_text),
    ("receiver_district", "receiver_district", read_text),
    ("buyer_message", "buyer_message", read_text),
    ("seller_memo", "seller_memo", read_text),
    ("trade_from", "trade_from", read_text),
)
# The same of protocol.OrderItem.
_LINE_READERS: _Readers = (
    ("item_id", "oid", read_id),
    ("num_iid", "num_iid", read_code),
    ("sku_id", "sku_id", read_code),
    ("sku_code", "outer_sku_id", read_code),
    ("title", "title", read_text),
    ("sku_properties", "sku_properties_name", read_text),
    ("category_id", "cid", read_code),
    ("quantity", "num", _needed(_not_negative(read_integer))),
    ("price", "price", read_money),
    ("total_fee", "total_fee", read_money),
    ("discount_fee", "discount_fee", read_money),
    ("adjust_fee", "adjust_fee", read_money),
    ("payment", "payment", _not_negative(read_money)),
    ("divided_payment", "divide_order_fee", read_money),
    ("status", "status", read_code),
    ("refund_status", "refund_status", read_code),
    ("refund_id", "refund_id", read_code),
    ("shipped_at", "consign_time", read_moment),
    ("ended_at", "end_time", read_moment),
    ("logistics_company", "logistics_company", read_text),
    ("tracking_number", "invoice_no", read_code),
)
# Who has no codes of variants has one of the item.
_OUTER_IID: _Readers = (("sku_code", "outer_iid", read_code),)
_SKU_CODE = [column for column, _, _ in _LINE_READERS].index("sku_code")
_NEEDED_OF_TRADE = frozenset({"tid", "status", "created", "modified"})
_NEEDED_OF_LINE = frozenset({"oid", "num"})

# Fields that have a column.
MAPPED_OF_TRADE = frozenset(field for _, field, _ in _TRADE_READERS) | {"orders"}
# The two codes share a column, so both are kept in extra as they came, too.
_CODES = {"outer_iid", "outer_sku_id"}
MAPPED_OF_LINE = frozenset(field for _, field, _ in _LINE_READERS) | _CODES
_NOT_EXTRA_OF_TRADE = MAPPED_OF_TRADE | PERSONAL_FIELDS
_NOT_EXTRA_OF_LINE = (MAPPED_OF_LINE - _CODES) | PERSONAL_FIELDS


def parse_trade(trade: object, *, text_is_clean: bool = False) -> Order | RejectedRecord:
    """Read one trade.

    Args:
        trade: the object as the answer held it; times in it are GMT+8, money is yuan.
        text_is_clean: no string in it holds a NUL or a lone surrogate (``decoding.Envelope`` knows); spares the search.

    Returns:
        The order, times aware; or, with the reason, the record that cannot be believed. Never raises on any JSON value.

    """
    if not isinstance(trade, dict):
        return _rejected(trade, f"a {type(trade).__name__} instead of a trade")
    try:
        if not text_is_clean:
            refuse_forbidden_characters(trade)
        return _parse(trade)
    except UnreadableError as problem:
        return _rejected(trade, str(problem))


def parse_version(trade: object, *, text_is_clean: bool = False) -> OrderVersion | RejectedRecord:
    """Read just the version of a trade: when it changed, where it and its pre-sale stand, payment, lines, pieces.

    Lines that are missing or cannot be read leave ``lines`` and ``quantity`` unsaid. Never raises on any JSON value.
    """
    if not isinstance(trade, dict):
        return _rejected(trade, f"a {type(trade).__name__} instead of a trade")
    get = trade.get
    field = "tid"
    try:
        if not text_is_clean:
            refuse_forbidden_characters(trade)
        order_id = read_id(get(field))
        field = "created"
        created_at = needed(read_moment(get(field)))
        field = "modified"
        modified_at = needed(read_moment(get(field)))
        field = "status"
        status = needed(read_code(get(field)))
        field = "step_trade_status"
        step_status = read_code(get(field))
        field = "payment"
        payment = read_money(get(field))
    except UnreadableError as problem:
        return _rejected(trade, f"{field}: {problem}")
    quantities = _quantities(get("orders"))
    return OrderVersion(
        order_id=order_id,
        created_at=created_at,
        modified_at=modified_at,
        status=status,
        step_status=step_status,
        payment=payment,
        lines=len(quantities) if quantities else None,
        quantity=sum(quantities) if quantities else None,
    )


def parse_stored(body: str) -> Order | RejectedRecord:
    """Read a record as it was quarantined: a trade that could not be read, or an order that the warehouse refused.

    The latter is kept as the order it was, by the names of its columns. Never raises on any text.
    """
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):
        return RejectedRecord(None, None, "the stored body is no JSON", body)
    if isinstance(record, dict) and "order_id" in record and "tid" not in record:
        try:
            return msgspec.convert(record, Order, strict=False)
        except msgspec.ValidationError as problem:
            return RejectedRecord(None, None, f"the stored order: {problem}", body)
    return parse_trade(record)


def read_record_id(record: object) -> str | None:
    """Read the order's id of a record that may be broken, or None."""
    return read_record_field(record, "tid")


def _parse(trade: dict[str, Any]) -> Order:
    columns = _read(trade, _TRADE_READERS, _NEEDED_OF_TRADE)
    extra = {name: value for name, value in trade.items() if name not in _NOT_EXTRA_OF_TRADE}
    refuse_deep_values(extra)
    columns += (extra, _parse_lines(trade.get("orders")))
    order = Order(*columns)
    if order.promised_ship_at is None and (promise := trade.get("send_time")):
        extra["send_time"] = promise
    return order


def _read(record: dict[str, Any], readers: _Readers, needed_fields: frozenset[str]) -> list[Any]:
    """Return the columns of a record. Raises UnreadableError that names the first field which cannot be read."""
    get = record.get
    try:
        # Half of the fields are missing in most records, which costs no call.
        columns = [None if (value := get(field)) is None else read(value) for _, field, read in readers]
    except UnreadableError:
        raise _problem(record, readers) from None
    if None in map(get, needed_fields):
        raise _problem(record, readers)
    return columns


def _problem(record: dict[str, Any], readers: _Readers) -> UnreadableError:
    for _, field, read in readers:
        try:
            read(record.get(field))
        except UnreadableError as problem:
            return UnreadableError(f"{field}: {problem}")
    raise AssertionError("one of them was unreadable before")


def _parse_lines(orders: object) -> tuple[OrderItem, ...]:
    lines = unwrap_list(orders, "order")
    if lines is None:
        raise UnreadableError(f"orders: a {type(orders).__name__} is no list of lines")
    if not lines:
        raise UnreadableError("orders: not one line")
    items = tuple([_parse_line(line, number) for number, line in enumerate(lines, 1)])
    if len(items) > 1 and len({item.item_id for item in items}) < len(items):
        raise UnreadableError("orders: two lines with the same oid")
    return items


def _parse_line(line: object, number: int) -> OrderItem:
    if not isinstance(line, dict):
        raise UnreadableError(f"orders: line {number} is a {type(line).__name__}")
    try:
        columns = _read(line, _LINE_READERS, _NEEDED_OF_LINE)
        if columns[_SKU_CODE] is None and line.get("outer_iid") is not None:
            columns[_SKU_CODE] = _read(line, _OUTER_IID, frozenset())[0]
    except UnreadableError as problem:
        raise UnreadableError(f"orders: line {number}: {problem}") from None
    extra = {name: value for name, value in line.items() if name not in _NOT_EXTRA_OF_LINE}
    refuse_deep_values(extra)
    columns.append(extra)
    return OrderItem(*columns)


def _quantities(orders: object) -> list[int] | None:
    try:
        return [needed(read_integer(line["num"])) for line in unwrap_list(orders, "order") or ()]
    except (KeyError, TypeError, UnreadableError):
        return None


def _rejected(trade: object, reason: str) -> RejectedRecord:
    return rejected(trade, reason, order_id=read_record_id(trade), personal=PERSONAL_FIELDS)
