"""Parcels over the wire: traces and shipments (contract 3.7).

Belongs here: the logistics methods of the platform. Not here: what happens to parcels (``logistics`` of the room).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from order_pipeline.sandbox.chance import seeded
from order_pipeline.sandbox.clock import wall_text
from order_pipeline.sandbox.errors import PlatformError, invalid_argument, missing_argument, trade_not_exist
from order_pipeline.sandbox.event_values import OFFLINE
from order_pipeline.sandbox.logistics import journeys as j
from order_pipeline.sandbox.logistics.evidence import standings
from order_pipeline.sandbox.logistics.parcels import Parcel, carrier_of
from order_pipeline.sandbox.methods.contract import Context, Method, moment, names, required, whole_number
from order_pipeline.sandbox.methods.paging import DEFAULT_PAGE_SIZE, bounds
from order_pipeline.sandbox.people import person
from order_pipeline.sandbox.trade import Trade

MOST_SUB_TIDS = 50  # contract 3.7

SIGNED_TEXT = "对方已签收"  # recorded; the other texts are not established
_STATUS_TEXTS = {
    "no_trace": "等待揽收",
    "created": "等待揽收",
    "in_transit": "运输中",
    "out_for_delivery": "派送中",
    "pickup_point": "待取件",
    "failed": "派送失败",
    "returning": "退回中",
    "signed": SIGNED_TEXT,
    "returned": "已退回",
    "lost": "疑似遗失",
}
# Contract 4.9.
_SHIPPING_STATUSES = {
    "no_trace": "CREATED",
    "created": "CREATED",
    "failed": "PICK_UP",
    "returned": "REJECTED_BY_RECEIVER",
    "signed": "ACCEPTED_BY_RECEIVER",
    "lost": "LOST",
}
_SHIPPING_NAMES = (
    "tid order_code seller_nick buyer_nick delivery_start delivery_end out_sid item_title receiver_name created "
    "modified status type freight_payer company_name seller_confirm is_split sub_tids"
)
_SHIPPING_FIELDS = frozenset(_SHIPPING_NAMES.split())


def trace_search(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the trace of one parcel; that there is none yet is an error (contract 3.7)."""
    trade = _trade(context, parameters)
    is_split = whole_number(parameters, "is_split", 0, 0, 1) == 1
    oids = names(parameters, "sub_tid", MOST_SUB_TIDS)
    if is_split and not oids:
        raise missing_argument("sub_tid")
    parcels = context.parcels.of(trade)
    if is_split:
        wanted = {line.invoice_no for line in trade.lines if str(line.oid) in oids}
        if len(wanted) != 1 or {str(line.oid) for line in trade.lines}.issuperset(oids) is False:
            raise PlatformError(15, "Remote service error", "isv.split-data-error:CD22", "拆单数据错误")
        parcels = [parcel for parcel in parcels if parcel.waybill in wanted]
    if not parcels:
        raise _no_trace("isv.order-no-trace")
    trace = _trace(context, trade, parcels[0])
    if "trace_list" not in trace and parcels[0].channel != OFFLINE and (code := _silence(context, parcels[0])):
        raise _no_trace(code)
    return trace


