"""Parcels: their traces, and the parcels of an order (Taobao contract §3.7).

Belongs here: the methods, and what their answers say. Not here: what a step means (transit.py), which parcels are asked
about when (sync).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from order_pipeline.platforms.protocol import Answer, Shipment, Trace, TransitEvent
from order_pipeline.platforms.taobao.calls import TaobaoCalls
from order_pipeline.platforms.taobao.decoding import Envelope, malformed, parse_json, root_key, unwrap_list
from order_pipeline.platforms.taobao.messages import TRACE_TOPIC
from order_pipeline.platforms.taobao.records import refuse_forbidden_characters
from order_pipeline.platforms.taobao.transit import read_step
from order_pipeline.platforms.taobao.values import CHINA, UnreadableError, read_code, read_id
from order_pipeline.traffic.breaker import Kind
from order_pipeline.traffic.errors import CallerError, NothingYetError

T = TypeVar("T")

SEARCH = "taobao.logistics.trace.search"
EVERY = "taobao.logistics.trace.get"
SHIPMENTS = "taobao.logistics.orders.get"

# What we read of a shipment; names, nicks and titles are not asked for.
_SHIPMENT_FIELDS = "tid,out_sid,company_name,sub_tids,is_split"
_TRACE_KEYS = frozenset({"trace_list", "out_sid", "company_name"})
# Longer sub_tid lists are refused (§3.7). One line of a parcel names it as well as all of them.
MOST_LINES = 50

# Of a carrier that the platform does not follow there is never a trace.
NOT_FOLLOWED = "isv.company-not-support"
# The recorded text of a delivered parcel (§3.7), which own carriers' have from the moment they are shipped.
SIGNED_WORD = "签收"

# An hour later everything is asked again, and there are thousands: no call is worth much patience.
TRACE_ATTEMPTS = 2
# With the budget taken for longer than this, orders need it.
TRACE_PATIENCE_SECONDS = 5.0


class TaobaoTraces(TaobaoCalls):
    """The ways of a shop's parcels; implements ``protocol.TraceSource``."""

    @property
    def trace_topic(self) -> str:
        """The topic of §6.3, with the platform's spelling."""
        return TRACE_TOPIC

    def trace(self, order_id: str, item_ids: Sequence[str] = ()) -> Trace:
        """Ask for one trace (§3.7 taobao.logistics.trace.search). That there is none is an answer.

        Raises:
            NotFoundError: the platform does not serve the order.
            CallError: no usable answer; a CallerError where the lines are of no parcel, or of several.

        """
        params = {"tid": order_id}
        if item_ids:
            params |= {"is_split": "1", "sub_tid": ",".join(item_ids[:MOST_LINES])}
        about = f"order {order_id}"
        attempted = f"{SEARCH} of {about}, shop {self._shop}"

        def read(envelope: Envelope, answer: Answer) -> Trace:
            return _read_trace(envelope.payload, answer, SEARCH, attempted)

        asked_at = self._asked_at()
        try:
            return self._trace_call(SEARCH, params, read, about=about, payload_keys=_TRACE_KEYS)
        except NothingYetError:
            return Trace(asked_at=asked_at)
        except CallerError as error:
            if NOT_FOLLOWED in error.reason:
                return Trace(asked_at=asked_at, is_traceable=False)
            raise

    def traces(self, order_id: str) -> tuple[Trace, ...]:
        """Ask for the traces of all parcels of an order (§3.7 taobao.logistics.trace.get); none where there are none.

        Raises:
            NotFoundError: the platform does not serve the order.
            CallError: no usable answer.

        """
        about = f"order {order_id}"
        attempted = f"{EVERY} of {about}, shop {self._shop}"

        def read(envelope: Envelope, answer: Answer) -> tuple[Trace, ...]:
            rows = unwrap_list(envelope.payload.get("result"), "transit_step_result")
            if rows is None or not all(isinstance(row, dict) for row in rows):
                raise malformed(attempted, "result is no list of traces")
            return tuple(_read_trace(row, answer, EVERY, attempted) for row in rows)

        try:
            return self._trace_call(EVERY, {"tid": order_id}, read, about=about, payload_keys=frozenset({"result"}))
        except NothingYetError:
            return ()

    def shipments(self, order_id: str) -> tuple[Shipment, ...]:
        """Ask for the parcels that an order left in (§3.7 taobao.logistics.orders.get).

        Raises:
            NotFoundError: the platform does not serve the order.
            CallError: no usable answer.

        """
        about = f"order {order_id}"
        attempted = f"{SHIPMENTS} of {about}, shop {self._shop}"

        def read(envelope: Envelope, _answer: Answer) -> tuple[Shipment, ...]:
            rows = unwrap_list(envelope.payload.get("shippings"), "shipping")
            if rows is None:
                raise malformed(attempted, "shippings is no list")
            try:
                return tuple(_read_shipment(row) for row in rows)
            except UnreadableError as problem:
                raise malformed(attempted, f"a shipment: {problem}") from None

        params = {"fields": _SHIPMENT_FIELDS, "tid": order_id}
        return self._trace_call(
            SHIPMENTS, params, read, about=about, payload_keys=frozenset({"shippings", "total_results"})
        )

    def read_trace_message(self, content: str) -> TransitEvent | None:
        """Read a stored content of the topic of parcels (§6.3)."""
        try:
            fields = parse_json(content)
            return read_step({"action": fields["action"], "status_time": fields["time"]})
        except (ValueError, TypeError, LookupError):
            return None

    def _trace_call(
        self,
        method: str,
        params: dict[str, str],
        read: Callable[[Envelope, Answer], T],
        *,
        about: str,
        payload_keys: frozenset[str],
    ) -> T:
        self._learn_time(Kind.ASIDE)
        return self._call(
            Kind.ASIDE,
            method,
            params,
            read,
            about=about,
            payload_keys=payload_keys,
            retry=replace(self._retry, attempts=min(self._retry.attempts, TRACE_ATTEMPTS)),
            patience_seconds=TRACE_PATIENCE_SECONDS,
        )

    def _asked_at(self) -> datetime:
        self._learn_time(Kind.ASIDE)
        return (self._client.clock() + self._client.platform_ahead).astimezone(CHINA)


