"""Windows, types and pages, which every list of the platform has (contract 3.1, 3.6, 3.11).

Belongs here: from the parameters of a list call to a page of rows. Not here: which rows there are (``ledger``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

import msgspec

from order_pipeline.sandbox.errors import invalid_argument
from order_pipeline.sandbox.methods.contract import Context, whole_number

DEFAULT_PAGE_SIZE = 40  # contract 3.1, 3.6
MAXIMUM_PAGE_SIZE = 100  # contract 3.1, 3.6

_GUARANTEE_TRADE = ("fixed", "auction")  # a query-only union (contract 4.6)
_KNOWN_NAMES = (
    "fixed auction guarantee_trade step independent_simple_trade independent_shop_trade auto_delivery ec cod "
    "game_equipment shopex_trade netcn_trade external_trade instant_trade b2c_cod hotel_trade super_market_trade "
    "super_market_cod_trade taohua waimai o2o_offlinetrade nopaid eticket tmall_i18n insurance_plus finance "
    "pre_auth_type lazada fenxiao"
)
_KNOWN_TYPES = frozenset(_KNOWN_NAMES.split())

Row = TypeVar("Row")


def bounds(context: Context, start: int, end: int) -> tuple[int, int]:
    """First and last whole second of a window; which ends belong to it is the marketplace's setting."""
    first = start + 1 if context.marketplace.bounds == "exclusive" else start
    last = end if context.marketplace.bounds == "inclusive" else end - 1
    return first, last


def wanted_types(parameters: Mapping[str, str], default: Collection[str]) -> Collection[str]:
    """Return the trade types a list shows; PlatformError 41 for one that does not exist."""
    text = parameters.get("type", "")
    wanted = {name.strip() for name in text.split(",")} if text else set(default)
    if not wanted <= _KNOWN_TYPES:
        raise invalid_argument("type")
    return wanted.union(_GUARANTEE_TRADE) if "guarantee_trade" in wanted else wanted


def page(
    parameters: Mapping[str, str], rows: Iterator[Row], name: str, element: str, encode: Callable[[Row], msgspec.Raw]
) -> Mapping[str, Any]:
    """Return one page of a list; ``name`` and ``element`` are its wrappers (contract 1.5)."""
    page_no = whole_number(parameters, "page_no", 1, 1, None)
    page_size = whole_number(parameters, "page_size", DEFAULT_PAGE_SIZE, 1, MAXIMUM_PAGE_SIZE)
    begin = (page_no - 1) * page_size
    answer: dict[str, Any] = {}
    # Only the text "true" counts (contract 1.2); then nothing is counted and has_next replaces the total.
    if parameters.get("use_has_next") == "true":
        shown = list(islice(rows, begin, begin + page_size + 1))
        answer["has_next"] = len(shown) > page_size
        shown = shown[:page_size]
    else:
        found = list(rows)
        answer["total_results"] = len(found)
        shown = found[begin : begin + page_size]
    # How the platform writes an empty list is not established (contract 1.4); clients in the wild expect the
    # key to be absent, and absent is also what every other field without a value is.
    if shown:
        answer[name] = {element: [encode(row) for row in shown]}
    return answer
