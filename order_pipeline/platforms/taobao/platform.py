"""Taobao behind the OrderPlatform protocol: which calls bring a shop's orders (Taobao contract §3).

Belongs here: methods, their parameters, what a call is for, and what is made of an answer. Not here: how a call
is made (client.py), how a list is walked (paging.py), how a trade is read (parsing.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeAlias, TypeVar

import msgspec
from msgspec.structs import replace

from order_pipeline.platforms.protocol import (
    Answer,
    Message,
    MessageBatch,
    Order,
    OrderDetail,
    OrderPage,
    OrderVersion,
    RejectedRecord,
    Session,
    VersionPage,
    Window,
)
from order_pipeline.platforms.taobao.client import TaobaoClient, TaobaoCredentials, wire_time
from order_pipeline.platforms.taobao.decoding import Envelope, decode, malformed, read_list, unwrap_list
from order_pipeline.platforms.taobao.fields import (
    ALL_TYPES,
    CHANGED_LIST_FIELDS,
    COUNT_FIELDS,
    CREATED_LIST_FIELDS,
    DETAIL_FIELDS,
    STATUSES,
    VERSION_FIELDS,
)
from order_pipeline.platforms.taobao.messages import parse_message
from order_pipeline.platforms.taobao.paging import ListAnswer, Row, WalkedPage, walk
from order_pipeline.platforms.taobao.parsing import parse_trade, parse_version, read_record_id, read_record_moment
from order_pipeline.platforms.taobao.transport import DEFAULT_LIMITS, Limits
from order_pipeline.platforms.taobao.values import CHINA, UnreadableError, read_code, read_moment
from order_pipeline.traffic.breaker import Kind
from order_pipeline.traffic.budget import LONGEST_WAIT_SECONDS
from order_pipeline.traffic.call_log import CallLog
from order_pipeline.traffic.errors import CallError, SessionError
from order_pipeline.traffic.gate import Gate
from order_pipeline.traffic.retry import DEFAULT_RETRY, RetrySettings

__all__ = ["TaobaoCredentials", "TaobaoPlatform"]

T = TypeVar("T")

TIME = "taobao.time.get"
DETAIL = "taobao.trade.fullinfo.get"

PERMIT = "taobao.tmc.user.permit"
CONSUME = "taobao.tmc.messages.consume"
CONFIRM = "taobao.tmc.messages.confirm"
# The name of the group that is meant when none is named.
DEFAULT_GROUP = "default"
# The most of §3.9, for fetching and for confirming.
LARGEST_BATCH = 200
# Who reads messages is a sensor's tick, which Dagster ends after a minute and starts again in seconds.
MESSAGE_ATTEMPTS = 2
MESSAGE_DEADLINE_SECONDS = 5.0

# Both lists give 100 rows at most (§3.1, §3.2); the larger the page, the fewer the calls.
LARGEST_PAGE = 100


_Record: TypeAlias = Order | OrderVersion | RejectedRecord


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


class _Content(msgspec.Struct, frozen=True):
    """What a page holds: for each row the order or the reason why it is none."""

    answer: Answer
    records: list[_Record]


class _FixedSession:
    """A session key that is what it is; implements ``protocol.Session``."""

    def __init__(self, key: str) -> None:
        self._key = key

    def key(self) -> str:
        return self._key

    def refused(self, key: str, error: SessionError, *, again: bool) -> CallError:  # noqa: ARG002 - the protocol's
        return error


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
        session: Session | None = None,
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
            session: whose key the calls go under; the credentials' if left out.

        """
        if not 1 <= page_size <= LARGEST_PAGE:
            raise ValueError(f"page_size is {page_size}; the platform serves 1 to {LARGEST_PAGE} rows a page")
        self._client = TaobaoClient(credentials, call_log, clock=clock, limits=limits)
        self._shop = credentials.shop_id
        self._page_size = page_size
        self._retry = retry
        self._gate = gate or Gate()
        self._session = session or _FixedSession(credentials.session_key)
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

        # It tells the clock even to an app that nobody has authorised yet.
        platform_time = self._call(kind, TIME, {}, read, payload_keys=frozenset({"time"}), needs_session=False)
        self._client.platform_ahead = platform_time - self._client.clock()
        self._knows_time = True
        return platform_time

    def created_orders(self, window: Window) -> Iterator[OrderPage]:
        """Walk the orders created in the window, newest first (§3.1 taobao.trades.sold.get).

        Raises:
            CallError: no usable answer; the pages handed over until then stand.
            ValueError: the window is empty or not in whole seconds.

        """
        return map(_order_page, self._walk(CREATED, window))

    def changed_orders(self, window: Window) -> Iterator[OrderPage]:
        """Walk the orders last modified in the window, newest first (§3.2 taobao.trades.sold.increment.get).

        Raises:
            CallError: no usable answer; the pages handed over until then stand.
            ValueError: the window is empty or not in whole seconds.

        """
        return map(_order_page, self._walk(CHANGED, window))

    def created_versions(self, window: Window) -> Iterator[VersionPage]:
        """Walk the orders created in the window, with few fields (§3.1 taobao.trades.sold.get).

        Raises:
            CallError: no usable answer; the pages handed over until then stand.
            ValueError: the window is empty or not in whole seconds.

        """
        return map(_version_page, self._walk(VERSIONS, window))

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
        about = f"the count of {_span(window)}{f', status {status}' if status else ''}"
        attempted = f"{CREATED.method} of {about}, shop {self._shop}"

        def read(envelope: Envelope, _answer: Answer) -> int:
            page = read_list(envelope.payload, "trades", "trade", page_no=1, page_size=1, attempted=attempted)
            if page.total_results is None:
                raise malformed(attempted, "the counting call has no total_results")
            return page.total_results

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

    def order(self, order_id: str) -> OrderDetail:
        """Fetch one order whole (§3.4 taobao.trade.fullinfo.get).

        Raises:
            NotFoundError: the platform does not serve it: older than three months, or another shop's.
            CallError: no usable answer.

        """
        attempted = f"{DETAIL} of order {order_id}, shop {self._shop}"

        def read(envelope: Envelope, answer: Answer) -> OrderDetail:
            record = _read_trade(envelope, attempted)
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

    def permit_messages(self) -> None:
        """Permit the seller's messages (§3.9 taobao.tmc.user.permit), naming no topic: all that the app subscribed to.

        Raises:
            CallError: no usable answer, or the platform does not permit it.

        """
        self._message_call(PERMIT, {}, _accepted(f"{PERMIT} of shop {self._shop}"), needs_session=True)

    def seller_nick(self) -> str | None:
        """Read the seller's nick from any order of the last three months (§3.1, §4.1); None if there is none.

        Raises:
            CallError: no usable answer.

        """
        attempted = f"{CREATED.method} of the seller's nick, shop {self._shop}"

        def read(envelope: Envelope, _answer: Answer) -> str | None:
            page = read_list(envelope.payload, "trades", "trade", page_no=1, page_size=1, attempted=attempted)
            for row in page.rows:
                try:
                    return read_code(row.get("seller_nick")) if isinstance(row, dict) else None
                except UnreadableError as problem:
                    raise malformed(attempted, f"seller_nick: {problem}") from None
            return None

        params = {
            "fields": "tid,seller_nick",
            "type": ALL_TYPES,
            "page_no": "1",
            "page_size": "1",
            "use_has_next": "true",
        }
        return self._message_call(
            CREATED.method, params, read, about="the seller's nick", payload_keys=_LIST_KEYS, needs_session=True
        )

    def messages(self, group: str | None) -> MessageBatch:
        """Fetch up to 200 messages of the app's queue (§3.9 taobao.tmc.messages.consume).

        Raises:
            CallError: no usable answer.

        """
        about = f"group {group or DEFAULT_GROUP}"
        attempted = f"{CONSUME} of {about}, shop {self._shop}"

        def read(envelope: Envelope, _answer: Answer) -> tuple[Message, ...]:
            rows = unwrap_list(envelope.payload.get("messages"), "tmc_message")
            if rows is None:
                raise malformed(attempted, "messages is no list")
            return tuple(parse_message(row) for row in rows)

        params = {"group_name": group or "", "quantity": str(LARGEST_BATCH)}
        messages = self._message_call(CONSUME, params, read, about=about, payload_keys=frozenset({"messages"}))
        if messages and not self._knows_time:
            # Only now: an empty queue is asked every few seconds.
            self._ask_time(Kind.MESSAGE)
        received_at = (self._client.clock() + self._client.platform_ahead).astimezone(CHINA)
        return MessageBatch(messages=messages, received_at=received_at)

    def confirm_messages(self, group: str | None, message_ids: Sequence[str]) -> None:
        """Confirm up to 200 messages (§3.9 taobao.tmc.messages.confirm).

        Raises:
            CallError: no usable answer.
            ValueError: more than 200.

        """
        if len(message_ids) > LARGEST_BATCH:
            raise ValueError(f"{len(message_ids)} messages; the platform takes {LARGEST_BATCH} at once")
        if not message_ids:
            return
        about = f"{len(message_ids)} messages of group {group or DEFAULT_GROUP}"
        params = {"group_name": group or "", "s_message_ids": ",".join(message_ids)}
        self._message_call(CONFIRM, params, _accepted(f"{CONFIRM} of {about}, shop {self._shop}"), about=about)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _walk(self, listing: _ListMethod, window: Window) -> Iterator[WalkedPage]:
        self._learn_time(Kind.CLOCK)

        def fetch(asked: Window, page_no: int, use_has_next: bool) -> ListAnswer:
            return self._fetch(listing, asked, page_no, use_has_next)

        attempted = f"{listing.method} of {_span(window)}, shop {self._shop}"
        yield from walk(window, fetch, attempted=attempted, longest=listing.longest)

    def _fetch(self, listing: _ListMethod, asked: Window, page_no: int, use_has_next: bool) -> ListAnswer:
        about = f"{_span(asked)} page {page_no}"
        attempted = f"{listing.method} of {about}, shop {self._shop}"

        def read(envelope: Envelope, answer: Answer) -> ListAnswer:
            page = read_list(
                envelope.payload, "trades", "trade", page_no=page_no, page_size=self._page_size, attempted=attempted
            )
            records = [listing.parse(row, text_is_clean=envelope.text_is_clean) for row in page.rows]
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

    def _message_call(
        self,
        method: str,
        params: dict[str, str],
        read: Callable[[Envelope, Answer], T],
        *,
        about: str = "",
        payload_keys: frozenset[str] = frozenset({"is_success"}),
        needs_session: bool = False,
    ) -> T:
        """Make a call for a reader that comes again in seconds, and that must not be kept for long."""
        patient = replace(
            self._retry,
            attempts=min(self._retry.attempts, MESSAGE_ATTEMPTS),
            deadline_seconds=min(self._retry.deadline_seconds, MESSAGE_DEADLINE_SECONDS),
        )
        return self._call(
            Kind.MESSAGE,
            method,
            params,
            read,
            about=about,
            payload_keys=payload_keys,
            needs_session=needs_session,
            retry=patient,
            patience_seconds=MESSAGE_DEADLINE_SECONDS,
        )

    def _call(
        self,
        kind: Kind,
        method: str,
        params: dict[str, str],
        read: Callable[[Envelope, Answer], T],
        *,
        about: str = "",
        payload_keys: frozenset[str],
        needs_session: bool = True,
        retry: RetrySettings | None = None,
        patience_seconds: float = LONGEST_WAIT_SECONDS,
    ) -> T:
        """Make a call; one that is about the app, not about the shop's data, goes without a session (§3.9)."""
        attempted = f"{method} of {about + ', ' if about else ''}shop {self._shop}"
        retry = retry or self._retry
        if not needs_session:
            return self._gate.call(
                kind,
                lambda: self._client.call(method, params, read, about=about, session="", payload_keys=payload_keys),
                retry,
                attempted=attempted,
                patience_seconds=patience_seconds,
            )
        refusals = 0

        def attempt() -> T:
            nonlocal refusals
            key = self._session.key()
            try:
                return self._client.call(method, params, read, about=about, session=key, payload_keys=payload_keys)
            except SessionError as error:
                refusals += 1
                raise self._session.refused(key, error, again=refusals > 1) from error

        # Asked for beforehand too, so that renewing it does not fall between a granted departure and its call.
        return self._gate.call(
            kind,
            attempt,
            retry,
            attempted=attempted,
            prepare=self._session.key,
            patience_seconds=patience_seconds,
        )


def _accepted(attempted: str) -> Callable[[Envelope, Answer], None]:
    """Return a reader of an answer that only says whether it was done."""

    def read(envelope: Envelope, _answer: Answer) -> None:
        if str(envelope.payload.get("is_success")).lower() != "true":
            raise malformed(attempted, "it does not say that it was done")

    return read


def _read_trade(envelope: Envelope, attempted: str) -> Order | RejectedRecord:
    trade = envelope.payload.get("trade")
    if not isinstance(trade, dict) or not trade:
        raise malformed(attempted, "there is no trade in it")
    return parse_trade(trade, text_is_clean=envelope.text_is_clean)


def _row(record: _Record, raw: Any, moment_field: str) -> Row:
    if not isinstance(record, RejectedRecord):
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


def _version_page(page: WalkedPage) -> VersionPage:
    content: _Content = page.answer.content
    fresh = [content.records[index] for index in page.fresh]
    return VersionPage(
        sent_at=content.answer.sent_at,
        versions=tuple(record for record in fresh if isinstance(record, OrderVersion)),
        rejected=tuple(record for record in fresh if isinstance(record, RejectedRecord)),
    )


def _span(window: Window) -> str:
    return f"{wire_time(window.start)} to {wire_time(window.end)}"
