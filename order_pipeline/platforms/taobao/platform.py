"""Taobao behind the OrderPlatform protocol: which calls bring a shop's orders (Taobao contract §3).

Belongs here: methods about orders, their parameters, what a call is for, and what is made of an answer. Not here: what
any call needs (calls.py), messages, refunds, parcels and stock (message_methods.py, refund_methods.py,
trace_methods.py, stock_methods.py), how a list is walked (paging.py), how a trade is read (parsing.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeAlias, TypeVar

import msgspec

from order_pipeline.platforms.protocol import (
    Answer,
    KnownFields,
    Order,
    OrderDetail,
    OrderPage,
    OrderVersion,
    RecordShape,
    RejectedRecord,
    VersionPage,
    Window,
)
from order_pipeline.platforms.taobao.client import Part, TaobaoCredentials, span_text, wire_time
from order_pipeline.platforms.taobao.decoding import Envelope, decode, malformed, read_list, read_total
from order_pipeline.platforms.taobao.fields import (
    ALL_TYPES,
    CHANGED_LIST_FIELDS,
    COUNT_FIELDS,
    CREATED_LIST_FIELDS,
    DETAIL_FIELDS,
    STATUSES,
    TRADE_TYPES,
    VERSION_FIELDS,
)
from order_pipeline.platforms.taobao.message_methods import TaobaoMessages
from order_pipeline.platforms.taobao.paging import ListAnswer, Row, WalkedPage, walk
from order_pipeline.platforms.taobao.parsing import parse_trade, parse_version, read_record_id
from order_pipeline.platforms.taobao.receivers import RECEIVER_FIELDS, take_receiver
from order_pipeline.platforms.taobao.records import needed, read_record_moment, rejected
from order_pipeline.platforms.taobao.refund_methods import TaobaoRefunds
from order_pipeline.platforms.taobao.shapes import FIELDS, shapes_of_answer
from order_pipeline.platforms.taobao.stock_methods import TaobaoStock
from order_pipeline.platforms.taobao.trace_methods import TaobaoTraces
from order_pipeline.platforms.taobao.values import UnreadableError, read_id, read_moment
from order_pipeline.traffic.ahead import Ahead
from order_pipeline.traffic.breaker import Kind

__all__ = ["TaobaoCredentials", "TaobaoPlatform"]

DETAIL = "taobao.trade.fullinfo.get"

_Record: TypeAlias = Order | OrderVersion | RejectedRecord
_Page = TypeVar("_Page", OrderPage, VersionPage)

# Read meanwhile: the one that comes next.
PAGES_AHEAD = 1


class _ListMethod(msgspec.Struct, frozen=True, kw_only=True):
    """A list, what it is sorted by, and what is read of its rows."""

    method: str
    start: str
    end: str
    moment: str
    fields: str
    longest: timedelta | None = None
    parse: Callable[..., _Record] = parse_trade


CREATED = _ListMethod(
    method="taobao.trades.sold.get",
    start="start_created",
    end="end_created",
    moment="created",
    fields=CREATED_LIST_FIELDS,
)
VERSIONS = msgspec.structs.replace(CREATED, fields=VERSION_FIELDS, parse=parse_version)
CHANGED = _ListMethod(
    method="taobao.trades.sold.increment.get",
    start="start_modified",
    end="end_modified",
    moment="modified",
    fields=CHANGED_LIST_FIELDS,
    longest=timedelta(days=1),
)

_LIST_KEYS = frozenset({"trades", "has_next", "total_results"})
_DETAIL_KEYS = frozenset({"trade"})


class _Content(msgspec.Struct, frozen=True):
    """What a page holds: its rows as they came."""

    answer: Answer
    rows: list[Any]
    text_is_clean: bool


class TaobaoPlatform(TaobaoMessages, TaobaoRefunds, TaobaoTraces, TaobaoStock):
    """One shop on Taobao or Tmall; implements ``protocol.OrderPlatform``. Safe to use from several threads."""

    def created_orders(self, window: Window) -> Iterator[OrderPage]:
        """Walk the orders created in the window, newest first (§3.1 taobao.trades.sold.get).

        Raises:
            CallError: no usable answer; the pages handed over until then stand.
            ValueError: the window is empty or not in whole seconds.

        """
        return self._pages(CREATED, window, _order_page)

    def changed_orders(self, window: Window) -> Iterator[OrderPage]:
        """Walk the orders last modified in the window, newest first (§3.2 taobao.trades.sold.increment.get).

        Raises:
            CallError: no usable answer; the pages handed over until then stand.
            ValueError: the window is empty or not in whole seconds.

        """
        return self._pages(CHANGED, window, _order_page)

    def created_versions(self, window: Window) -> Iterator[VersionPage]:
        """Walk the orders created in the window, with few fields (§3.1 taobao.trades.sold.get).

        Raises:
            CallError: no usable answer; the pages handed over until then stand.
            ValueError: the window is empty or not in whole seconds.

        """
        return self._pages(VERSIONS, window, _version_page)

    @property
    def countable_statuses(self) -> Collection[str]:
        """Every single status of §4.5."""
        return STATUSES

    def count_created(self, window: Window, status: str | None = None) -> int:
        """Ask for ``total_results`` of the orders created in the window (§3.1, §3.11): use_has_next is left out.

        Raises:
            CallError: no usable answer.
            ValueError: the platform cannot be asked for that status.

        """
        if status is not None and status not in STATUSES:
            raise ValueError(f"the platform's lists cannot be narrowed to status {status!r}")
        about = f"the count of {span_text(window)}{f', status {status}' if status else ''}"
        attempted = f"{CREATED.method} of {about}, shop {self._shop}"

        def read(envelope: Envelope, _answer: Answer) -> int:
            return read_total(envelope.payload, "trades", "trade", attempted=attempted)

        params = {
            "fields": COUNT_FIELDS,
            "type": ALL_TYPES,
            CREATED.start: wire_time(window.start),
            CREATED.end: wire_time(window.end),
            "page_no": "1",
            "page_size": "1",
            **({"status": status} if status else {}),
        }
        return self._call(Kind.POLL, CREATED.method, params, read, about=about, payload_keys=_LIST_KEYS)

    def order(self, order_id: str, *, with_receiver: bool = False) -> OrderDetail:
        """Fetch one order whole (§3.4 taobao.trade.fullinfo.get), with its addressee apart where that is wanted.

        Raises:
            NotFoundError: the platform does not serve it: older than three months, or another shop's.
            CallError: no usable answer.

        """
        self._learn_time(Kind.DETAIL)
        params, read, about = self._detail(order_id, with_receiver)
        whole = {**_detail_fields(with_receiver), **params}
        return self._call(Kind.DETAIL, DETAIL, whole, read, about=about, payload_keys=_DETAIL_KEYS)

    def orders(self, order_ids: Sequence[str], *, with_receiver: bool = False) -> Sequence[OrderDetail | None]:
        """Fetch several orders whole in as few requests as may be (§1.6), each once. None: ask for it alone.

        Raises:
            CallError: none of them may be asked for now.

        """
        self._learn_time(Kind.DETAIL)
        parts = [self._detail(order_id, with_receiver) for order_id in order_ids]
        shared = _detail_fields(with_receiver)
        answers = self._call_together(Kind.DETAIL, DETAIL, shared, parts, payload_keys=_DETAIL_KEYS)
        return [
            answer if answer and answer.record_id == order_id else None
            for order_id, answer in zip(order_ids, answers, strict=True)
        ]

    def _detail(self, order_id: str, with_receiver: bool) -> Part[OrderDetail]:
        attempted = f"{DETAIL} of order {order_id}, shop {self._shop}"

        def read(envelope: Envelope, answer: Answer) -> OrderDetail:
            receiver = None
            if with_receiver:
                receiver, body = take_receiver(envelope, DETAIL)
                answer = msgspec.structs.replace(answer, body=body)
            record = _read_trade(envelope, attempted)
            if record.order_id is not None and record.order_id != order_id:
                raise malformed(attempted, f"it is about order {record.order_id}")
            if isinstance(record, Order):
                return OrderDetail(answer=answer, order=record, rejected=None, receiver=receiver)
            return OrderDetail(answer=answer, order=None, rejected=record)

        return Part({"tid": order_id}, read, f"order {order_id}")

    def read_detail(self, body: str) -> Order | RejectedRecord:
        """Read a stored answer of ``order`` again.

        Raises:
            MalformedAnswerError: it is no such answer.

        """
        attempted = f"reading a stored {DETAIL} of shop {self._shop}"
        envelope = decode(body.encode(), DETAIL, attempted=attempted, payload_keys=("trade",))
        if not isinstance(envelope, Envelope):
            raise malformed(attempted, "it is a refusal")
        return _read_trade(envelope, attempted)

    @property
    def listed_types(self) -> Collection[str]:
        """The types of trades that lists are asked for."""
        return TRADE_TYPES

    @property
    def known_fields(self) -> Mapping[str, KnownFields]:
        """The fields that are asked for, and those that have a column."""
        return FIELDS

    def read_shapes(self, body: str) -> Sequence[RecordShape]:
        """Look which fields a stored answer's records have."""
        return shapes_of_answer(body)

    def _pages(
        self, listing: _ListMethod, window: Window, page_of: Callable[[WalkedPage, list[_Record]], _Page]
    ) -> Iterator[_Page]:
        read = _Reader(listing.parse)
        # The next page is asked for while this one is read: each takes about as long as the other.
        with Ahead(self._walk(listing, window), PAGES_AHEAD) as walked:
            for page in walked:
                yield page_of(page, read(page))

    def _walk(self, listing: _ListMethod, window: Window) -> Iterator[WalkedPage]:
        self._learn_time(Kind.CLOCK)

        def fetch(asked: Window, page_no: int, use_has_next: bool) -> ListAnswer:
            return self._fetch(listing, asked, page_no, use_has_next)

        attempted = f"{listing.method} of {span_text(window)}, shop {self._shop}"
        yield from walk(window, fetch, attempted=attempted, longest=listing.longest)

    def _fetch(self, listing: _ListMethod, asked: Window, page_no: int, use_has_next: bool) -> ListAnswer:
        about = f"{span_text(asked)} page {page_no}"
        attempted = f"{listing.method} of {about}, shop {self._shop}"

        def read(envelope: Envelope, answer: Answer) -> ListAnswer:
            page = read_list(
                envelope.payload, "trades", "trade", page_no=page_no, page_size=self._page_size, attempted=attempted
            )
            rows = [_row(raw, listing.moment) for raw in page.rows]
            content = _Content(answer, page.rows, envelope.text_is_clean)
            return ListAnswer(rows, page.has_next, page.total_results, content)

        params = {
            "fields": listing.fields,
            "type": ALL_TYPES,
            listing.start: wire_time(asked.start),
            listing.end: wire_time(asked.end),
            "page_no": str(page_no),
            "page_size": str(self._page_size),
            "use_has_next": "true" if use_has_next else "false",
        }
        return self._call(Kind.POLL, listing.method, params, read, about=about, payload_keys=_LIST_KEYS)


