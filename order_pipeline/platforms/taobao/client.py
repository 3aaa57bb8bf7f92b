"""One call of the Taobao Open Platform (Taobao contract §1.2): parameters in, a checked answer out.

Belongs here: system parameters, the signature, the HTTP status, the call log. Not here: bytes and time limits
(transport.py), what an answer means (decoding.py, parsing.py), and whether to call again (platform.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import quote_plus

import msgspec

from order_pipeline.platforms.protocol import Answer, Window
from order_pipeline.platforms.taobao.decoding import Envelope, decode
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

# The outcome of an attempt that ended in something else than an answer or a CallError: Ctrl-C, or our own mistake.
INTERRUPTED = "interrupted"

# Field lists and type lists are the same in every call; dates and page numbers come and go.
_quote = lru_cache(maxsize=1024)(quote_plus)


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
        attempted = f"{method} of {about + ', ' if about else ''}shop {self.credentials.shop_id}"
        session = self.credentials.session_key if session is None else session
        started_at = self.clock()
        began = time.perf_counter()
        outcome, code, request_id = INTERRUPTED, None, None
        try:
            reply = self._transport.post(self._form(method, params, session, started_at), attempted=attempted)
            # Business parameters too: those of the token methods are secrets, and might be echoed.
            hidden = (self.credentials.app_secret, session, *map(params.get, SECRET_PARAMS))
            envelope = self._open(reply, method, attempted, payload_keys, [each for each in hidden if each])
            if isinstance(envelope, ErrorResponse):
                code, request_id = envelope.full_code, envelope.request_id
                raise classify(envelope, attempted)
            request_id = envelope.request_id
            answer = Answer(
                method=method,
                request_id=request_id,
                sent_at=(started_at + self.platform_ahead).astimezone(CHINA),
                body=envelope.text,
            )
            result = read(envelope, answer)
        except CallError as error:
            outcome = type(error).__name__
            raise
        else:
            outcome = OK
            return result
        finally:
            self._call_log.write(
                Call(
                    shop_id=self.credentials.shop_id,
                    method=method,
                    started_at=started_at,
                    seconds=time.perf_counter() - began,
                    outcome=outcome,
                    code=code,
                    request_id=request_id,
                )
            )

    def close(self) -> None:
        """Close the connections of all threads."""
        self._transport.close()

    def _form(self, method: str, params: Mapping[str, str], session: str, now: datetime) -> bytes:
        credentials = self.credentials
        form = without_empty(params)
        form |= {
            "method": method,
            "app_key": credentials.app_key,
            "session": session,
            "timestamp": wire_time(now),
            "format": "json",
            "v": PROTOCOL_VERSION,
            "sign_method": credentials.sign_method,
        }
        form = without_empty(form)
        form["sign"] = sign(form, credentials.app_secret, credentials.sign_method)
        return "&".join([f"{_quote(name)}={_quote(value)}" for name, value in form.items()]).encode("ascii")

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
