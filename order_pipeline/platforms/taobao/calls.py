"""A shop's calls: through the gate, under its session, on the platform's clock (Taobao contract §1, §3.9).

Belongs here: what every family of methods stands on. Not here: what is asked for and what is made of it (platform.py,
message_methods.py, refund_methods.py, trace_methods.py), how one request is made (client.py).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from msgspec.structs import replace

from order_pipeline.platforms.protocol import Answer, Session
from order_pipeline.platforms.taobao.batch import MOST_CALLS, BatchSize
from order_pipeline.platforms.taobao.client import Part, TaobaoClient, TaobaoCredentials
from order_pipeline.platforms.taobao.decoding import Envelope, malformed
from order_pipeline.platforms.taobao.platform_clock import PlatformClock
from order_pipeline.platforms.taobao.transport import DEFAULT_LIMITS, Limits
from order_pipeline.platforms.taobao.values import CHINA, UnreadableError, read_moment
from order_pipeline.traffic.breaker import Kind
from order_pipeline.traffic.budget import LONGEST_WAIT_SECONDS
from order_pipeline.traffic.call_log import CallLog
from order_pipeline.traffic.errors import CallError, SessionError
from order_pipeline.traffic.gate import Gate
from order_pipeline.traffic.retry import DEFAULT_RETRY, RetrySettings

logger = logging.getLogger(__name__)

T = TypeVar("T")

TIME = "taobao.time.get"

# Lists of orders and of refunds give 100 rows at most (§3.1, §3.2, §3.6); the larger the page, the fewer the calls.
LARGEST_PAGE = 100


class _FixedSession:
    """A session key that is what it is; implements ``protocol.Session``."""

    def __init__(self, key: str) -> None:
        self._key = key

    def key(self) -> str:
        return self._key

    def refused(self, key: str, error: SessionError, *, again: bool) -> CallError:  # noqa: ARG002 - the protocol's
        return error


class TaobaoCalls:
    """The calls of one shop. Safe to use from several threads."""

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
        topics: Sequence[str] = (),
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
            topics: of messages, to permit by name; all that the app has subscribed to if left out.

        """
        if not 1 <= page_size <= LARGEST_PAGE:
            raise ValueError(f"page_size is {page_size}; the platform serves 1 to {LARGEST_PAGE} rows a page")
        self._client = TaobaoClient(credentials, call_log, clock=clock, limits=limits)
        self._shop = credentials.shop_id
        self._page_size = page_size
        self._retry = retry
        self._gate = gate or Gate()
        self._session = session or _FixedSession(credentials.session_key)
        self._topics = tuple(topics)
        self._clock = PlatformClock()
        self._batch_size = BatchSize(MOST_CALLS if self._client.batch_url else 1)

    def now(self) -> datetime:
        """Ask the platform for its time: whole seconds, GMT+8, never later than it is (§3.9 taobao.time.get).

        The difference to this machine's clock is remembered for ``Answer.sent_at``. It is taken when the answer is
        here, so it errs to the early side; of several answers the one that errs least counts.

        Raises:
            CallError: no usable answer.

        """
        return self._ask_time(Kind.CLOCK)

    def known_time(self) -> datetime:
        """Return the platform's time as far as it was told, with no call unless it never was; never later than it is.

        Raises:
            CallError: it was never told, and there is no usable answer.

        """
        self._learn_time(Kind.DETAIL)
        return (self._client.clock() + self._client.platform_ahead).astimezone(CHINA)

    def sharpen_time(self, seconds: float) -> bool:
        """Learn the platform's time better, where the best moment to ask comes within so many seconds.

        The platform tells whole seconds, so what is known of its time may lie behind by one. Asked when a second of
        its may or may not have begun, the answer halves what is not known. Returns whether it was asked.

        Raises:
            CallError: no usable answer.

        """
        until_best = self._clock.best_moment(self._client.clock())
        if until_best is None or until_best > seconds:
            return False
        time.sleep(until_best)
        self._clock.count_question()
        # Once, and with no patience: it is not worth waiting for.
        self._ask_time(Kind.MESSAGE, retry=replace(self._retry, attempts=1), patience_seconds=0.0)
        return True

    def _ask_time(
        self, kind: Kind, *, retry: RetrySettings | None = None, patience_seconds: float = LONGEST_WAIT_SECONDS
    ) -> datetime:
        asked_at = self._client.clock()

        def read(envelope: Envelope, _answer: Answer) -> datetime:
            try:
                moment = read_moment(envelope.payload.get("time"))
            except UnreadableError as problem:
                raise malformed(f"{TIME} of shop {self._shop}", f"time: {problem}") from None
            if moment is None:
                raise malformed(f"{TIME} of shop {self._shop}", "there is no time in it")
            return moment

        # It tells the clock even to an app that nobody has authorised yet.
        platform_time = self._call(
            kind,
            TIME,
            {},
            read,
            payload_keys=frozenset({"time"}),
            needs_session=False,
            retry=retry,
            patience_seconds=patience_seconds,
        )
        self._clock.note(platform_time, asked_at, self._client.clock(), time.monotonic())
        self._client.platform_ahead = self._clock.ahead
        return platform_time

    @property
    def details_at_once(self) -> int:
        """As many as one request holds (§1.6), as far as that is known by now."""
        return self._batch_size.now()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _learn_time(self, kind: Kind) -> None:
        if not self._clock.is_known:
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

    def _call_together(
        self,
        kind: Kind,
        method: str,
        shared: Mapping[str, str],
        parts: Sequence[Part[T]],
        *,
        payload_keys: Collection[str],
    ) -> list[T | None]:
        """Make several calls of a method in as few requests as may be, each once. None: it came to nothing.

        Only good answers are handed over. Whatever else came, alone the call gets the error that is its own, and the
        retries that help. Raises the CallError that held the first of them back: then nothing was called.
        """
        brought: list[T | None] = []
        while len(brought) < len(parts):
            try:
                some: list[T | None] = self._some_together(kind, method, shared, parts[len(brought) :], payload_keys)
            except CallError as error:
                if not brought:
                    raise
                logger.info("%s; the rest is asked for one by one", error)
                some = [None] * (len(parts) - len(brought))
            brought += some
        return brought

    def _some_together(
        self,
        kind: Kind,
        method: str,
        shared: Mapping[str, str],
        parts: Sequence[Part[T]],
        payload_keys: Collection[str],
    ) -> list[T | None]:
        """Make as many of the calls as one request may hold and the budget lets leave at once: at least one."""
        made = 0

        def make(count: int) -> Sequence[T | CallError]:
            nonlocal made
            made = count
            key = self._session.key()
            if count == 1:
                params, read, about = parts[0]
                whole = {**shared, **params}
                return [self._client.call(method, whole, read, about=about, session=key, payload_keys=payload_keys)]
            some = parts[:count]
            return self._client.call_together(method, shared, some, session=key, payload_keys=payload_keys)

        most = min(self._batch_size.now(), len(parts))
        attempted = f"{method} of up to {most} in one request, shop {self._shop}"
        try:
            answers = self._gate.call_together(kind, make, most, attempted=attempted, prepare=self._session.key)
        except CallError as error:
            if not made:
                raise
            logger.warning("%s; each is asked for alone", error)
            if made > 1:
                self._batch_size.came_to_nothing(made, error)
            return [None] * made
        self._batch_size.went_through(made)
        return [None if isinstance(answer, CallError) else answer for answer in answers]