def _read_trace(fields: dict[str, Any], answer: Answer, method: str, attempted: str) -> Trace:
    steps = unwrap_list(fields.get("trace_list"), "transit_step_info")
    if steps is None:
        raise malformed(attempted, "trace_list is no list")
    events: list[TransitEvent] = []
    unreadable: list[str] = []
    for step in steps:
        try:
            events.append(read_step(step))
        except UnreadableError as problem:
            unreadable.append(str(problem))
    try:
        refuse_forbidden_characters({name: fields.get(name) for name in ("out_sid", "company_name")})
        tracking_number, company = read_code(fields.get("out_sid")), read_code(fields.get("company_name"))
        status = read_code(fields.get("status")) or ""
    except UnreadableError as problem:
        raise malformed(attempted, f"the parcel: {problem}") from None
    return Trace(
        asked_at=answer.sent_at,
        answer=replace(answer, body=_without_words(fields, events, method)),
        tracking_number=tracking_number,
        company=company,
        claims_signed=SIGNED_WORD in status,
        events=tuple(events),
        unreadable=tuple(unreadable),
    )


def _without_words(fields: dict[str, Any], events: Sequence[TransitEvent], method: str) -> str:
    """Write the answer as it came, but for the carrier's words: what was read of them takes their place."""
    steps = [
        {"action": event.action, "status_time": f"{event.at:%F %T}", "meaning": event.meaning.value} for event in events
    ]
    kept = {name: fields[name] for name in ("company_name", "out_sid", "status", "tid") if name in fields}
    return msgspec.json.encode({root_key(method): kept | {"trace_list": {"transit_step_info": steps}}}).decode()


def _read_shipment(row: Any) -> Shipment:
    if not isinstance(row, dict):
        raise UnreadableError(f"a {type(row).__name__} instead of a shipment")
    # What the element is called is not settled (§1.5).
    lines = row.get("sub_tids")
    if isinstance(lines, dict):
        lines = next(iter(lines.values()), [])
    return Shipment(
        tracking_number=read_code(row.get("out_sid")),
        company=read_code(row.get("company_name")),
        item_ids=tuple(read_id(line) for line in lines) if isinstance(lines, list) else (),
    )