def _detail_fields(with_receiver: bool) -> dict[str, str]:
    return {"fields": f"{DETAIL_FIELDS},{RECEIVER_FIELDS}" if with_receiver else DETAIL_FIELDS}


def _read_trade(envelope: Envelope, attempted: str) -> Order | RejectedRecord:
    trade = envelope.payload.get("trade")
    if not isinstance(trade, dict) or not trade:
        raise malformed(attempted, "there is no trade in it")
    return parse_trade(trade, text_is_clean=envelope.text_is_clean)


class _Reader:
    """Reads the rows of a walk's pages that no earlier page had."""

    def __init__(self, parse: Callable[..., _Record]) -> None:
        self._parse = parse
        # By hashes of keys and bodies: a walk of which every row is broken must not hold all of them.
        self._unreadable: dict[int, int] = {}

    def __call__(self, page: WalkedPage) -> list[_Record]:
        """Return what the rows mean that are new, or whose copy on an earlier page was unreadable in another way."""
        content: _Content = page.answer.content
        fresh = set(page.fresh)
        records = []
        for index, (row, raw) in enumerate(zip(page.answer.rows, content.rows, strict=True)):
            key = hash(row.key)
            earlier = self._unreadable.get(key)
            if index not in fresh and earlier is None:
                continue
            record = self._parse(raw, text_is_clean=content.text_is_clean)
            if isinstance(record, RejectedRecord):
                body = hash(record.body)
                if body == earlier:
                    continue
                self._unreadable[key] = body
            records.append(record)
        return records


def _row(raw: Any, moment_field: str) -> Row:
    try:
        key: Hashable = (read_id(raw["tid"]), needed(read_moment(raw["modified"])))
    except (KeyError, TypeError, UnreadableError):
        # One that cannot say which it is is the same only if it is the same to the letter.
        key = (read_record_id(raw), rejected(raw, "").body)
    return Row(key, read_record_moment(raw, moment_field))


def _order_page(page: WalkedPage, records: list[_Record]) -> OrderPage:
    content: _Content = page.answer.content
    return OrderPage(
        answer=content.answer,
        window=page.window,
        page_no=page.page_no,
        has_more=page.has_more,
        orders=tuple(record for record in records if isinstance(record, Order)),
        rejected=tuple(record for record in records if isinstance(record, RejectedRecord)),
    )


def _version_page(page: WalkedPage, records: list[_Record]) -> VersionPage:
    content: _Content = page.answer.content
    return VersionPage(
        sent_at=content.answer.sent_at,
        versions=tuple(record for record in records if isinstance(record, OrderVersion)),
        rejected=tuple(record for record in records if isinstance(record, RejectedRecord)),
    )
