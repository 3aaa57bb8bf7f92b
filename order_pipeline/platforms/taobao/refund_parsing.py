"""One refund of an answer -> the Refund or version it means, or a RejectedRecord that says why not (contract §4.3).

Belongs here: which field holds what, and what a refund needs to be believed: its id, status, times. Not here: how a
single value is read (values.py), what any record has to be (records.py).
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from order_pipeline.platforms.protocol import Refund, RefundVersion, RejectedRecord
from order_pipeline.platforms.taobao.fields import PERSONAL_FIELDS_OF_REFUNDS
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


def _optional_id(value: object) -> str | None:
    # A refund may come without its order; 0 names none.
    return read_id(value) if value not in (None, "", 0, "0") else None


def _flag(value: object) -> bool | None:
    if value is None or value == "":
        return None
    text = value.lower() if isinstance(value, str) else value
    if text in (True, "true"):
        return True
    if text in (False, "false"):
        return False
    raise UnreadableError("neither true nor false")


def _needed_moment(value: object) -> Any:
    return needed(read_moment(value))


def _amount(value: object) -> Any:
    return not_negative(read_money(value))


def _pieces(value: object) -> Any:
    return not_negative(read_integer(value))


# Column -> (field of the answer, reader).
_READERS = (
    ("refund_id", "refund_id", read_id),
    ("order_id", "tid", _optional_id),
    ("item_id", "oid", _optional_id),
    ("status", "status", lambda value: needed(read_code(value))),
    ("created_at", "created", _needed_moment),
    ("modified_at", "modified", _needed_moment),
    ("refund_fee", "refund_fee", _amount),
    ("quantity", "num", _pieces),
    ("order_status", "order_status", read_code),
    ("dispute_type", "dispute_type", read_code),
    ("phase", "refund_phase", read_code),
    ("good_status", "good_status", read_code),
    ("has_good_return", "has_good_return", _flag),
    # What stays with the seller.
    ("remaining_payment", "payment", read_money),
    ("total_fee", "total_fee", read_money),
    ("price", "price", read_money),
    ("num_iid", "num_iid", read_code),
    ("sku", "sku", read_text),
    ("sku_code", "outer_id", read_code),
    ("title", "title", read_text),
    ("reason", "reason", read_text),
    ("description", "desc", read_text),
    ("goods_returned_at", "good_return_time", read_moment),
    ("ended_at", "end_time", read_moment),
    ("return_company", "company_name", read_text),
    ("return_tracking_number", "sid", read_code),
    ("cs_status", "cs_status", read_integer),
    ("advance_status", "advance_status", read_integer),
)
_VERSION_COLUMNS = frozenset({"refund_id", "modified_at", "status", "refund_fee", "quantity"})
_VERSION_READERS = tuple(reader for reader in _READERS if reader[0] in _VERSION_COLUMNS)
# Fields that have a column.
MAPPED = frozenset(field for _, field, _ in _READERS)
_NOT_EXTRA = MAPPED | PERSONAL_FIELDS_OF_REFUNDS


def parse_refund(refund: object, *, text_is_clean: bool = False) -> Refund | RejectedRecord:
    """Read one refund. Never raises on any JSON value.

    Args:
        refund: the object as the answer held it; times in it are GMT+8, money is yuan.
        text_is_clean: no string in it holds a NUL or a lone surrogate (``decoding.Envelope`` knows).

    Returns:
        The refund, times aware; or, with the reason, the record that cannot be believed.

    """
    columns = _read(refund, _READERS, text_is_clean)
    if isinstance(columns, RejectedRecord):
        return columns
    assert isinstance(refund, dict)  # noqa: S101 - or it would have been rejected
    extra = {name: value for name, value in refund.items() if name not in _NOT_EXTRA}
    try:
        refuse_deep_values(extra)
    except UnreadableError as problem:
        return _rejected(refund, str(problem))
    return Refund(**columns, extra=extra)


def parse_refund_version(refund: object, *, text_is_clean: bool = False) -> RefundVersion | RejectedRecord:
    """Read just the version of a refund. Never raises on any JSON value."""
    columns = _read(refund, _VERSION_READERS, text_is_clean)
    return columns if isinstance(columns, RejectedRecord) else RefundVersion(**columns)


def parse_stored_refund(body: str) -> Refund | RejectedRecord:
    """Read a record as it was quarantined: as the platform sent it, or by the names of its columns.

    The latter is how one is kept that the warehouse refused. Never raises on any text.
    """
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):
        return RejectedRecord(None, None, "the stored body is no JSON", body)
    if isinstance(record, dict) and "modified_at" in record:
        try:
            return msgspec.convert(record, Refund, strict=False)
        except msgspec.ValidationError as problem:
            return RejectedRecord(None, None, f"the stored refund: {problem}", body)
    return parse_refund(record)


def read_refund_id(record: object) -> str | None:
    """Read the refund's id of a record that may be broken, or None."""
    return read_record_field(record, "refund_id")


def _read(refund: object, readers: Any, text_is_clean: bool) -> dict[str, Any] | RejectedRecord:
    if not isinstance(refund, dict):
        return _rejected(refund, f"a {type(refund).__name__} instead of a refund")
    columns: dict[str, Any] = {}
    field = ""
    try:
        if not text_is_clean:
            refuse_forbidden_characters(refund)
        for column, field, read in readers:
            columns[column] = read(refund.get(field))
    except UnreadableError as problem:
        return _rejected(refund, f"{field}: {problem}" if field else str(problem))
    return columns


def _rejected(refund: object, reason: str) -> RejectedRecord:
    return rejected(refund, reason, refund_id=read_refund_id(refund), personal=PERSONAL_FIELDS_OF_REFUNDS)
