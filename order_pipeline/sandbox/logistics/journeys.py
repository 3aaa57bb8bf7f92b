"""The journey of a parcel, decided once from its waybill: every scan of the carrier, and when it becomes visible.

Belongs here: the pure schedule, with all that carriers get wrong. Not here: which parcels there are (``parcels``).
Between two scans that mean something there are never more than two days, unless the parcel is stuck.
"""

from __future__ import annotations

from math import ceil
from random import Random

import msgspec

from order_pipeline.sandbox.chance import fraction, seeded

CREATE, CONSIGN, GOT, ARRIVAL, DEPARTURE = "CREATE", "CONSIGN", "GOT", "ARRIVAL", "DEPARTURE"
SENT_CITY, SENT_SCAN, SIGNED, FAILED, LOST = "SENT_CITY", "SENT_SCAN", "SIGNED", "FAILED", "LOST"
TO_EMS, OTHER = "TO_EMS", "OTHER"
ACTIONS = frozenset(
    {CREATE, CONSIGN, GOT, ARRIVAL, DEPARTURE, SENT_CITY, SENT_SCAN, SIGNED, FAILED, LOST, TO_EMS, OTHER}
)
# They say that somebody means to send something, not that a carrier has it.
MEANINGLESS = frozenset({CREATE, CONSIGN})

HOUR_MS = 3_600_000

STALL_RATE = 0.012
_STUCK_FOR_EVER = 0.4  # of stalls
_STUCK_HOURS = (74.0, 220.0)

# Shares of parcels; all are multiplied by the oddity of the settings.
_OWN_CARRIER = 0.03
_NEVER_TRACED = 0.003
_LATE_PICKUP = 0.01
_FAILED_ONCE = 0.03
_PICKUP_POINT = 0.12
_RETURNED = 0.01
_SIGNED_TOO_EARLY = 0.007
_REROUTED = 0.005
_LOST = 0.002
_FUTURE = 0.01
_REWORDED = 0.03
_REPEATED = 0.02
_SHUFFLED = 0.03
_SILENT = 0.01  # an empty list where others answer with an error
_ISP_ERROR = 0.3  # whose "no trace" looks like a failure of the platform

_LONGEST_GAP_HOURS = 36.0
_SHORTEST_HOURS = 14.0
_HUBS = ("杭州转运中心", "上海转运中心", "广州转运中心", "武汉转运中心", "郑州转运中心", "成都转运中心", "北京转运中心")
PICKUP_POINT_TEXT = "快件已存放至菜鸟驿站，请凭取件码取件"
RETURN_TEXT = "退回"


class Scan(msgspec.Struct, frozen=True, gc=False):
    """One line of a trace: visible from ``at_ms`` on, stamped ``time`` (whole seconds) by the carrier."""

    at_ms: int
    time: int
    action: str
    text: str

    @property
    def is_meaningful(self) -> bool:
        """Whether it says that the carrier has the parcel."""
        return self.action not in MEANINGLESS


class Odds(msgspec.Struct, frozen=True):
    """How often parcels get stuck, and by how much to multiply the shares of everything else that is odd."""

    stall_rate: float = STALL_RATE
    oddity: float = 1.0


DEFAULT_ODDS = Odds()


class Habits(msgspec.Struct, frozen=True):
    """How the platform speaks of one parcel: the sub code of "no trace" (None: an empty list), the order of scans."""

    no_trace: str | None
    is_shuffled: bool
    is_own_carrier: bool


def habits_of(seed: int, number: int, odds: Odds) -> Habits:
    """Return how the platform speaks of the parcel with that number."""
    silent = fraction(seed, number, 91) < _SILENT * odds.oddity
    code = "isp.order-no-trace" if fraction(seed, number, 92) < _ISP_ERROR else "isv.order-no-trace"
    return Habits(
        None if silent else code,
        fraction(seed, number, 93) < _SHUFFLED * odds.oddity,
        fraction(seed, number, 85) < _OWN_CARRIER * odds.oddity,
    )


def plan_journey(
    seed: int, number: int, company: str, handed_over_ms: int, days: float, odds: Odds, speed: float = 1.0
) -> list[Scan]:
    """Return all scans of a parcel in the order in which they become visible; the same arguments give the same.

    ``days`` is the time to the buyer's door if nothing goes wrong; all waits are divided by ``speed``.
    """
    route = _Route(seeded(seed, number, 88), company, odds)
    route.write(max(days * 24, _SHORTEST_HOURS))
    scans = [
        Scan(
            handed_over_ms + int(hour * HOUR_MS / speed),
            (handed_over_ms + int((hour + ahead) * HOUR_MS / speed)) // 1000,
            action,
            text,
        )
        for hour, action, text, ahead in route.steps
    ]
    scans.sort(key=_visible)
    return scans


def _visible(scan: Scan) -> int:
    return scan.at_ms


