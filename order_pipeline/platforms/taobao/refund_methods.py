"""A shop's refunds: which calls bring them (Taobao contract §3.6).

Belongs here: methods about refunds, their parameters, and what is made of an answer. Not here: how a list without a
documented order is walked (bisecting.py), how a refund is read (refund_parsing.py), orders (platform.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, TypeAlias

import msgspec

from order_pipeline.platforms.protocol import (
    Answer,
    Refund,
    RefundDetail,
    RefundPage,
    RefundVersion,
    RefundVersionPage,
    RejectedRecord,
    Window,
)
from order_pipeline.platforms.taobao.bisecting import walk_unordered
from order_pipeline.platforms.taobao.calls import TaobaoCalls
from order_pipeline.platforms.taobao.client import Part, span_text, wire_time
from order_pipeline.platforms.taobao.decoding import Envelope, decode, malformed, read_list, read_total
from order_pipeline.platforms.taobao.fields import (
    ALL_TYPES,
    REFUND_COUNT_FIELDS,
    REFUND_DETAIL_FIELDS,
    REFUND_LIST_FIELDS,
    REFUND_STATUSES,
    REFUND_VERSION_FIELDS,
)
from order_pipeline.platforms.taobao.paging import ListAnswer, Row, WalkedPage
from order_pipeline.platforms.taobao.records import read_record_moment
from order_pipeline.platforms.taobao.refund_parsing import parse_refund, parse_refund_version, read_refund_id
from order_pipeline.traffic.breaker import Kind

LIST = "taobao.refunds.receive.get"
DETAIL = "taobao.refund.get"

_LIST_KEYS = frozenset({"refunds", "has_next", "total_results"})
_DETAIL_KEYS = frozenset({"refund"})
_DETAIL_FIELDS = {"fields": REFUND_DETAIL_FIELDS}

_Record: TypeAlias = Refund | RefundVersion | RejectedRecord


class _Content(msgspec.Struct, frozen=True):
    """What a page holds: for each row the refund or the reason why it is none."""

    answer: Answer
    records: list[_Record]


class TaobaoRefunds(TaobaoCalls):
    """The refunds that a shop received; implements ``protocol.RefundSource``."""

    def changed_refunds(self, window: Window) -> Iterator[RefundPage]:
        """Walk the refunds last modified in the window, of orders of every type (§3.6 taobao.refunds.receive.get).

        Raises:
            CallError: no usable answer; the pages handed over until then stand.
            ValueError: the window is empty or not in whole seconds.

        """
        return map(_refund_page, self._walk_refunds(window, REFUND_LIST_FIELDS, parse_refund))

    def changed_refund_versions(self, window: Window) -> Iterator[RefundVersionPage]:
        """Walk the same with few fields.

        Raises:
            CallError: no usable answer; the pages handed over until then stand.
            ValueError: the window is empty or not in whole seconds.

        """
        return map(_version_page, self._walk_refunds(window, REFUND_VERSION_FIELDS, parse_refund_version))

    @property
    def countable_refund_statuses(self) -> Collection[str]:
        """Every status of §4.7."""
        return REFUND_STATUSES

    def count_changed_refunds(self, window: Window, status: str | None = None) -> int:
        """Ask for ``total_results`` of the refunds last modified in the window (§3.6, §3.11).

        Raises:
            CallError: no usable answer.
            ValueError: the platform cannot be asked for that status.

        """
        if status is not None and status not in REFUND_STATUSES:
            raise ValueError(f"the platform's list of refunds cannot be narrowed to status {status!r}")
        about = f"the count of {span_text(window)}{f', status {status}' if status else ''}"
        attempted = f"{LIST} of {about}, shop {self._shop}"

        def read(envelope: Envelope, _answer: Answer) -> int:
            return read_total(envelope.payload, "refunds", "refund", attempted=attempted)

        params = _parameters(window, REFUND_COUNT_FIELDS, page_no=1, page_size=1)
        if status:
            params["status"] = status
        return self._call(Kind.POLL, LIST, params, read, about=about, payload_keys=_LIST_KEYS)

    def refund(self, refund_id: str) -> RefundDetail:
        """Fetch one refund whole (§3.6 taobao.refund.get).

        Raises:
            NotFoundError: the platform does not serve it, or it is another shop's.
            CallError: no usable answer.

        """
        self._learn_time(Kind.DETAIL)
        params, read, about = self._refund_detail(refund_id)
        return self._call(
            Kind.DETAIL, DETAIL, {**_DETAIL_FIELDS, **params}, read, about=about, payload_keys=_DETAIL_KEYS
        )

    def refunds(self, refund_ids: Sequence[str]) -> Sequence[RefundDetail | None]:
        """Fetch several refunds whole in as few requests as may be (§1.6), each once. None: ask for it alone.

        Raises:
            CallError: none of them may be asked for now.

        """
        self._learn_time(Kind.DETAIL)
        parts = [self._refund_detail(refund_id) for refund_id in refund_ids]
        answers = self._call_together(Kind.DETAIL, DETAIL, _DETAIL_FIELDS, parts, payload_keys=_DETAIL_KEYS)
        return [
            answer if answer and answer.record_id == refund_id else None
            for refund_id, answer in zip(refund_ids, answers, strict=True)
        ]

    def _refund_detail(self, refund_id: str) -> Part[RefundDetail]:
        attempted = f"{DETAIL} of refund {refund_id}, shop {self._shop}"

        def read(envelope: Envelope, answer: Answer) -> RefundDetail:
            record = _read_refund(envelope, attempted)
            if record.refund_id is not None and record.refund_id != refund_id:
                raise malformed(attempted, f"it is about refund {record.refund_id}")
            if isinstance(record, Refund):
                return RefundDetail(answer=answer, refund=record, rejected=None)
            return RefundDetail(answer=answer, refund=None, rejected=record)

        return Part({"refund_id": refund_id}, read, f"refund {refund_id}")

    def read_refund(self, body: str) -> Refund | RejectedRecord:
        """Read a stored answer of ``refund`` again.

        Raises:
            MalformedAnswerError: it is no such answer.

        """
        attempted = f"reading a stored {DETAIL} of shop {self._shop}"
        envelope = decode(body.encode(), DETAIL, attempted=attempted, payload_keys=("refund",))
        if not isinstance(envelope, Envelope):
            raise malformed(attempted, "it is a refusal")
        return _read_refund(envelope, attempted)

    def _walk_refunds(self, window: Window, fields: str, parse: Callable[..., _Record]) -> Iterator[WalkedPage]:
        self._learn_time(Kind.CLOCK)

        def fetch(asked: Window, page_no: int, use_has_next: bool) -> ListAnswer:
            about = f"{span_text(asked)} page {page_no}"
            attempted = f"{LIST} of {about}, shop {self._shop}"
            size = self._page_size

            def read(envelope: Envelope, answer: Answer) -> ListAnswer:
                page = read_list(
                    envelope.payload, "refunds", "refund", page_no=page_no, page_size=size, attempted=attempted
                )
                records = [parse(row, text_is_clean=envelope.text_is_clean) for row in page.rows]
                rows = [_row(record, raw) for record, raw in zip(records, page.rows, strict=True)]
                return ListAnswer(rows, page.has_next, page.total_results, _Content(answer, records))

            params = _parameters(asked, fields, page_no=page_no, page_size=size)
            params["use_has_next"] = "true" if use_has_next else "false"
            return self._call(Kind.POLL, LIST, params, read, about=about, payload_keys=_LIST_KEYS)

        yield from walk_unordered(window, fetch, attempted=f"{LIST} of {span_text(window)}, shop {self._shop}")


def _parameters(window: Window, fields: str, *, page_no: int, page_size: int) -> dict[str, str]:
    return {
        "fields": fields,
        # Left out, the list holds the refunds of two types only (§3.6).
        "type": ALL_TYPES,
        "start_modified": wire_time(window.start),
        "end_modified": wire_time(window.end),
        "page_no": str(page_no),
        "page_size": str(page_size),
    }


def _read_refund(envelope: Envelope, attempted: str) -> Refund | RejectedRecord:
    refund = envelope.payload.get("refund")
    if not isinstance(refund, dict) or not refund:
        raise malformed(attempted, "there is no refund in it")
    return parse_refund(refund, text_is_clean=envelope.text_is_clean)


def _row(record: _Record, raw: Any) -> Row:
    if not isinstance(record, RejectedRecord):
        return Row((record.refund_id, record.modified_at), record.modified_at)
    # A rejected record is the same only if it is the same to the letter.
    return Row((read_refund_id(raw), record.body), read_record_moment(raw, "modified"))


def _refund_page(page: WalkedPage) -> RefundPage:
    content: _Content = page.answer.content
    fresh = [content.records[index] for index in page.fresh]
    return RefundPage(
        answer=content.answer,
        window=page.window,
        page_no=page.page_no,
        has_more=page.has_more,
        refunds=tuple(record for record in fresh if isinstance(record, Refund)),
        rejected=tuple(record for record in fresh if isinstance(record, RejectedRecord)),
    )


def _version_page(page: WalkedPage) -> RefundVersionPage:
    content: _Content = page.answer.content
    fresh = [content.records[index] for index in page.fresh]
    return RefundVersionPage(
        sent_at=content.answer.sent_at,
        versions=tuple(record for record in fresh if isinstance(record, RefundVersion)),
        rejected=tuple(record for record in fresh if isinstance(record, RejectedRecord)),
    )