def trace_get(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the traces of all parcels of an order."""
    trade = _trade(context, parameters)
    traces = [_trace(context, trade, parcel) for parcel in context.parcels.of(trade)]
    known = [trace for trace in traces if "trace_list" in trace or trace["status"] == SIGNED_TEXT]
    if not known:
        raise _no_trace("isv.order-no-trace")
    return {"result": {"transit_step_result": traces}}


def _trade(context: Context, parameters: Mapping[str, str]) -> Trade:
    text = required(parameters, "tid")
    if not (text.isascii() and text.isdigit()):
        raise invalid_argument("tid")
    trade = context.ledger.find(int(text), context.now)
    if trade is None:
        raise trade_not_exist()
    return trade


def _no_trace(sub_code: str) -> PlatformError:
    return PlatformError(15, "Remote service error", sub_code, "没有物流流转信息")


def _silence(context: Context, parcel: Parcel) -> str | None:
    return context.parcels.habits(parcel).no_trace


def _trace(context: Context, trade: Trade, parcel: Parcel) -> dict[str, Any]:
    book = context.parcels
    scans = book.visible(parcel, context.now_ms)
    out_sid, company = carrier_of(parcel, scans)
    answer: dict[str, Any] = {
        "company_name": company,
        "out_sid": out_sid,
        "status": SIGNED_TEXT if parcel.channel == OFFLINE else _STATUS_TEXTS[_state(scans)],
        "tid": trade.tid,
    }
    if scans:
        shown = sorted(scans, key=lambda scan: scan.time)
        if book.habits(parcel).is_shuffled:
            seeded(parcel.number).shuffle(shown)
        steps = [
            {"action": scan.action, "status_desc": scan.text, "status_time": wall_text(scan.time)} for scan in shown
        ]
        answer["trace_list"] = {"transit_step_info": steps}
    return answer


def _state(scans: list[j.Scan]) -> str:
    known = standings(scans)
    return known[-1].state if known else "no_trace"


def orders_get(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Return shipments, one row a parcel of an order, latest first; of one order if ``tid`` is given."""
    required(parameters, "fields")
    fields = _SHIPPING_FIELDS.intersection(names(parameters, "fields"))
    if not fields:
        raise invalid_argument("fields")
    page_no = whole_number(parameters, "page_no", 1, 1, None)
    # The largest page is not established; lists elsewhere end at 100.
    page_size = whole_number(parameters, "page_size", DEFAULT_PAGE_SIZE, 1, 100)
    book = context.parcels
    if parameters.get("tid"):
        trade = _trade(context, parameters)
        found: Iterator[tuple[Parcel, Trade]] = ((parcel, trade) for parcel in book.of(trade))
    else:
        found = _shipped_between(context, parameters)
    rows = [_shipping(context, parcel, trade) for parcel, trade in found]
    for name in ("status", "seller_confirm"):
        if wanted := parameters.get(name):
            rows = [row for row in rows if row[name] == wanted]
    shown = list(islice(rows, (page_no - 1) * page_size, page_no * page_size))
    answer: dict[str, Any] = {"total_results": len(rows)}
    if shown:
        kept = [{name: row[name] for name in sorted(fields) if row[name] is not None} for row in shown]
        answer["shippings"] = {"shipping": kept}
    return answer


def _shipped_between(context: Context, parameters: Mapping[str, str]) -> Iterator[tuple[Parcel, Trade]]:
    start, end = moment(parameters, "start_created"), moment(parameters, "end_created")
    if start is not None and end is not None and end <= start:
        raise invalid_argument("end_created")
    first, last = bounds(context, 0 if start is None else start, context.now + 1 if end is None else end)
    for parcel in sorted(context.parcels, key=lambda parcel: -parcel.handed_over_ms):
        if first <= parcel.handed_over_ms // 1000 <= last:
            for trade, _ in parcel.contents:
                if context.ledger.find(trade.tid, context.now) is not None:
                    yield parcel, trade


def _shipping(context: Context, parcel: Parcel, trade: Trade) -> dict[str, Any]:
    scans = context.parcels.visible(parcel, context.now_ms)
    out_sid, company = carrier_of(parcel, scans)
    state = "signed" if parcel.channel == OFFLINE else _state(scans)
    inside = [line for line in trade.lines if line.invoice_no == parcel.waybill]
    buyer = person(trade.placement.basket.household, context.seller.user_id)
    handed_over = parcel.handed_over_ms // 1000
    changed = scans[-1].at_ms // 1000 if scans else handed_over
    return {
        "buyer_nick": buyer.nick,
        "company_name": company,
        "created": wall_text(handed_over),
        "delivery_end": wall_text(changed) if state in ("signed", "returned") else None,
        "delivery_start": wall_text(handed_over),
        "freight_payer": "buyer" if trade.post_fee else "seller",
        "is_split": int(len(context.parcels.of(trade)) > 1),
        "item_title": inside[0].source.title if inside else None,
        "modified": wall_text(changed),
        "order_code": str(parcel.number % 10**12),
        "out_sid": out_sid,
        "receiver_name": buyer.name,
        "seller_confirm": "yes",
        "seller_nick": context.seller.seller_nick,
        "status": _SHIPPING_STATUSES.get(state, "SENDING"),
        "sub_tids": {"number": [line.oid for line in inside]} if inside else None,
        "tid": trade.tid,
        "type": "express",
    }


METHODS = (
    Method("taobao.logistics.trace.search", trace_search),
    Method("taobao.logistics.trace.get", trace_get),
    Method("taobao.logistics.orders.get", orders_get),
)
