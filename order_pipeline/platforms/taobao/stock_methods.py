"""A shop's goods and their stock: which calls read and write them (Taobao contract §3.8).

Belongs here: methods about items, their parameters, and what is made of an answer. Not here: how their lists are walked
(item_walking.py), what may be sold and what is written (insights/stock_levels.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from order_pipeline.platforms.protocol import (
    Answer,
    BundlePart,
    StockItem,
    StockItemPage,
    StockLevel,
    StockLevelPage,
    Window,
)
from order_pipeline.platforms.taobao.calls import TaobaoCalls
from order_pipeline.platforms.taobao.client import span_text, wire_time
from order_pipeline.platforms.taobao.decoding import Envelope, malformed, read_list, unwrap_list
from order_pipeline.platforms.taobao.item_walking import ItemAnswer, WalkedItems, walk_items
from order_pipeline.platforms.taobao.records import refuse_forbidden_characters
from order_pipeline.platforms.taobao.values import UnreadableError, read_code, read_id, read_integer, read_text
from order_pipeline.traffic.breaker import Kind
from order_pipeline.traffic.errors import MalformedAnswerError, OutcomeUnknownError, TransientError
from order_pipeline.traffic.retry import RetrySettings

T = TypeVar("T")

ONSALE = "taobao.items.onsale.get"
INVENTORY = "taobao.items.inventory.get"
SKUS = "taobao.item.skus.get"
WRITE_ITEM = "taobao.item.quantity.update"
WRITE_SKUS = "taobao.skus.quantity.update"

# Besides the items on sale (None): those that are not, sold out ones, and those taken off for breaking a rule, which
# the default banner leaves out. An item can be in several.
BANNERS = (None, "for_shelved", "sold_out", "violation_off_shelf")
ITEMS_A_PAGE = 200
ITEMS_A_CALL = 40
LEVELS_A_WRITE = 20
# The highest stock that the platform lets a seller enter; anything above is a broken number.
LARGEST_QUANTITY = 900_000_000
ABSOLUTE = "1"
DELETED = "delete"

ITEM_FIELDS = "num_iid,title,num,outer_id,approve_status,modified"
SKU_FIELDS = "sku_id,num_iid,quantity,outer_id,status,modified"

# A lost answer is looked after, not asked for again.
ONCE = RetrySettings(attempts=1)
LOOK_FIRST = "nothing to do: the stock is read again before it is written again"


class TaobaoStock(TaobaoCalls):
    """The goods of a shop; implements ``protocol.StockSource``."""

    def stocked_items(self) -> Iterator[StockItemPage]:
        """Walk all items, list by list (§3.8 taobao.items.onsale.get, taobao.items.inventory.get).

        Raises:
            CallError: no usable answer; the pages handed over until then stand.

        """
        self._learn_time(Kind.CLOCK)
        for banner in BANNERS:
            yield from map(_item_page, self._walk_items(banner))

    def sku_levels(self, num_iids: Sequence[str]) -> Iterator[StockLevelPage]:
        """Ask for SKUs, forty items a call (§3.8 taobao.item.skus.get).

        Raises:
            CallError: no usable answer; the pages handed over until then stand.

        """
        self._learn_time(Kind.CLOCK)
        for start in range(0, len(num_iids), ITEMS_A_CALL):
            yield self._skus(num_iids[start : start + ITEMS_A_CALL])

    def read_bundle(self, info: Any) -> tuple[BundlePart, ...] | str:
        """Read ``combine_item_info`` of an order's line (§4.2): its quantities are taken as those of one bundle."""
        inner = info.get("combine_sub_item_do") if isinstance(info, dict) else info
        rows = unwrap_list({"combine_sub_item_do": inner}, "combine_sub_item_do")
        parts = [_read(_part, row, text_is_clean=True) for row in rows or ()]
        wrong = [part for part in parts if isinstance(part, str)]
        if wrong or not parts:
            # With a part missing it would reserve too little.
            return wrong[0] if wrong else "it names no parts"
        return tuple(part for part in parts if isinstance(part, BundlePart))

    @property
    def levels_a_write(self) -> int:
        """Twenty SKUs."""
        return LEVELS_A_WRITE

    def write_levels(self, num_iid: str, levels: Mapping[str, int]) -> None:
        """Set stock to absolute numbers (§3.8 taobao.skus.quantity.update, taobao.item.quantity.update).

        Raises:
            OutcomeUnknownError: no usable answer; it may have been carried out.
            CallError: it was refused, or never made.
            ValueError: too many SKUs, none, or less than nothing.

        """
        if not 1 <= len(levels) <= LEVELS_A_WRITE or min(levels.values()) < 0 or ("" in levels and len(levels) > 1):
            raise ValueError(f"writing stock of item {num_iid}: {len(levels)} SKUs, or a number below zero")
        told = ", ".join(f"{sku_id or 'itself'} to {quantity}" for sku_id, quantity in levels.items())
        about = f"item {num_iid}, {told}"
        if "" in levels:
            method, written = WRITE_ITEM, {"quantity": str(levels[""])}
        else:
            method = WRITE_SKUS
            written = {"skuid_quantities": ";".join(f"{sku_id}:{quantity}" for sku_id, quantity in levels.items())}
        attempted = f"{method} of {about}, shop {self._shop}"

        def read(envelope: Envelope, _answer: Answer) -> None:
            item = envelope.payload.get("item")
            if not isinstance(item, dict) or str(item.get("num_iid")) != num_iid:
                raise malformed(attempted, "there is no such item in it")

        params = {"num_iid": num_iid, "type": ABSOLUTE, **written}
        try:
            self._call(Kind.POLL, method, params, read, about=about, payload_keys=frozenset({"item"}), retry=ONCE)
        except (TransientError, MalformedAnswerError) as error:
            raise OutcomeUnknownError(
                error.attempted, error.reason, remedy=LOOK_FIRST, request_id=error.request_id
            ) from error

    def _walk_items(self, banner: str | None) -> Iterator[WalkedItems]:
        method = INVENTORY if banner else ONSALE

        def fetch(window: Window | None, page_no: int) -> ItemAnswer:
            about = f"{banner or 'items on sale'} page {page_no}" + (f", {span_text(window)}" if window else "")
            attempted = f"{method} of {about}, shop {self._shop}"

            def read(envelope: Envelope, answer: Answer) -> ItemAnswer:
                page = read_list(
                    envelope.payload, "items", "item", page_no=page_no, page_size=ITEMS_A_PAGE, attempted=attempted
                )
                if page.total_results is None:
                    raise malformed(attempted, "there is no total_results in it")
                rows = [
                    _read(_item, row, envelope.text_is_clean, is_onsale=banner in (None, "sold_out"))
                    for row in page.rows
                ]
                ids = [row.num_iid if isinstance(row, StockItem) else None for row in rows]
                return ItemAnswer(ids, page.total_results, (answer, rows))

            params = {
                "fields": ITEM_FIELDS,
                "order_by": "list_time:desc",
                "page_no": str(page_no),
                "page_size": str(ITEMS_A_PAGE),
                "banner": banner or "",
                "start_modified": wire_time(window.start) if window else "",
                "end_modified": wire_time(window.end) if window else "",
            }
            keys = frozenset({"items", "total_results"})
            return self._call(Kind.POLL, method, params, read, about=about, payload_keys=keys)

        attempted = f"{method} of shop {self._shop}"
        return walk_items(fetch, self.now, page_size=ITEMS_A_PAGE, attempted=attempted)

    def _skus(self, num_iids: Sequence[str]) -> StockLevelPage:
        about = f"{len(num_iids)} items from {num_iids[0]} on"
        attempted = f"{SKUS} of {about}, shop {self._shop}"

        def read(envelope: Envelope, answer: Answer) -> StockLevelPage:
            found = unwrap_list(envelope.payload.get("skus"), "sku")
            if found is None:
                raise malformed(attempted, "skus is no list")
            rows = [
                _read(_level, row, envelope.text_is_clean)
                for row in found
                if not (isinstance(row, dict) and row.get("status") == DELETED)
            ]
            return StockLevelPage(
                answer=answer,
                levels=tuple(row for row in rows if isinstance(row, StockLevel)),
                rejected=tuple(row for row in rows if isinstance(row, str)),
            )

        params = {"fields": SKU_FIELDS, "num_iids": ",".join(num_iids)}
        return self._call(Kind.POLL, SKUS, params, read, about=about, payload_keys=frozenset({"skus"}))


