"""Faults on demand: what a real gateway sometimes does to its clients (contract 5.4 and 8).

Belongs here: which fault strikes which call, and what it does to an answer. Not here: switching them on over
HTTP (``server``). A fault strikes by a seeded draw, so the same sequence of calls meets the same faults.
"""

from __future__ import annotations

import re
import time
import zlib
from collections import Counter
from collections.abc import Callable
from math import ceil
from typing import Any

import msgspec

from order_pipeline.sandbox.chance import fraction
from order_pipeline.sandbox.errors import PlatformError, app_call_limited, invalid_session
from order_pipeline.sandbox.trade import Trade

LATENCY = "latency"
HTTP_ERROR = "http_error"
HTML = "html"
EMPTY_BODY = "empty_body"
TRUNCATED = "truncated"
BAN = "ban"
ISP = "isp"
SESSION_EXPIRED = "session_expired"
CONTROL_CHARACTERS = "control_characters"
POISON = "poison"
NAMES = frozenset(
    {LATENCY, HTTP_ERROR, HTML, EMPTY_BODY, TRUNCATED, BAN, ISP, SESSION_EXPIRED, CONTROL_CHARACTERS, POISON}
)
POISONS = ("nul", "lone_surrogate", "no_orders", "money_text", "money_nan", "huge_tid")

HTML_PAGE = "<html><head><title>502 Bad Gateway</title></head><body>系统繁忙</body></html>".encode()
# What an id must not look like: more digits than fit 64 bits.
HUGE_TID = 10**20
_TID = re.compile(rb'"tid":\d+')
_MONEY = re.compile(rb'"payment":"[^"]*"')


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One fault that is switched on. ``rate`` is the share of calls (of trades, for the last two) it strikes.

    ``method`` and ``shop`` narrow it; ``milliseconds`` belongs to latency, ``status`` to http_error, ``seconds``
    to ban (how long every call is refused once it strikes, in real time), ``kind`` to poison (one of ``POISONS``).
    """

    name: str
    rate: float = 1.0
    seed: int = 0
    method: str | None = None
    shop: str | None = None
    milliseconds: int = 200
    status: int = 502
    seconds: int = 2
    kind: str = "nul"

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ValueError(f"no fault {self.name!r}; there are {sorted(NAMES)}")
        if self.kind not in POISONS:
            raise ValueError(f"no poison {self.kind!r}; there are {list(POISONS)}")
        if not 0 <= self.rate <= 1:
            raise ValueError("rate is a share between 0 and 1")


class Damage(msgspec.Struct, frozen=True):
    """An answer that replaces the gateway's."""

    status: int
    content_type: str
    body: bytes


class FaultPlan:
    """The faults that are on; one of each name."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._banned_until = 0.0
        self._active: dict[str, Fault] = {}
        self._draws: Counter[str] = Counter()
        self.struck: Counter[str] = Counter()

    @property
    def active(self) -> list[Fault]:
        """The faults that are on."""
        return list(self._active.values())

    def switch_on(self, fault: Fault) -> None:
        """Let a fault strike from now on, replacing an earlier one of the same name."""
        self._active[fault.name] = fault
        self._draws[fault.name] = 0

    def clear(self) -> None:
        """Switch every fault off, a running ban too."""
        self._active.clear()
        self._banned_until = 0.0

    def _strikes(self, name: str, method: str, shop_id: str | None = None) -> Fault | None:
        fault = self._active.get(name)
        if fault is None or fault.method not in (None, method) or fault.shop not in (None, shop_id):
            return None
        self._draws[name] += 1
        if fraction(fault.seed, self._draws[name], zlib.crc32(name.encode())) >= fault.rate:
            return None
        self.struck[name] += 1
        return fault

    def delay_seconds(self, method: str) -> float:
        """How long this call's answer is held back."""
        fault = self._strikes(LATENCY, method)
        return fault.milliseconds / 1000 if fault else 0.0

    def outage(self, method: str) -> Damage | None:
        """Return what answers this call instead of the gateway, if anything."""
        if fault := self._strikes(HTTP_ERROR, method):
            return Damage(fault.status, "text/html;charset=UTF-8", HTML_PAGE)
        if self._strikes(HTML, method):
            return Damage(200, "text/html;charset=UTF-8", HTML_PAGE)
        if self._strikes(EMPTY_BODY, method):
            return Damage(200, "application/json;charset=UTF-8", b"")
        return None

    def refusal(self, method: str, shop_id: str | None) -> PlatformError | None:
        """Return the error this call gets instead of its answer, if any."""
        now = self._monotonic()
        if now >= self._banned_until and (fault := self._strikes(BAN, method)):
            self._banned_until = now + fault.seconds
        if now < self._banned_until:
            return app_call_limited(max(1, ceil(self._banned_until - now)))
        if self._strikes(SESSION_EXPIRED, method, shop_id):
            return invalid_session("session-expired")
        if self._strikes(ISP, method):
            return PlatformError(15, "Remote service error", "isp.top-remote-connection-timeout", "后端服务超时")
        return None

    def damaged(self, method: str, body: bytes) -> bytes:
        """Return the body as it arrives."""
        return body[: len(body) * 2 // 3] if self._strikes(TRUNCATED, method) else body

    def poisoned(self, trade: Trade, fragment: bytes) -> bytes:
        """Return an encoded trade, spoilt if it is one of those that a fault picked (always the same ones)."""
        if not self._active:
            return fragment
        if (fault := self._active.get(CONTROL_CHARACTERS)) and fraction(fault.seed, trade.tid, 51) < fault.rate:
            place = b'"seller_memo":"' if b'"seller_memo":"' in fragment else b'"title":"'
            fragment = fragment.replace(place, place + b"\x01\t\n", 1)
        if (fault := self._active.get(POISON)) and fraction(fault.seed, trade.tid, 52) < fault.rate:
            fragment = _poison(fault.kind, fragment)
        return fragment


def _poison(kind: str, fragment: bytes) -> bytes:
    if kind == "nul":
        return fragment.replace(b'"title":"', b'"title":"\\u0000', 1)
    if kind == "lone_surrogate":
        return fragment.replace(b'"title":"', b'"title":"\\ud800', 1)
    if kind == "money_text":
        return _MONEY.sub(b'"payment":"abc"', fragment, count=1)
    if kind == "money_nan":
        return _MONEY.sub(b'"payment":NaN', fragment, count=1)
    if kind == "huge_tid":
        return _TID.sub(b'"tid":%d' % HUGE_TID, fragment, count=1)
    fields: dict[str, Any] = msgspec.json.decode(fragment)
    fields.pop("orders", None)
    return msgspec.json.encode(fields)
