"""Orders: lists by creation and by change, and the details of one (contract 3.1 to 3.4, 3.11).

Belongs here: the trade methods of the platform. Not here: how a trade looks (``rendering``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Any

from order_pipeline.sandbox import trade as t
from order_pipeline.sandbox.clock import DAY_SECONDS
from order_pipeline.sandbox.errors import invalid_argument, missing_argument, trade_not_exist
from order_pipeline.sandbox.fields import Selection
from order_pipeline.sandbox.ledger import THREE_MONTHS_SECONDS
from order_pipeline.sandbox.methods.contract import Context, Method, moment, required, selected, whole_number
from order_pipeline.sandbox.trade import Trade

DEFAULT_PAGE_SIZE = 40  # contract 3.1
MAXIMUM_PAGE_SIZE = 100  # contract 3.1
LONGEST_INCREMENT_SECONDS = DAY_SECONDS  # contract 3.2

_GUARANTEE_TRADE = ("fixed", "auction")  # a query-only union (contract 4.6)


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Orders of any other type are silently missing unless asked for (contract 3.1).
DEFAULT_TYPES = frozenset({*_GUARANTEE_TRADE, "auto_delivery", "ec", "cod", "step"})
_KNOWN_TYPES = _names(
    "fixed auction guarantee_trade step independent_simple_trade independent_shop_trade auto_delivery ec cod "
    "game_equipment shopex_trade netcn_trade external_trade instant_trade b2c_cod hotel_trade super_market_trade "
    "super_market_cod_trade taohua waimai o2o_offlinetrade nopaid eticket tmall_i18n insurance_plus finance "
    "pre_auth_type lazada fenxiao"
)
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
    first, last = _bounds(
        context, context.now - THREE_MONTHS_SECONDS if start is None else start, context.now + 1 if end is None else end
    )
    types, statuses = _types(parameters), _statuses(parameters)
    return _page(
        context, parameters, selection, context.ledger.created_between(first, last, context.list_at(), types, statuses)
    )


def trades_sold_increment_get(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Orders by change, latest first, computed anew for every call: rows move while a client pages."""
    first, last = _increment_window(context, parameters, "start_modified", "end_modified")
    selection, types, statuses = selected(parameters, "increment"), _types(parameters), _statuses(parameters)
    trades = context.ledger.modified_between(first, last, context.list_at(), types, statuses)
    return _page(context, parameters, selection, trades)


def trades_sold_incrementv_get(context: Context, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Orders by when their latest change came into the seller's database (async_modified), latest first."""
    first, last = _increment_window(context, parameters, "start_create", "end_create")
    selection, types, statuses = selected(parameters, "incrementv"), _types(parameters), _statuses(parameters)
    trades = context.ledger.entered_between(first, last, context.list_at(), types, statuses)
    return _page(context, parameters, selection, trades)


def _increment_window(context: Context, parameters: Mapping[str, str], start: str, end: str) -> tuple[int, int]:
    begin, until = moment(parameters, start), moment(parameters, end)
    if begin is None:
        raise missing_argument(start)
    if until is None:
        raise missing_argument(end)
    if until <= begin or until - begin > LONGEST_INCREMENT_SECONDS:
        raise invalid_argument(end)
    return _bounds(context, begin, until)


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


def _bounds(context: Context, start: int, end: int) -> tuple[int, int]:
    """First and last whole second of a window; which ends belong to it is the marketplace's setting."""
    first = start + 1 if context.marketplace.bounds == "exclusive" else start
    last = end if context.marketplace.bounds == "inclusive" else end - 1
    return first, last


def _page(
    context: Context, parameters: Mapping[str, str], selection: Selection, trades: Iterator[Trade]
) -> Mapping[str, Any]:
    page_no = whole_number(parameters, "page_no", 1, 1, None)
    page_size = whole_number(parameters, "page_size", DEFAULT_PAGE_SIZE, 1, MAXIMUM_PAGE_SIZE)
    begin = (page_no - 1) * page_size
    answer: dict[str, Any] = {}
    # Only the text "true" counts (contract 1.2); then nothing is counted and has_next replaces the total.
    if parameters.get("use_has_next") == "true":
        shown = list(islice(trades, begin, begin + page_size + 1))
        answer["has_next"] = len(shown) > page_size
        shown = shown[:page_size]
    else:
        found = list(trades)
        answer["total_results"] = len(found)
        shown = found[begin : begin + page_size]
    # How the platform writes an empty list is not established (contract 1.4); clients in the wild expect the
    # key to be absent, and absent is also what every other field without a value is.
    if shown:
        answer["trades"] = {"trade": [context.encoded(trade, selection) for trade in shown]}
    return answer


def _types(parameters: Mapping[str, str]) -> Collection[str]:
    text = parameters.get("type", "")
    if not text:
        return DEFAULT_TYPES
    wanted = {name.strip() for name in text.split(",")}
    if not wanted <= _KNOWN_TYPES:
        raise invalid_argument("type")
    return wanted.union(_GUARANTEE_TRADE) if "guarantee_trade" in wanted else wanted


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
