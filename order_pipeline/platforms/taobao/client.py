"""One call of the Taobao Open Platform (Taobao contract §1.2): parameters in, a checked answer out.

Belongs here: system parameters, the signature, the HTTP status, the call log. Not here: bytes and time limits
(transport.py), what an answer means (decoding.py, parsing.py), and whether to call again (platform.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from order_pipeline.platforms.protocol import Answer, Window
from order_pipeline.platforms.taobao import batch
from order_pipeline.platforms.taobao.decoding import Envelope, decode, malformed
from order_pipeline.platforms.taobao.errors import (
    DEFAULT_BAN_SECONDS,
    LONGEST_BAN_SECONDS,
    SLOW_DOWN,
    ErrorResponse,
    classify,
)
from order_pipeline.platforms.taobao.signing import DEFAULT_SIGN_METHOD, SIGN_METHODS, SignMethod, sign, without_empty
from order_pipeline.platforms.taobao.transport import CHECK_GATEWAY, DEFAULT_LIMITS, Limits, Reply, Transport
from order_pipeline.platforms.taobao.values import CHINA
from order_pipeline.traffic.call_log import OK, Call, CallLog
from order_pipeline.traffic.errors import CallerError, CallError, MalformedAnswerError, ThrottledError, TransientError

T = TypeVar("T")

PROTOCOL_VERSION = "2.0"

TOO_MANY_REQUESTS = 429
# A proxy gave up waiting for our request: as passing as a 5xx.
REQUEST_TIMEOUT = 408

# Business parameters that nobody may read in a message.
SECRET_PARAMS = ("code", "refresh_token")

EMPTY: Mapping[str, str] = MappingProxyType({})

# The outcome of an attempt that ended in something else than an answer or a CallError: Ctrl-C, or our own mistake.
INTERRUPTED = "interrupted"


class Part(NamedTuple, Generic[T]):
    """One of several calls in one request: its own parameters, how its answer is read, and what it is about."""

    params: Mapping[str, str]
    read: Callable[[Envelope, Answer], T]
    about: str


class _Outcome(NamedTuple):
    """What a line of the call log says of how a call ended."""

    outcome: str = INTERRUPTED
    code: str | None = None
    request_id: str | None = None


class TaobaoCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """How one shop is reached. The representation hides what must not be printed."""

    shop_id: str
    gateway_url: str
    app_key: str
    app_secret: str
    session_key: str = ""
    sign_method: SignMethod = DEFAULT_SIGN_METHOD

    def __post_init__(self) -> None:
        if self.sign_method not in SIGN_METHODS:
            raise ValueError(f"shop {self.shop_id}: sign_method has to be one of {', '.join(SIGN_METHODS)}")

    def __repr__(self) -> str:
        return f"TaobaoCredentials(shop_id={self.shop_id!r}, sign_method={self.sign_method!r}, ***)"


class TaobaoClient:
    """Calls the platform for one shop. Safe to use from several threads at once."""

    def __init__(
        self,
        credentials: TaobaoCredentials,
        call_log: CallLog,
        *,
        clock: Callable[[], datetime] | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """Prepare a client; nothing is called yet.

        Args:
            credentials: whose orders.
            call_log: every attempt is written into it.
            clock: aware time of this machine; the real one if left out.
            limits: of time and size.

        """
        self.credentials = credentials
        self.clock = clock or _real_time
        # What to add to this machine's clock to get the platform's; platform.py learns it.
        self.platform_ahead = timedelta()
        self._call_log = call_log
        self._transport = Transport(credentials.gateway_url, limits)

    def call(
        self,
        method: str,
        params: Mapping[str, str],
        read: Callable[[Envelope, Answer], T],
        *,
        about: str = "",
        session: str | None = None,
        payload_keys: Collection[str] = (),
    ) -> T:
        """Make one attempt of one call.

        Args:
            method: e.g. ``taobao.time.get``.
            params: business parameters, times already as text in GMT+8; empty ones are not sent.
            read: makes of the envelope what the caller wants; raises MalformedAnswerError if it is not there, which
                then counts as the attempt's outcome.
            about: for messages, what the call is about, e.g. ``order 123``.
            session: the session key that it goes under; that of the credentials if left out, none if empty.
            payload_keys: keys that tell a payload without its root key (``simplify=true``).

        Raises:
            CallError: of the class that says whether a retry helps.

        """
        attempted = self._attempted(method, about)
        session = self.credentials.session_key if session is None else session
        started_at = self.clock()
        began = time.perf_counter()
        outcome = _Outcome()
        try:
            reply = self._transport.post(self._form(method, params, session, started_at), attempted=attempted)
            hidden = self._hidden(session, params)
            envelope = self._open(reply, method, attempted, payload_keys, hidden)
            result, outcome = self._read(envelope, method, attempted, read, started_at)
            if isinstance(result, CallError):
                raise result
        except CallError as error:
            outcome = outcome._replace(outcome=type(error).__name__)
            raise
        else:
            return result
        finally:
            self._note(method, started_at, began, [outcome])

    @property
    def batch_url(self) -> str | None:
        """Where several calls go in one request, None where they cannot."""
        return batch.batch_url(self.credentials.gateway_url)

    def call_together(
        self,
        method: str,
        shared: Mapping[str, str],
        parts: Sequence[Part[T]],
        *,
        session: str,
        payload_keys: Collection[str] = (),
    ) -> list[T | CallError]:
        """Make one attempt of several calls of a method in one request (§1.6), and return what each brought, in order.

        Each is a call of its own in the call log. Only where ``batch_url`` is one.

        Args:
            method: of all of them.
            shared: business parameters that they have in common.
            parts: the calls.
            session: the session key that they go under.
            payload_keys: as with ``call``.

        Raises:
            CallError: the request as a whole brought nothing.

        """
        attempted = self._attempted(method, f"{len(parts)} in one request")
        started_at = self.clock()
        began = time.perf_counter()
        outcomes = [_Outcome()] * len(parts)
        try:
            query, body = self._batch(method, shared, [part.params for part in parts], session, started_at)
            reply = self._transport.post(
                body, attempted=attempted, url=f"{self.batch_url}?{query}", content_type=batch.CONTENT_TYPE
            )
            hidden = self._hidden(session)
            answers: list[T | CallError] = []
            for number, piece in enumerate(self._pieces(reply, method, len(parts), attempted, hidden)):
                read = self._part(piece, method, parts[number], payload_keys, hidden, started_at)
                answers.append(read[0])
                outcomes[number] = read[1]
        except CallError as error:
            outcomes = [_Outcome(type(error).__name__, None, error.request_id)] * len(parts)
            raise
        else:
            return answers
        finally:
            self._note(method, started_at, began, outcomes)

    def close(self) -> None:
        """Close the connections of all threads."""
        self._transport.close()

    def _attempted(self, method: str, about: str) -> str:
        return f"{method} of {about + ', ' if about else ''}shop {self.credentials.shop_id}"

    def _hidden(self, session: str, params: Mapping[str, str] = EMPTY) -> list[str]:
        """Return what no message may quote. Business parameters too: the secrets of the token methods may be echoed."""
        secrets = (self.credentials.app_secret, session, *map(params.get, SECRET_PARAMS))
        return [each for each in secrets if each]

    def _note(self, method: str, started_at: datetime, began: float, outcomes: Sequence[_Outcome]) -> None:
        """Write each call of a request into the log."""
        seconds = time.perf_counter() - began
        for outcome, code, request_id in outcomes:
            self._call_log.write(
                Call(
                    shop_id=self.credentials.shop_id,
                    method=method,
                    started_at=started_at,
                    seconds=seconds,
                    outcome=outcome,
                    code=code,
                    request_id=request_id,
                    together=len(outcomes),
                )
            )

    def _system(self, now: datetime) -> dict[str, str]:
        return {
            "app_key": self.credentials.app_key,
            "timestamp": wire_time(now),
            "format": "json",
            "v": PROTOCOL_VERSION,
            "sign_method": self.credentials.sign_method,
        }

    def _signed(self, params: dict[str, str], body: str = "") -> str:
        credentials = self.credentials
        return batch.form(params | {"sign": sign(params, credentials.app_secret, credentials.sign_method, body)})

    def _form(self, method: str, params: Mapping[str, str], session: str, now: datetime) -> bytes:
        form = without_empty(params) | {"method": method, "session": session} | self._system(now)
        return self._signed(without_empty(form)).encode("ascii")

    def _batch(
        self, method: str, shared: Mapping[str, str], own: Sequence[Mapping[str, str]], session: str, now: datetime
    ) -> tuple[str, bytes]:
        """Write the query and the body. The session goes into the body: no URL shall hold a secret."""
        common = without_empty({**shared, "method": method, "session": session})
        body = batch.write(common, [without_empty(params) for params in own])
        return self._signed(without_empty(self._system(now)), body.decode("ascii")), body

    def _pieces(self, reply: Reply, method: str, count: int, attempted: str, hidden: Collection[str]) -> list[bytes]:
        """Return the answers to so many calls, or raise what the reply says instead of them."""
        pieces = batch.take_apart(reply.body)
        if 200 <= reply.status < 300 and len(pieces) == count:
            return pieces
        first = msgspec.structs.replace(reply, body=pieces[0])
        refusal = self._open(first, method, attempted, (), hidden)
        if isinstance(refusal, ErrorResponse):
            raise classify(refusal, attempted)
        raise malformed(attempted, f"{len(pieces)} answers came to {count} calls")

    def _part(
        self,
        piece: bytes,
        method: str,
        part: Part[T],
        payload_keys: Collection[str],
        hidden: Collection[str],
        started_at: datetime,
    ) -> tuple[T | CallError, _Outcome]:
        attempted = self._attempted(method, part.about)
        try:
            envelope = decode(piece, method, attempted=attempted, payload_keys=payload_keys, hidden=hidden)
            return self._read(envelope, method, attempted, part.read, started_at)
        except CallError as error:
            return error, _Outcome(type(error).__name__)

    def _read(
        self,
        envelope: Envelope | ErrorResponse,
        method: str,
        attempted: str,
        read: Callable[[Envelope, Answer], T],
        started_at: datetime,
    ) -> tuple[T | CallError, _Outcome]:
        """Return what an envelope brings, or the error that it is, and the log's words for it."""
        if isinstance(envelope, ErrorResponse):
            refusal = classify(envelope, attempted)
            return refusal, _Outcome(type(refusal).__name__, envelope.full_code, envelope.request_id)
        answer = Answer(
            method=method,
            request_id=envelope.request_id,
            sent_at=(started_at + self.platform_ahead).astimezone(CHINA),
            body=envelope.text,
        )
        try:
            return read(envelope, answer), _Outcome(OK, None, envelope.request_id)
        except CallError as error:
            return error, _Outcome(type(error).__name__, None, envelope.request_id)

    def _open(
        self, reply: Reply, method: str, attempted: str, payload_keys: Collection[str], hidden: Collection[str]
    ) -> Envelope | ErrorResponse:
        if 200 <= reply.status < 300:
            return decode(reply.body, method, attempted=attempted, payload_keys=payload_keys, hidden=hidden)
        reason = f"HTTP status {reply.status} from {self._transport.host}"
        if reply.status == TOO_MANY_REQUESTS:
            raise ThrottledError(
                attempted, reason, remedy=SLOW_DOWN, ban_seconds=_retry_after_seconds(reply.retry_after)
            )
        if reply.status >= 500 or reply.status == REQUEST_TIMEOUT:
            raise TransientError(attempted, reason, remedy=CHECK_GATEWAY)
        try:
            envelope: Any = decode(reply.body, method, attempted=attempted, hidden=hidden)
        except MalformedAnswerError:
            envelope = None
        if isinstance(envelope, ErrorResponse):
            return envelope
        raise CallerError(attempted, f"{reason}, and no error of the platform", remedy=CHECK_GATEWAY)


def wire_time(moment: datetime) -> str:
    """Write an aware moment as the platform's text, GMT+8."""
    return moment.astimezone(CHINA).strftime("%Y-%m-%d %H:%M:%S")


def span_text(window: Window) -> str:
    """Write a window for messages."""
    return f"{wire_time(window.start)} to {wire_time(window.end)}"


def _real_time() -> datetime:
    return datetime.now(UTC)


def _retry_after_seconds(header: str | None) -> float:
    if header is not None and header.isascii() and header.isdigit() and len(header) < 10:
        return min(float(header), LONGEST_BAN_SECONDS)
    return DEFAULT_BAN_SECONDS
