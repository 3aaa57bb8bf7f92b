"""Orders: lists by creation and by change, and the details of one (contract 3.1 to 3.4, 3.11).

Belongs here: the trade methods of the platform. Not here: how a trade looks (``rendering``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from order_pipeline.sandbox import trade as t
from order_pipeline.sandbox.clock import DAY_SECONDS
from order_pipeline.sandbox.errors import invalid_argument, missing_argument, trade_not_exist
from order_pipeline.sandbox.fields import Selection
from order_pipeline.sandbox.ledger import THREE_MONTHS_SECONDS
from order_pipeline.sandbox.methods.contract import Context, Method, moment, required, selected
from order_pipeline.sandbox.methods.paging import bounds, page, wanted_types
from order_pipeline.sandbox.trade import Trade

LONGEST_INCREMENT_SECONDS = DAY_SECONDS  # contract 3.2


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Orders of any other type are silently missing unless asked for (contract 3.1).
DEFAULT_TYPES = frozenset({"guarantee_trade", "auto_delivery", "ec", "cod", "step"})
_STATUS_UNIONS = {
    "ALL_WAIT_PAY": frozenset({t.WAIT_BUYER_PAY, "TRADE_NO_CREATE_PAY"}),
    "ALL_CLOSED": frozenset({t.TRADE_CLOSED, t.TRADE_CLOSED_BY_TAOBAO}),
}
_KNOWN_STATUSES = _names(
    "TRADE_NO_CREATE_PAY WAIT_BUYER_PAY PAY_PENDING WAIT_PRE_AUTH_CONFIRM PAID_FORBID_CONSIGN "
    "WAIT_SELLER_SEND_GOODS SELLER_CONSIGNED_PART WAIT_BUYER_CONFIRM_GOODS TRADE_BUYER_SIGNED TRADE_FINISHED "
    "TRADE_CLOSED TRADE_CLOSED_BY_TAOBAO"
)


def trades_sold_get(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Orders by creation, newest first; without a window all of the last three months."""
    selection = selected(parameters, "sold")
    start = moment(parameters, "start_created")
    end = moment(parameters, "end_created")
    if start is not None and end is not None and end <= start:
        raise invalid_argument("end_created")
    first, last = bounds(
        context, context.now - THREE_MONTHS_SECONDS if start is None else start, context.now + 1 if end is None else end
    )
    types, statuses = wanted_types(parameters, DEFAULT_TYPES), _statuses(parameters)
    trades = context.ledger.created_between(first, last, context.list_at(), types, statuses)
    return _page(context, parameters, selection, trades)


def trades_sold_increment_get(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Orders by change, latest first, computed anew for every call: rows move while a client pages."""
    first, last = _increment_window(context, parameters, "start_modified", "end_modified")
    selection, types, statuses = (
        selected(parameters, "increment"),
        wanted_types(parameters, DEFAULT_TYPES),
        _statuses(parameters),
    )
    trades = context.ledger.modified_between(first, last, context.list_at(), types, statuses)
    return _page(context, parameters, selection, trades)


def trades_sold_incrementv_get(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Orders by when their latest change came into the seller's database (async_modified), latest first."""
    first, last = _increment_window(context, parameters, "start_create", "end_create")
    selection, types, statuses = (
        selected(parameters, "incrementv"),
        wanted_types(parameters, DEFAULT_TYPES),
        _statuses(parameters),
    )
    trades = context.ledger.entered_between(first, last, context.list_at(), types, statuses)
    return _page(context, parameters, selection, trades)


def _page(
    context: Context, parameters: Mapping[str, str], selection: Selection, trades: Iterator[Trade]
) -> Mapping[str, Any]:
    return page(parameters, trades, "trades", "trade", lambda trade: context.encoded(trade, selection))


def _increment_window(context: Context, parameters: Mapping[str, str], start: str, end: str) -> tuple[int, int]:
    begin, until = moment(parameters, start), moment(parameters, end)
    if begin is None:
        raise missing_argument(start)
    if until is None:
        raise missing_argument(end)
    if until <= begin or until - begin > LONGEST_INCREMENT_SECONDS:
        raise invalid_argument(end)
    return bounds(context, begin, until)


def trade_fullinfo_get(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Every selected field of one order; unknown, foreign and old ones do not exist."""
    selection = selected(parameters, "detail")
    text = required(parameters, "tid")
    if not (text.isascii() and text.isdigit()):
        raise invalid_argument("tid")
    trade = context.ledger.find(int(text), context.now)
    shown = context.as_detailed(trade) if trade is not None else None
    if shown is None:
        raise trade_not_exist()
    return {"trade": context.encoded(shown, selection)}


def _statuses(parameters: Mapping[str, str]) -> Collection[str] | None:
    text = parameters.get("status", "")
    if not text:
        return None
    if union := _STATUS_UNIONS.get(text):
        return union
    if text not in _KNOWN_STATUSES:
        raise invalid_argument("status")
    return (text,)


METHODS = (
    Method("taobao.trades.sold.get", trades_sold_get),
    Method("taobao.trades.sold.increment.get", trades_sold_increment_get),
    Method("taobao.trades.sold.incrementv.get", trades_sold_incrementv_get),
    Method("taobao.trade.fullinfo.get", trade_fullinfo_get),
)
