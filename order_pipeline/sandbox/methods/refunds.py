"""Refunds: the list of those a seller received, and one of them (contract 3.6).

Belongs here: the refund methods of the platform. Not here: how a refund looks (``refunds`` of the room).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from order_pipeline.sandbox.errors import PlatformError, invalid_argument, missing_argument
from order_pipeline.sandbox.ledger import Refunded
from order_pipeline.sandbox.methods.contract import Context, Method, moment, names, required, whole_number
from order_pipeline.sandbox.methods.paging import DEFAULT_PAGE_SIZE, bounds, page, wanted_types
from order_pipeline.sandbox.refunds import DETAIL_FIELDS, LIST_FIELDS, MESSAGE_FIELDS, STATUSES, conversation

# Fewer types than the trade lists have: refunds of staged or cash orders are silently missing (contract 3.6).
DEFAULT_TYPES = frozenset({"guarantee_trade", "auto_delivery"})
MOST_FIELDS = 100

# Without a window everything is listed: neither a longest window nor a floor is documented (contract 3.6, 9).
_BEGINNING = 0


def refunds_receive_get(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Refunds by their own change, latest first; the platform documents no order."""
    fields = _fields(parameters, LIST_FIELDS)
    start, end = moment(parameters, "start_modified"), moment(parameters, "end_modified")
    if start is not None and end is not None and end <= start:
        raise invalid_argument("end_modified")
    first, last = bounds(context, _BEGINNING if start is None else start, context.now + 1 if end is None else end)
    status = parameters.get("status") or None
    if status is not None and status not in STATUSES:
        raise invalid_argument("status")
    types = wanted_types(parameters, DEFAULT_TYPES)
    found = context.ledger.refunds_between(first, last, context.list_at(), types, status)
    return page(parameters, found, "refunds", "refund", lambda refund: context.encoded_refund(refund, fields))


def refund_get(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Return one refund; unknown and foreign ones do not exist."""
    fields = _fields(parameters, DETAIL_FIELDS)
    return {"refund": context.encoded_refund(_refund(context, parameters), fields)}


def refund_messages_get(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Return what was said about one refund; of a Tmall shop the phase must be named."""
    fields = _fields(parameters, MESSAGE_FIELDS)
    trade, _, slot = _refund(context, parameters)
    phase = parameters.get("refund_phase")
    if phase not in (None, "", "onsale", "aftersale"):
        raise invalid_argument("refund_phase")
    if not phase and context.seller.seller_type == "B":
        raise missing_argument("refund_phase")
    page_no = whole_number(parameters, "page_no", 1, 1, None)
    page_size = whole_number(parameters, "page_size", DEFAULT_PAGE_SIZE, 1, None)
    said = [one for one in conversation(trade, slot, context.seller) if not phase or one["refund_phase"] == phase]
    answer: dict[str, Any] = {"total_results": len(said)}
    if shown := said[(page_no - 1) * page_size : page_no * page_size]:
        kept = [{name: one[name] for name in one if name in fields} for one in shown]
        answer["refund_messages"] = {"refund_message": kept}
    return answer


def _refund(context: Context, parameters: Mapping[str, str]) -> Refunded:
    text = required(parameters, "refund_id")
    if not (text.isascii() and text.isdigit()):
        raise invalid_argument("refund_id")
    refund: Refunded | None = context.ledger.find_refund(int(text))
    if refund is None:
        # The sub_code of a refund that does not exist is not established.
        raise PlatformError(15, "Remote service error", "isv.refund-not-exist", "退款不存在")
    return refund


def _fields(parameters: Mapping[str, str], available: frozenset[str]) -> frozenset[str]:
    required(parameters, "fields")
    fields = available.intersection(names(parameters, "fields", MOST_FIELDS))
    if not fields:
        raise invalid_argument("fields")
    return fields


METHODS = (
    Method("taobao.refunds.receive.get", refunds_receive_get),
    Method("taobao.refund.get", refund_get),
    Method("taobao.refund.messages.get", refund_messages_get),
)