def _item_page(walked: WalkedItems) -> StockItemPage:
    answer, rows = walked.answer.content
    return StockItemPage(
        answer=answer,
        items=tuple(row for row in rows if isinstance(row, StockItem)),
        rejected=tuple(row for row in rows if isinstance(row, str)),
        short_by=walked.short_by,
    )


def _read(read: Callable[..., T], row: object, text_is_clean: bool, **known: Any) -> T | str:
    """Read a row; return the reason where it cannot even say what it is."""
    if not isinstance(row, dict):
        return f"a {type(row).__name__} instead of an item"
    try:
        if not text_is_clean:
            refuse_forbidden_characters(row)
        return read(row, **known)
    except UnreadableError as problem:
        return str(problem)


def _item(row: dict[str, Any], *, is_onsale: bool) -> StockItem:
    quantity, problem = _quantity(row, "num")
    status = read_code(row.get("approve_status"))
    return StockItem(
        num_iid=read_id(row.get("num_iid")),
        title=read_text(row.get("title")),
        sku_code=read_code(row.get("outer_id")),
        quantity=quantity,
        is_onsale=status == "onsale" if status else is_onsale,
        problem=problem,
    )


def _level(row: dict[str, Any]) -> StockLevel:
    quantity, problem = _quantity(row, "quantity")
    return StockLevel(
        num_iid=read_id(row.get("num_iid")),
        sku_id=read_id(row.get("sku_id")),
        sku_code=read_code(row.get("outer_id")),
        quantity=quantity,
        problem=problem,
    )


def _part(row: dict[str, Any]) -> BundlePart:
    quantity = read_integer(row.get("quantity"))
    if quantity is None or not 0 < quantity <= LARGEST_QUANTITY:
        raise UnreadableError(f"quantity: {quantity} of a part")
    sku_id = row.get("sku_id")
    return BundlePart(
        num_iid=read_id(row.get("item_id")),
        sku_id=read_id(sku_id) if sku_id not in (None, "", 0, "0") else None,
        sku_code=read_code(row.get("outer_sku_id")) or read_code(row.get("outer_iid")),
        quantity=quantity,
    )


def _quantity(row: dict[str, Any], field: str) -> tuple[int | None, str | None]:
    """Return the pieces, or what is wrong with them: a number that cannot be is none, and never zero."""
    try:
        quantity = read_integer(row.get(field))
    except UnreadableError as problem:
        return None, f"{field}: {problem}"
    if quantity is None:
        return None, f"{field}: missing"
    if not 0 <= quantity <= LARGEST_QUANTITY:
        return None, f"{field}: {quantity} is not between 0 and {LARGEST_QUANTITY}"
    return quantity, None
