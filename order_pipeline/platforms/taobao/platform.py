"""Taobao behind the OrderPlatform protocol: which calls bring a shop's orders (Taobao contract §3).

Belongs here: methods, their parameters, what a call is for, and what is made of an answer. Not here: how a call
is made (client.py), how a list is walked (paging.py), how a trade is read (parsing.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec

from order_pipeline.platforms.protocol import Answer, Order, OrderDetail, OrderPage, RejectedRecord, Window
from order_pipeline.platforms.taobao.client import TaobaoClient, TaobaoCredentials, wire_time
from order_pipeline.platforms.taobao.decoding import Envelope, malformed, read_list
from order_pipeline.platforms.taobao.fields import ALL_TYPES, CHANGED_LIST_FIELDS, CREATED_LIST_FIELDS, DETAIL_FIELDS
from order_pipeline.platforms.taobao.paging import ListAnswer, Row, WalkedPage, walk
from order_pipeline.platforms.taobao.parsing import parse_trade, read_record_id, read_record_moment
from order_pipeline.platforms.taobao.transport import DEFAULT_LIMITS, Limits
from order_pipeline.platforms.taobao.values import UnreadableError, read_moment
from order_pipeline.traffic.breaker import Kind
from order_pipeline.traffic.call_log import CallLog
from order_pipeline.traffic.gate import Gate
from order_pipeline.traffic.retry import DEFAULT_RETRY, RetrySettings

__all__ = ["TaobaoCredentials", "TaobaoPlatform"]

T = TypeVar("T")

TIME = "taobao.time.get"
DETAIL = "taobao.trade.fullinfo.get"

# Both lists give 100 rows at most (§3.1, §3.2); the larger the page, the fewer the calls.
LARGEST_PAGE = 100


class _ListMethod(msgspec.Struct, frozen=True):
    """A list and what it is sorted by."""

    method: str
    start: str
    end: str
    moment: str
    fields: str
    longest: timedelta | None


CREATED = _ListMethod("taobao.trades.sold.get", "start_created", "end_created", "created", CREATED_LIST_FIELDS, None)
CHANGED = _ListMethod(
    "taobao.trades.sold.increment.get",
    "start_modified",
    "end_modified",
    "modified",
    CHANGED_LIST_FIELDS,
    timedelta(days=1),
)

_LIST_KEYS = frozenset({"trades", "has_next", "total_results"})


class _Content(msgspec.Struct, frozen=True):
    """What a page holds: for each row the order or the reason why it is none."""

    answer: Answer
    records: list[Order | RejectedRecord]


class TaobaoPlatform:
    """One shop on Taobao or Tmall; implements ``protocol.OrderPlatform``. Safe to use from several threads."""

    def __init__(
        self,
        credentials: TaobaoCredentials,
        call_log: CallLog,
        *,
        clock: Callable[[], datetime] | None = None,
        page_size: int = LARGEST_PAGE,
        retry: RetrySettings = DEFAULT_RETRY,
        limits: Limits = DEFAULT_LIMITS,
        gate: Gate | None = None,
    ) -> None:
        """Prepare the shop; nothing is called yet.

        Args:
            credentials: whose orders.
            call_log: every attempt of a call is written into it.
            clock: aware time of this machine; the real one if left out.
            page_size: rows a page, 1-100.
            retry: how patient a call is.
            limits: of an answer's time and size.
            gate: every attempt of a call passes it; one that stands open if left out.

        """
        if not 1 <= page_size <= LARGEST_PAGE:
            raise ValueError(f"page_size is {page_size}; the platform serves 1 to {LARGEST_PAGE} rows a page")
        self._client = TaobaoClient(credentials, call_log, clock=clock, limits=limits)
        self._shop = credentials.shop_id
        self._page_size = page_size
        self._retry = retry
        self._gate = gate or Gate()
        self._knows_time = False

    def now(self) -> datetime:
        """Ask the platform for its time: whole seconds, GMT+8, never later than it is (§3.9 taobao.time.get).

        The difference to this machine's clock is remembered for ``Answer.sent_at``. It is taken when the answer is
        here, so it errs to the early side.

        Raises:
            CallError: no usable answer.

        """
        return self._ask_time(Kind.CLOCK)

    def _ask_time(self, kind: Kind) -> datetime:
        def read(envelope: Envelope, _answer: Answer) -> datetime:
            try:
                moment = read_moment(envelope.payload.get("time"))
            except UnreadableError as problem:
                raise malformed(f"{TIME} of shop {self._shop}", f"time: {problem}") from None
            if moment is None:
                raise malformed(f"{TIME} of shop {self._shop}", "there is no time in it")
            return moment

        platform_time = self._call(kind, TIME, {}, read, payload_keys=frozenset({"time"}))
        self._client.platform_ahead = platform_time - self._client.clock()
        self._knows_time = True
        return platform_time

    def created_orders(self, window: Window) -> Iterator[OrderPage]:
        """Walk the orders created in the window, newest first (§3.1 taobao.trades.sold.get).

        Raises:
            CallError: no usable answer; the pages handed over until then stand.
            ValueError: the window is empty or not in whole seconds.

        """
        return self._walk(CREATED, window)

    def changed_orders(self, window: Window) -> Iterator[OrderPage]:
        """Walk the orders last modified in the window, newest first (§3.2 taobao.trades.sold.increment.get).

        Raises:
            CallError: no usable answer; the pages handed over until then stand.
            ValueError: the window is empty or not in whole seconds.

        """
        return self._walk(CHANGED, window)

    def order(self, order_id: str) -> OrderDetail:
        """Fetch one order whole (§3.4 taobao.trade.fullinfo.get).

        Raises:
            NotFoundError: the platform does not serve it: older than three months, or another shop's.
            CallError: no usable answer.

        """
        attempted = f"{DETAIL} of order {order_id}, shop {self._shop}"

        def read(envelope: Envelope, answer: Answer) -> OrderDetail:
            trade = envelope.payload.get("trade")
            if not isinstance(trade, dict) or not trade:
                raise malformed(attempted, "there is no trade in it")
            record = parse_trade(trade, text_is_clean=envelope.text_is_clean)
            if record.order_id is not None and record.order_id != order_id:
                raise malformed(attempted, f"it is about order {record.order_id}")
            if isinstance(record, Order):
                return OrderDetail(answer=answer, order=record, rejected=None)
            return OrderDetail(answer=answer, order=None, rejected=record)

        self._learn_time(Kind.DETAIL)
        params = {"fields": DETAIL_FIELDS, "tid": order_id}
        return self._call(
            Kind.DETAIL, DETAIL, params, read, about=f"order {order_id}", payload_keys=frozenset({"trade"})
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _walk(self, listing: _ListMethod, window: Window) -> Iterator[OrderPage]:
        self._learn_time(Kind.CLOCK)

        def fetch(asked: Window, page_no: int, use_has_next: bool) -> ListAnswer:
            return self._fetch(listing, asked, page_no, use_has_next)

        attempted = f"{listing.method} of {_span(window)}, shop {self._shop}"
        for page in walk(window, fetch, attempted=attempted, longest=listing.longest):
            yield _order_page(page)

    def _fetch(self, listing: _ListMethod, asked: Window, page_no: int, use_has_next: bool) -> ListAnswer:
        about = f"{_span(asked)} page {page_no}"
        attempted = f"{listing.method} of {about}, shop {self._shop}"

        def read(envelope: Envelope, answer: Answer) -> ListAnswer:
            page = read_list(
                envelope.payload, "trades", "trade", page_no=page_no, page_size=self._page_size, attempted=attempted
            )
            records = [parse_trade(row, text_is_clean=envelope.text_is_clean) for row in page.rows]
            rows = [_row(record, raw, listing.moment) for record, raw in zip(records, page.rows, strict=True)]
            return ListAnswer(rows, page.has_next, page.total_results, _Content(answer, records))

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

    def _learn_time(self, kind: Kind) -> None:
        if not self._knows_time:
            self._ask_time(kind)

    def _call(
        self,
        kind: Kind,
        method: str,
        params: dict[str, str],
        read: Callable[[Envelope, Answer], T],
        *,
        about: str = "",
        payload_keys: frozenset[str],
    ) -> T:
        return self._gate.call(
            kind,
            lambda: self._client.call(method, params, read, about=about, payload_keys=payload_keys),
            self._retry,
            attempted=f"{method} of {about + ', ' if about else ''}shop {self._shop}",
        )


def _row(record: Order | RejectedRecord, raw: Any, moment_field: str) -> Row:
    if isinstance(record, Order):
        moment = record.created_at if moment_field == "created" else record.modified_at
        return Row((record.order_id, record.modified_at), moment)
    # A rejected record is the same only if it is the same to the letter.
    return Row((read_record_id(raw), record.body), read_record_moment(raw, moment_field))


def _order_page(page: WalkedPage) -> OrderPage:
    content: _Content = page.answer.content
    fresh = [content.records[index] for index in page.fresh]
    return OrderPage(
        answer=content.answer,
        window=page.window,
        page_no=page.page_no,
        has_more=page.has_more,
        orders=tuple(record for record in fresh if isinstance(record, Order)),
        rejected=tuple(record for record in fresh if isinstance(record, RejectedRecord)),
    )


def _span(window: Window) -> str:
    return f"{wire_time(window.start)} to {wire_time(window.end)}"
