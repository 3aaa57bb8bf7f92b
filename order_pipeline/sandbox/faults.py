"""Faults on demand: what a real gateway sometimes does to its clients (contract 5.4, 7 and 8).

Belongs here: which fault strikes which call, record, change or message. Not here: the table of all faults
(``fault_catalogue``), what becomes of a record (``spoiling``), switching them on over HTTP (``server``). A fault
strikes calls by a seeded draw, so the same sequence of calls meets the same faults; everything else it strikes
by number, so always the same ones.
"""

from __future__ import annotations

import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from math import ceil
from typing import Any, NamedTuple

import msgspec

from order_pipeline.sandbox import fault_catalogue as names
from order_pipeline.sandbox import spoiling
from order_pipeline.sandbox.chance import fraction
from order_pipeline.sandbox.errors import (
    PlatformError,
    app_call_limited,
    insufficient_permissions,
    invalid_argument,
    invalid_session,
)
from order_pipeline.sandbox.fault_catalogue import CATALOGUE, POISONS, Fault

__all__ = ["CATALOGUE", "POISONS", "Damage", "Delivery", "Fate", "Fault", "FaultPlan"]

HTML_PAGE = "<html><head><title>502 Bad Gateway</title></head><body>系统繁忙</body></html>".encode()

# What a record is drawn with besides its number, so that two faults do not pick the same ones.
_SALTS = {names.CONTROL_CHARACTERS: 51, names.POISON: 52}
_ISP_CODES = {
    "timeout": "isp.top-remote-connection-timeout",
    "data_fetch_failed": "isp.data-fetch-failed",
    "unavailable": "isp.top-remote-service-unavailable",
}
_ON_THE_WIRE = (names.CONNECTION_RESET, names.SHORT_BODY, names.TRUNCATED_GZIP, names.SLOW_BODY)


class Damage(msgspec.Struct, frozen=True):
    """An answer that replaces the gateway's."""

    status: int
    content_type: str
    body: bytes


