"""A shop's parcels: which there are, what is in them, and what tests have done to them.

Belongs here: from the shop's change log to parcels and their scans. It is read only when somebody asks, so a sandbox
whose parcels interest nobody pays nothing for them. Not here: the plan of a journey (``journeys``), the wire
(``methods.logistics``). Not thread-safe: the marketplace holds the lock.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

import msgspec

from order_pipeline.sandbox import trade as t
from order_pipeline.sandbox.chance import fraction, mix
from order_pipeline.sandbox.event_values import OFFLINE, ONLINE, Shipment
from order_pipeline.sandbox.ledger import Ledger
from order_pipeline.sandbox.life import CONSIGNED_TO_DELIVERED, DAY
from order_pipeline.sandbox.logistics import journeys as j
from order_pipeline.sandbox.logistics.journeys import Habits, Odds, Scan, habits_of, plan_journey

STALL, REVIVE, EVENT, SIGN, LOSE, REROUTE = "stall", "revive", "event", "sign", "lose", "reroute"
ACTIONS = (STALL, REVIVE, EVENT, SIGN, LOSE, REROUTE)

EMS = "EMS"


class Parcel(msgspec.Struct):
    """One waybill: who carries it, when it was handed over, and the lines of the orders that are in it."""

    waybill: str
    company: str
    number: int
    handed_over_ms: int
    days: float
    speed: float
    channel: str
    contents: list[tuple[t.Trade, tuple[int, ...]]]

    @property
    def new_waybill(self) -> str:
        """The number it gets if it is handed to another carrier."""
        return f"98{self.number % 10**11:011d}"


class Edit(msgspec.Struct, frozen=True):
    """What a test did to a parcel, and from when; ``scan`` is what it lets the carrier say."""

    action: str
    at_ms: int
    scan: Scan | None = None


class ParcelBook:
    """The parcels of one shop, in the order in which they were handed over."""

    def __init__(self, ledger: Ledger, seed: int, odds: Odds) -> None:
        self._ledger = ledger
        self._seed = seed
        self._odds = odds
        self._parcels: dict[str, Parcel] = {}
        self._edits: dict[str, list[Edit]] = {}
        self._read = 0
        self._fresh: list[Parcel] = []
        self._watchers: list[Callable[[str], None]] = []

    def watch(self, on_edit: Callable[[str], None]) -> None:
        """Let somebody know of every waybill that a test does something to."""
        self._watchers.append(on_edit)

    def catch_up(self) -> list[Parcel]:
        """Take in what has left since the last time; return the parcels that nobody has been told of yet."""
        self._take_in()
        fresh, self._fresh = self._fresh, []
        return fresh

    def _take_in(self) -> None:
        for place in range(self._read, self._ledger.change_count):
            trade, version = self._ledger.change_at(place)
            event = trade.applied[version - 1]
            if event.kind == t.CONSIGNED and event.value.waybill:
                self._take(trade, event)
        self._read = self._ledger.change_count

    def _take(self, trade: t.Trade, event: t.Event) -> None:
        shipment: Shipment = event.value
        waybill = str(shipment.waybill)
        if known := self._parcels.get(waybill):
            known.contents.append((trade, event.lines))
            return
        number = mix(zlib.crc32(waybill.encode()), self._seed)
        days = shipment.days or CONSIGNED_TO_DELIVERED.at(fraction(self._seed, number, 86)) / DAY
        own = habits_of(self._seed, number, self._odds).is_own_carrier
        channel = shipment.channel or (OFFLINE if own else ONLINE)
        company, speed = shipment.company or EMS, trade.placement.speed
        contents = [(trade, event.lines)]
        parcel = Parcel(waybill, company, number, event.at_ms, days, speed, channel, contents)
        self._parcels[waybill] = parcel
        if self._watchers:
            self._fresh.append(parcel)

    def __iter__(self) -> Iterator[Parcel]:
        self._take_in()
        return iter(list(self._parcels.values()))

    def find(self, waybill: str) -> Parcel | None:
        """Return the parcel of that number, None if nothing left under it."""
        self._take_in()
        return self._parcels.get(waybill)

    def of(self, trade: t.Trade) -> list[Parcel]:
        """Return the parcels that a trade's lines are in, as the trade says now."""
        self._take_in()
        waybills = dict.fromkeys(line.invoice_no for line in trade.lines if line.invoice_no)
        return [parcel for waybill in waybills if (parcel := self._parcels.get(waybill))]

    def habits(self, parcel: Parcel) -> Habits:
        """Return how the platform speaks of a parcel."""
        return habits_of(self._seed, parcel.number, self._odds)

    def edit(self, waybill: str, edit: Edit) -> None:
        """Do something to a parcel. KeyError if there is none, ValueError if that cannot be done."""
        if edit.action not in ACTIONS:
            raise ValueError(f"no action {edit.action!r}; there are {list(ACTIONS)}")
        if self.find(waybill) is None:
            raise KeyError(waybill)
        if edit.action == EVENT and (edit.scan is None or edit.scan.action not in j.ACTIONS):
            raise ValueError(f"an event needs an action of {sorted(j.ACTIONS)}")
        self._edits.setdefault(waybill, []).append(edit)
        for on_edit in self._watchers:
            on_edit(waybill)

    def scans(self, parcel: Parcel) -> list[Scan]:
        """Return every scan of a parcel, those to come too, in the order in which they become visible."""
        if parcel.channel == OFFLINE:
            return []
        scans = plan_journey(
            self._seed, parcel.number, parcel.company, parcel.handed_over_ms, parcel.days, self._odds, parcel.speed
        )
        kept_back: list[Scan] = []
        for edit in self._edits.get(parcel.waybill, ()):
            scans, kept_back = _edited(scans, kept_back, edit)
        return scans

    def visible(self, parcel: Parcel, now_ms: int) -> list[Scan]:
        """Return the scans that can be seen by a moment."""
        return [scan for scan in self.scans(parcel) if scan.at_ms <= now_ms]


def carrier_of(parcel: Parcel, scans: list[Scan]) -> tuple[str, str]:
    """Return the waybill and the company that are known after these scans: others once it was handed on."""
    if any(scan.action == j.TO_EMS for scan in scans):
        return parcel.new_waybill, EMS
    return parcel.waybill, parcel.company


def _edited(scans: list[Scan], kept_back: list[Scan], edit: Edit) -> tuple[list[Scan], list[Scan]]:
    before = [scan for scan in scans if scan.at_ms <= edit.at_ms]
    after = [scan for scan in scans if scan.at_ms > edit.at_ms]
    second = edit.at_ms // 1000
    if edit.action == STALL:
        return before, after or kept_back
    if edit.action == REVIVE:
        waiting = [scan for scan in kept_back if scan.is_meaningful] or [
            Scan(edit.at_ms, second, j.ARRIVAL, "快件已到达派送网点")
        ]
        move_ms = edit.at_ms - waiting[0].at_ms
        moved = [Scan(scan.at_ms + move_ms, scan.time + move_ms // 1000, scan.action, scan.text) for scan in waiting]
        return before + moved, []
    if edit.action == SIGN:
        return [*before, Scan(edit.at_ms, second, j.SIGNED, "您的快件已签收，签收人：本人")], []
    if edit.action == LOSE:
        return [*before, Scan(edit.at_ms, second, j.LOST, "快件疑似遗失，正在核实")], []
    said = edit.scan or Scan(edit.at_ms, second, j.TO_EMS, "快件转投EMS，单号已更换")
    return [*before, said, *after], kept_back
