"""When a parcel is stuck: the rules S1 to S7, over parcels as they are known now.

Belongs here: the settings, what each rule means, which of them counts. Not here: what events prove (traces.py), the
life of an alert (alert_episodes.py), the calendar (working_time.py).

What is not known is never nought hours: a parcel nobody could ask about waits for no alert, and time is counted up to
the last answer, so that an interface that is away makes no parcel older.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from order_pipeline.insights.traces import COMING_BACK, Meaning
from order_pipeline.insights.working_time import (
    EVERY_DAY,
    NATIONAL_DAY,
    SPRING_FESTIVAL,
    Calendar,
)


class Rule(StrEnum):
    """What is wrong with a parcel."""

    NO_PICKUP = "S1"
    STALL = "S2"
    DELIVERY_STUCK = "S3"
    PICKUP_POINT = "S4"
    EXCEPTION = "S5"
    RETURN_STALL = "S6"
    LATE = "S7"


WORDS = {
    Rule.NO_PICKUP: "shipped, but no carrier has picked it up",
    Rule.STALL: "on its way, but nothing has come for too long",
    Rule.DELIVERY_STUCK: "out for delivery, but not delivered",
    Rule.PICKUP_POINT: "waits in a locker or station to be collected",
    Rule.EXCEPTION: "the carrier says that something is wrong",
    Rule.RETURN_STALL: "comes back, but nothing has come for too long",
    Rule.LATE: "not delivered when it was promised",
}
# Which of several holds an alert's name: a standstill before what led to it, the harmless last.
PRECEDENCE = (
    Rule.STALL,
    Rule.RETURN_STALL,
    Rule.EXCEPTION,
    Rule.DELIVERY_STUCK,
    Rule.NO_PICKUP,
    Rule.LATE,
    Rule.PICKUP_POINT,
)
# A buyer who takes his time is no fault of anybody's.
MINOR = frozenset({Rule.PICKUP_POINT})


class StallSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long is too long, in hours that count. Where it is said: ``stalls`` of insights.yaml.

    Attributes:
        no_pickup_hours: S1, from shipping; an earlier promise of pick-up counts instead.
        stall_hours: S2, without an event. A usual figure among sellers, not an official one.
        delivery_hours: S3, out for delivery.
        pickup_point_hours: S4, in a locker or station.
        return_hours: S6, without an event, on the way back.
        unseen_return_hours: S6, of a return that nobody has seen since the buyer sent it: platforms show no trace of
            those, and most arrive in a week.
        remote_extra_hours: more patience with what goes to ``remote_regions``.
        remote_regions: beginnings of the receiver's province.
        holidays: English names of the holidays whose days do not count (see working_time.py).
        rules: which are looked for.

    """

    no_pickup_hours: float = 24.0
    stall_hours: float = 72.0
    delivery_hours: float = 48.0
    pickup_point_hours: float = 72.0
    return_hours: float = 72.0
    unseen_return_hours: float = 240.0
    remote_extra_hours: float = 48.0
    remote_regions: tuple[str, ...] = ("新疆", "西藏", "青海", "内蒙古", "宁夏", "甘肃", "香港", "澳门", "台湾")
    holidays: tuple[str, ...] = (SPRING_FESTIVAL, NATIONAL_DAY)
    rules: tuple[Rule, ...] = tuple(Rule)

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if name.endswith("_hours") and getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; hours are 0 or more")


DEFAULT_SETTINGS = StallSettings()


class Contents(StrEnum):
    """What became of the order lines in a parcel, of all of them."""

    OPEN = "open"
    # Confirmed by the buyer; of a return: received by the seller.
    FINISHED = "finished"
    # Refunded, or their trade is closed.
    CLOSED = "closed"
    # They go under another number now.
    REPLACED = "replaced"