class _Route:
    """Writes the steps of one journey as (hours since hand-over, action, text, hours it is stamped ahead)."""

    def __init__(self, random: Random, company: str, odds: Odds) -> None:
        self.random = random
        self.company = company
        self.odds = odds
        self.steps: list[tuple[float, str, str, float]] = []

    def add(self, hour: float, action: str, text: str) -> None:
        self.steps.append((hour, action, text, 0.0))

    def odd(self, share: float) -> bool:
        return self.random.random() < share * self.odds.oddity

    def write(self, hours: float) -> None:
        random = self.random
        if random.random() < 0.6:
            self.add(0.05, CREATE, "商家已通知快递公司揽收")
        if random.random() < 0.4:
            self.add(0.1, CONSIGN, "您的包裹已出库/等待揽收")
        if self.odd(_NEVER_TRACED):
            return
        pickup = random.uniform(0.5, min(20.0, hours * 0.4))
        if self.odd(_LATE_PICKUP):
            pickup = random.uniform(26, 60)
        self.add(pickup, GOT, f"{self.company} 已揽收")
        door = max(hours, pickup + 8)
        self._drive(pickup, door)
        self._deliver(door)
        self._go_wrong()
        self._get_stuck()
        self._blur()

    def _drive(self, pickup: float, door: float) -> None:
        random = self.random
        span = door - pickup
        legs = max(3, ceil(span / _LONGEST_GAP_HOURS) + 1)
        hubs = random.sample(_HUBS, 3)
        for leg in range(1, legs):
            hour = pickup + span * (leg + random.uniform(-0.15, 0.15)) / legs
            hub = hubs[leg * 3 // (legs + 1)]
            if leg == legs - 1:
                self.add(hour, SENT_CITY if random.random() < 0.5 else ARRIVAL, f"快件已到达 {hub}/派送网点")
            elif leg % 2:
                self.add(hour, DEPARTURE, f"快件已从 {hub} 发出")
            else:
                self.add(hour, ARRIVAL, f"快件已到达 {hub}")

    def _deliver(self, door: float) -> None:
        random = self.random
        self.add(door - random.uniform(0.3, 2), SENT_SCAN, "快件正在派送中，请保持电话畅通")
        if self.odd(_FAILED_ONCE):
            self.add(door, FAILED, "派送失败：电话无人接听，约定次日再派")
            self.add(door + 18, SENT_SCAN, "快件正在再次派送")
            door += 20
        fate = random.random() / self.odds.oddity if self.odds.oddity else 1.0
        if fate < _RETURNED:
            self.add(door, FAILED, f"收件人拒收，快件将{RETURN_TEXT}")
            self.add(door + random.uniform(6, 14), DEPARTURE, f"快件{RETURN_TEXT}中，已发出")
            self.add(door + random.uniform(30, 40), ARRIVAL, f"{RETURN_TEXT}件已到达发件网点")
            self.add(door + random.uniform(50, 70), SIGNED, f"{RETURN_TEXT}件已签收，签收人：发件人")
        elif fate < _RETURNED + _PICKUP_POINT:
            self.add(door, OTHER, PICKUP_POINT_TEXT)
            late = random.random() < 0.03
            self.add(door + (random.uniform(73, 110) if late else random.uniform(1, 60)), SIGNED, "已取件签收")
        else:
            self.add(door, SIGNED, "您的快件已签收，签收人：本人")
            if fate < _RETURNED + _PICKUP_POINT + _SIGNED_TOO_EARLY:
                self.add(door + 3, ARRIVAL, "快件误签收，重新入库")
                self.add(door + 20, SENT_SCAN, "快件正在派送中")
                self.add(door + 24, SIGNED, "您的快件已签收，签收人：家人")

    def _middle(self) -> int:
        """Return the place of a scan after which the parcel is still on its way; the first that counts is GOT's."""
        first = next(place for place, step in enumerate(self.steps) if step[1] == GOT)
        last = next(place for place, step in enumerate(self.steps) if step[1] == SIGNED)
        return self.random.randrange(first, last)

    def _go_wrong(self) -> None:
        place = self._middle()
        rerouted, lost = self.odd(_REROUTED), self.odd(_LOST)
        if rerouted:
            hour = (self.steps[place][0] + self.steps[place + 1][0]) / 2
            self.steps.insert(place + 1, (hour, TO_EMS, "快件转投EMS，单号已更换", 0.0))
        elif lost:
            hour = self.steps[place][0] + 30
            del self.steps[place + 1 :]
            self.add(hour, LOST, "快件疑似遗失，正在核实")

    def _get_stuck(self) -> None:
        random = self.random
        stuck, for_ever, hours = random.random(), random.random(), random.uniform(*_STUCK_HOURS)
        if stuck >= self.odds.stall_rate or self.steps[-1][1] != SIGNED:
            return
        place = self._middle()
        if for_ever < _STUCK_FOR_EVER:
            del self.steps[place + 1 :]
            return
        for later in range(place + 1, len(self.steps)):
            hour, action, text, ahead = self.steps[later]
            self.steps[later] = (hour + hours, action, text, ahead)

    def _blur(self) -> None:
        """Let the carrier say things twice, in other words, or stamp them with a clock that is ahead."""
        random = self.random
        ahead, reworded, repeated = self.odd(_FUTURE), self.odd(_REWORDED), self.odd(_REPEATED)
        place = random.randrange(len(self.steps))
        hour, action, text, _ = self.steps[place]
        if ahead and action != SIGNED:
            # Never past the scan that comes next: which of the two was later nobody could tell.
            later = [step[0] - hour for step in self.steps if step[0] > hour]
            self.steps[place] = (hour, action, text, min([random.uniform(1, 5), *(0.8 * gap for gap in later)]))
        elif reworded:
            self.steps.append((hour, action, f"【{self.company}】{text}。", 0.0))
        elif repeated:
            self.steps.append((hour, action, text, 0.0))
