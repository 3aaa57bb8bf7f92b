"""Which fields the records of a stored answer have, and of which JSON type, and which fields there should be.

Belongs here: naming the objects of an answer and their fields. Not here: what a field means (parsing.py), whether it
matters that one is new or gone (insights/drift.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from order_pipeline.platforms.protocol import KnownFields, RecordShape
from order_pipeline.platforms.taobao import parsing, refund_parsing
from order_pipeline.platforms.taobao.decoding import unwrap_list
from order_pipeline.platforms.taobao.fields import (
    DETAIL_FIELDS,
    PERSONAL_FIELDS,
    PERSONAL_FIELDS_OF_REFUNDS,
    REFUND_DETAIL_FIELDS,
)

ORDER, LINE, REFUND = "order", "order line", "refund"
_OF_LINES = "orders."

# As JSON calls them. Whatever the decoder makes of a number beyond 64 bits is a number.
_KINDS = {
    bool: "boolean",
    int: "number",
    float: "number",
    str: "text",
    dict: "object",
    list: "list",
    type(None): "null",
}


def _asked(fields: str, prefix: str = "") -> frozenset[str]:
    names = fields.split(",")
    if prefix:
        return frozenset(name.removeprefix(prefix) for name in names if name.startswith(prefix))
    return frozenset(name for name in names if "." not in name)


FIELDS: Mapping[str, KnownFields] = {
    ORDER: KnownFields(_asked(DETAIL_FIELDS) | PERSONAL_FIELDS | {"orders"}, parsing.MAPPED_OF_TRADE),
    LINE: KnownFields(_asked(DETAIL_FIELDS, _OF_LINES) | PERSONAL_FIELDS, parsing.MAPPED_OF_LINE),
    REFUND: KnownFields(_asked(REFUND_DETAIL_FIELDS) | PERSONAL_FIELDS_OF_REFUNDS, refund_parsing.MAPPED),
}


def shapes_of_answer(body: str) -> list[RecordShape]:
    """Return the fields of the trade and its lines, or of the refund, in an answer; nothing of what is no answer."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return []
    # Under its root key, or without one (simplify).
    payloads = (
        [each for each in (answer, *answer.values()) if isinstance(each, dict)] if isinstance(answer, dict) else []
    )
    trades = [payload["trade"] for payload in payloads if isinstance(payload.get("trade"), dict)]
    refunds = [payload["refund"] for payload in payloads if isinstance(payload.get("refund"), dict)]
    lines = [line for trade in trades for line in unwrap_list(trade.get("orders"), "order") or ()]
    return [
        _shape(name, record)
        for name, records in ((ORDER, trades), (LINE, lines), (REFUND, refunds))
        for record in records
        if isinstance(record, dict)
    ]


def _shape(name: str, record: Mapping[str, Any]) -> RecordShape:
    return RecordShape(name, {field: _KINDS.get(type(value), "number") for field, value in record.items()})