class Parcel(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A parcel as it is known. Times are aware.

    Attributes:
        shipped_at: when it was handed over, as the seller (of a return: the buyer) says.
        state: by its latest event; None: no event, or only that it was announced.
        last_event_at: when that was.
        known_at: up to when it is known that nothing else came: the last successful question; None: never asked.
        is_untracked: nothing but a claim: a state without an event (a carrier of the seller's own).
        is_return: goods that a buyer sends back.
        region: the receiver's province.
        pickup_promised_at: latest pick-up, where it was promised.
        delivery_promised_at: latest delivery, where it was promised.

    """

    shipped_at: datetime
    contents: Contents = Contents.OPEN
    state: Meaning | None = None
    last_event_at: datetime | None = None
    known_at: datetime | None = None
    is_untracked: bool = False
    is_return: bool = False
    region: str | None = None
    pickup_promised_at: datetime | None = None
    delivery_promised_at: datetime | None = None


class Finding(msgspec.Struct, frozen=True, gc=False):
    """That something is wrong: the rule, since when it counts, when that became too long, what else holds."""

    rule: Rule
    since: datetime
    crossed_at: datetime
    also: tuple[Rule, ...] = ()


class Quiet(StrEnum):
    """Why nothing is wrong with a parcel."""

    MOVING = "it moves"
    SIGNED = "it was delivered"
    RETURNED = "it is back"
    FINISHED = "the buyer has confirmed"
    CLOSED = "it is refunded or closed"
    REPLACED = "it goes under another number"
    # Whatever was wrong before may still be.
    UNKNOWN = "nothing is known"


Judgement = Finding | Quiet

_SETTLED = {
    Contents.FINISHED: Quiet.FINISHED,
    Contents.CLOSED: Quiet.CLOSED,
    Contents.REPLACED: Quiet.REPLACED,
}
_EXCEPTIONS = (Meaning.FAILED, Meaning.REFUSED, Meaning.LOST)
_STANDS_STILL = (Meaning.IN_TRANSIT, Meaning.OUT_FOR_DELIVERY, Meaning.FAILED)


class Judge:
    """The rules with their settings, ready for many parcels."""

    def __init__(self, settings: StallSettings = DEFAULT_SETTINGS, calendar: Calendar = EVERY_DAY) -> None:
        """Take the settings, and the calendar by which waiting is measured."""
        self._settings = settings
        self._calendar = calendar
        self._rules = tuple(settings.rules)
        self._extra = timedelta(hours=settings.remote_extra_hours)
        self._stall = timedelta(hours=settings.stall_hours)
        self._delivery = timedelta(hours=settings.delivery_hours)
        self._pickup_point = timedelta(hours=settings.pickup_point_hours)
        self._return = timedelta(hours=settings.return_hours)
        self._unseen_return = timedelta(hours=settings.unseen_return_hours)
        self._no_pickup = timedelta(hours=settings.no_pickup_hours)

    def judge(self, parcel: Parcel) -> Judgement:
        """Return what is wrong with a parcel, or why nothing is.

        Exactly as long as a rule allows is too long. An event from the future has been waited for for nought hours.
        """
        if parcel.state is Meaning.SIGNED:
            return Quiet.SIGNED
        if parcel.state is Meaning.RETURNED:
            return Quiet.RETURNED
        # What was refunded on its way is no worry of its buyer's any more, and still the seller's while it comes back.
        if parcel.contents is not Contents.OPEN and (
            parcel.contents is Contents.REPLACED or parcel.is_return or parcel.state not in COMING_BACK
        ):
            return _SETTLED[parcel.contents]
        if parcel.known_at is None or parcel.is_untracked:
            return Quiet.UNKNOWN
        found = [each for each in self._broken(parcel, parcel.known_at) if each.rule in self._rules]
        if not found:
            return Quiet.MOVING
        if len(found) == 1:
            return found[0]
        found.sort(key=lambda each: PRECEDENCE.index(each.rule))
        first = found[0]
        return Finding(first.rule, first.since, first.crossed_at, tuple(each.rule for each in found[1:]))

    def _broken(self, parcel: Parcel, until: datetime) -> Iterator[Finding]:
        state, since = parcel.state, parcel.last_event_at
        if state is None or since is None:
            yield from self._unseen(parcel, until)
        elif parcel.is_return or state in COMING_BACK:
            yield from self._waited(Rule.RETURN_STALL, since, until, self._patience(parcel, self._return))
            if state in _EXCEPTIONS and parcel.contents is Contents.OPEN:
                yield Finding(Rule.EXCEPTION, since, since)
        else:
            if state in _STANDS_STILL:
                yield from self._waited(Rule.STALL, since, until, self._patience(parcel, self._stall))
            if state in _EXCEPTIONS:
                yield Finding(Rule.EXCEPTION, since, since)
            elif state is Meaning.OUT_FOR_DELIVERY:
                yield from self._waited(Rule.DELIVERY_STUCK, since, until, self._patience(parcel, self._delivery))
            elif state is Meaning.PICKUP_POINT:
                yield from self._waited(Rule.PICKUP_POINT, since, until, self._pickup_point)
        promised = parcel.delivery_promised_at
        if promised and until > promised and not parcel.is_return and state is not Meaning.PICKUP_POINT:
            yield Finding(Rule.LATE, promised, promised)

    def _unseen(self, parcel: Parcel, until: datetime) -> Iterator[Finding]:
        if parcel.is_return:
            yield from self._waited(Rule.RETURN_STALL, parcel.shipped_at, until, self._unseen_return)
            return
        promised = parcel.pickup_promised_at
        crossed_at = self._calendar.after(parcel.shipped_at, self._no_pickup)
        if promised:
            crossed_at = max(min(crossed_at, promised), parcel.shipped_at)
        if until >= crossed_at:
            yield Finding(Rule.NO_PICKUP, parcel.shipped_at, crossed_at)

    def _waited(self, rule: Rule, since: datetime, until: datetime, patience: timedelta) -> Iterator[Finding]:
        # What does not count only makes it less, so most parcels are done with here.
        if until - since >= patience and self._calendar.waited(since, until) >= patience:
            yield Finding(rule, since, self._calendar.after(since, patience))

    def _patience(self, parcel: Parcel, span: timedelta) -> timedelta:
        remote = parcel.region is not None and parcel.region.startswith(self._settings.remote_regions)
        return span + self._extra if remote else span


def judge_all(
    parcels: Iterable[Parcel], settings: StallSettings = DEFAULT_SETTINGS, calendar: Calendar = EVERY_DAY
) -> list[Judgement]:
    """Judge parcels, in their order."""
    judge = Judge(settings, calendar).judge
    return [judge(parcel) for parcel in parcels]


def hours_waited(finding: Finding, until: datetime, calendar: Calendar = EVERY_DAY) -> int:
    """Return the whole hours that count since a finding's beginning, rounded down."""
    return int(calendar.waited(finding.since, until) / timedelta(hours=1))