class Delivery(msgspec.Struct, frozen=True):
    """A fault in how the bytes of an answer arrive; ``name`` and ``kind`` as in the catalogue."""

    name: str
    kind: str
    pause_seconds: float

    @property
    def cuts_before(self) -> bool:
        """Whether the connection ends without an answer."""
        return self.name == names.CONNECTION_RESET and self.kind == "before"

    @property
    def is_broken(self) -> bool:
        """Whether the body comes otherwise than in one piece."""
        return self.name in (names.CONNECTION_RESET, names.SHORT_BODY, names.SLOW_BODY)

    @property
    def is_silent(self) -> bool:
        """Whether no body comes after the headers."""
        return self.kind == "silence"

    @property
    def is_slow(self) -> bool:
        """Whether the body trickles."""
        return self.name == names.SLOW_BODY

    @property
    def resets(self) -> bool:
        """Whether the connection is reset instead of closed."""
        return self.name == names.CONNECTION_RESET

    def cut_gzip(self, content: bytes) -> bytes:
        """Return a compressed body as it arrives."""
        return content[: len(content) * 2 // 3] if self.name == names.TRUNCATED_GZIP else content


class Fate(NamedTuple):
    """What becomes of a message when its turn comes."""

    lost: bool = False
    held_seconds: int | None = None
    repeated_seconds: int | None = None


_ORDINARY = Fate()


class _Active:
    """A fault that is on, and how often it was drawn and struck."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.draws = 0
        self.strikes = 0
        self.banned_until = 0.0

    def is_meant(self, method: str | None, shop_id: str | None) -> bool:
        """Whether a call of that method for that shop can be struck at all."""
        return self.fault.method in (None, method) and self.fault.shop in (None, shop_id)

    def concerns(self, method: str | None, shop_id: str | None) -> bool:
        """Whether a call can be struck now, as far as the fault has not struck often enough."""
        exhausted = self.fault.count is not None and self.strikes >= self.fault.count
        return not exhausted and self.is_meant(method, shop_id)


class FaultPlan:
    """The faults that are on; one of each label, or of each name without one."""

    def __init__(
        self, monotonic: Callable[[], float] = time.monotonic, settle: Callable[[], None] = lambda: None
    ) -> None:
        """``settle`` is called before faults change, to let happen what is due under the earlier ones."""
        self._monotonic = monotonic
        self._settle = settle
        self._active: dict[str, _Active] = {}
        self._by_name: dict[str, list[_Active]] = {}
        self.struck: Counter[str] = Counter()

    @property
    def active(self) -> list[Fault]:
        """The faults that are on."""
        return [active.fault for active in self._active.values()]

    @property
    def is_quiet(self) -> bool:
        """Whether no fault is on."""
        return not self._active

    def switch_on(self, fault: Fault) -> None:
        """Let a fault strike from now on, replacing an earlier one of the same label (or name)."""
        self._settle()
        self._active[fault.label or fault.name] = _Active(fault)
        self._index()

    def switch_off(self, label: str) -> None:
        """Switch one fault off; nothing happens if it is not on."""
        self._settle()
        self._active.pop(label, None)
        self._index()

    def clear(self) -> None:
        """Switch every fault off, a running ban too."""
        self._settle()
        self._active.clear()
        self._index()

    def _index(self) -> None:
        by_name: dict[str, list[_Active]] = {}
        for active in self._active.values():
            by_name.setdefault(active.fault.name, []).append(active)
        self._by_name = by_name

    def _strikes(self, name: str, method: str, shop_id: str | None) -> Fault | None:
        """Draw for a call."""
        for active in self._by_name.get(name, ()):
            if self._draw(active, method, shop_id):
                return active.fault
        return None

    def _draw(self, active: _Active, method: str, shop_id: str | None) -> bool:
        if not active.concerns(method, shop_id):
            return False
        active.draws += 1
        fault = active.fault
        if fraction(fault.seed, active.draws, zlib.crc32(fault.name.encode())) >= fault.rate:
            return False
        self._count(active)
        return True

    def _picks(self, name: str, method: str | None, shop_id: str, *numbers: int) -> Fault | None:
        """Draw for a record, change or message: the same numbers are always drawn alike."""
        for active in self._by_name.get(name, ()):
            # What has no call (a change, a message) is not narrowed by a method.
            if not active.concerns(method if method is not None else active.fault.method, shop_id):
                continue
            salt = _SALTS.get(name) or zlib.crc32(name.encode())
            if fraction(active.fault.seed, *numbers, salt) < active.fault.rate:
                return self._count(active)
        return None

    def _count(self, active: _Active) -> Fault:
        active.strikes += 1
        self.struck[active.fault.name] += 1
        return active.fault

    # --- calls ------------------------------------------------------------------------------------------------

    def delay_seconds(self, method: str, shop_id: str | None = None) -> float:
        """How long this call's answer is held back."""
        fault = self._strikes(names.LATENCY, method, shop_id)
        return fault.milliseconds / 1000 if fault else 0.0

    def outage(self, method: str, shop_id: str | None = None) -> Damage | None:
        """Return what answers this call instead of the gateway, if anything."""
        if fault := self._strikes(names.HTTP_ERROR, method, shop_id):
            return Damage(fault.status, "text/html;charset=UTF-8", HTML_PAGE)
        if self._strikes(names.HTML, method, shop_id):
            return Damage(200, "text/html;charset=UTF-8", HTML_PAGE)
        if self._strikes(names.EMPTY_BODY, method, shop_id):
            return Damage(200, "application/json;charset=UTF-8", b"")
        return None

    def delivery(self, method: str, shop_id: str | None = None) -> Delivery | None:
        """Return what is wrong with how this call's answer arrives, if anything."""
        for name in _ON_THE_WIRE:
            if fault := self._strikes(name, method, shop_id):
                return Delivery(name, fault.chosen, fault.milliseconds / 1000)
        return None

    def refusal(self, method: str, shop_id: str | None) -> PlatformError | None:
        """Return the error this call gets instead of its answer, if any."""
        now = self._monotonic()
        for active in self._by_name.get(names.BAN, ()):
            if now >= active.banned_until and self._draw(active, method, shop_id):
                active.banned_until = now + active.fault.seconds
            if now < active.banned_until and active.is_meant(method, shop_id):
                # Rounded first: the sum of two floats may lie a hair above the seconds asked for.
                seconds = max(1, ceil(round(active.banned_until - now, 3)))
                return app_call_limited(seconds, active.fault.chosen)
        if self._strikes(names.SESSION_EXPIRED, method, shop_id):
            return invalid_session("session-expired")
        if fault := self._strikes(names.ISP, method, shop_id):
            return PlatformError(15, "Remote service error", _ISP_CODES[fault.chosen], "后端服务超时")
        return None

    def batch_refusal(self) -> PlatformError | None:
        """Return the error that several calls in one request get together instead of their answers, if any."""
        fault = self._strikes(names.BATCH_REFUSED, "", None)
        if fault is None:
            return None
        return invalid_argument("batch") if fault.chosen == "too_many" else insufficient_permissions()

    def mixed_up(self, answers: list[bytes]) -> list[bytes]:
        """Return the answers to several calls in one request as they come."""
        fault = self._strikes(names.BATCH_MIXED_UP, "", None) if len(answers) > 1 else None
        if fault is None:
            return answers
        return answers[:-1] if fault.chosen == "fewer" else answers[::-1]

    def unknown_outcome(self, method: str, shop_id: str | None) -> str | None:
        """Return whether a write that seems to have timed out was "done" or "not_done", None if it answers."""
        fault = self._strikes(names.UNKNOWN_OUTCOME, method, shop_id)
        return fault.chosen if fault else None

    def damaged(self, method: str, body: bytes, shop_id: str | None = None) -> bytes:
        """Return the body as it arrives."""
        return body[: len(body) * 2 // 3] if self._strikes(names.TRUNCATED, method, shop_id) else body

    def misheard(self, method: str, shop_id: str | None, parameters: Mapping[str, str]) -> Mapping[str, str]:
        """Return the business parameters as the platform understands them."""
        page_no = parameters.get("page_no", "1")
        # Page 1 has no page before it; drawing for it would make the rate a lie.
        if not page_no.isdigit() or int(page_no) < 2 or not self._strikes(names.REPEATED_PAGE, method, shop_id):
            return parameters
        return {**parameters, "page_no": str(int(page_no) - 1)}

    def misled(self, method: str, shop_id: str | None, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the fields of an answer with what a fault makes of its totals and rows."""
        changed = dict(fields)
        if "total_results" in fields and (fault := self._strikes(names.WRONG_TOTAL, method, shop_id)):
            more = fault.chosen == "more" or (fault.chosen == "either" and self.struck[names.WRONG_TOTAL] % 2 == 1)
            changed["total_results"] = max(0, fields["total_results"] + (1 if more else -1))
        if "has_next" in fields and self._strikes(names.HAS_NEXT_FOREVER, method, shop_id):
            changed["has_next"] = True
        listed = [name for name in ("trades", "refunds") if name in fields]
        if listed and (fault := self._strikes(names.EMPTY_PAGE, method, shop_id)):
            del changed[listed[0]]
            if fault.chosen == "list":
                changed |= {"total_results": 0} if "total_results" in fields else {"has_next": False}
        return changed

    def list_age_seconds(self, method: str, shop_id: str) -> int:
        """How old the state is that this call's list shows."""
        fault = self._strikes(names.STALE_LIST, method, shop_id) if self._by_name else None
        return fault.seconds if fault else 0

    # --- changes of an order ----------------------------------------------------------------------------------

    def arrival_delay_seconds(self, shop_id: str, tid: int, version: int) -> int:
        """How much later than it happens a change comes into lists."""
        fault = self._picks(names.ARRIVAL_DELAY, None, shop_id, tid, version) if self._by_name else None
        return fault.seconds if fault else 0

    def hides_change(self, method: str, shop_id: str, tid: int, version: int, age_seconds: int) -> bool:
        """Whether the details still lack a change that happened so long ago."""
        for active in self._by_name.get(names.STALE_DETAIL, ()):
            fault = active.fault
            if (
                active.concerns(method, shop_id)
                and age_seconds < fault.seconds
                and fraction(fault.seed, tid, version, zlib.crc32(fault.name.encode())) < fault.rate
            ):
                self._count(active)
                return True
        return False

    # --- records ----------------------------------------------------------------------------------------------

    def spoilt(self, method: str, shop_id: str, number: int, fragment: bytes) -> bytes:
        """Return an encoded record, spoilt if it is one of those that a fault picked."""
        # What writes JSON anew comes first: it could not read what the others leave behind.
        if fault := self._picks(names.ODD_RECORD, method, shop_id, number):
            fragment = spoiling.odd(fault.chosen, fragment)
        if fault := self._picks(names.ODD_STOCK, method, shop_id, number):
            fragment = spoiling.odd_stock(fault.chosen, fragment)
        if fault := self._picks(names.POISON, method, shop_id, number):
            fragment = spoiling.poisoned(fault.chosen, fragment)
        if self._picks(names.CONTROL_CHARACTERS, method, shop_id, number):
            fragment = spoiling.control_characters(fragment)
        return fragment

    # --- messages ---------------------------------------------------------------------------------------------

    def fate_of_message(self, identifier: int, shop_id: str) -> Fate:
        """Decide what becomes of a message when its turn comes."""
        if not self._by_name:
            return _ORDINARY
        if self._picks(names.MESSAGE_LOST, None, shop_id, identifier):
            return Fate(lost=True)
        held = self._picks(names.MESSAGE_HELD, None, shop_id, identifier)
        repeated = self._picks(names.MESSAGE_REPEATED, None, shop_id, identifier)
        return Fate(
            held_seconds=held.seconds if held else None, repeated_seconds=repeated.seconds if repeated else None
        )

    def spoilt_message(self, message: dict[str, Any], shop_id: str) -> dict[str, Any]:
        """Return a message as it is delivered."""
        if fault := self._picks(names.MESSAGE_SPOILT, None, shop_id, message["id"]):
            return spoiling.spoilt_message(fault.chosen, message)
        return message
