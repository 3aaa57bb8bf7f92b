"""One queue of messages: what of the shops' change logs was delivered, is still unconfirmed, or is yet to come.

Belongs here: order of delivery, redelivery, expiry. Not here: who may read which queue (``service``), what a
message says (``topics``). Not thread-safe: the marketplace holds the lock. Moments are milliseconds since 1970.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Collection, Iterator

from order_pipeline.sandbox.clock import DAY_SECONDS, SHANGHAI_OFFSET_SECONDS
from order_pipeline.sandbox.faults import FaultPlan
from order_pipeline.sandbox.ledger import Ledger
from order_pipeline.sandbox.messages.topics import messages_of
from order_pipeline.sandbox.shops import Shop

KEPT_MS = DAY_SECONDS * 1000  # contract 6.1: at most 24 hours

# An id says where its message comes from: (shop, place in the shop's change log, number among the messages of that
# change). So a message need not be kept to be written again. All ids have 19 digits, like the recorded ones.
_ID_BASE = 1_172_200_000_000_000_000
_NUMBER_BITS = 9  # a refund of the longest basket makes 162 messages
_POSITION_BITS = 33
_SHOP_BITS = 10
_NOTICE_BIT = 1 << (_NUMBER_BITS + _POSITION_BITS + _SHOP_BITS)


def message_id(shop_number: int, position: int, number: int, *, notice: bool = False) -> int:
    """Return the id of a message of the change at ``position``, or of the ``position``-th notice."""
    packed = ((shop_number << _POSITION_BITS | position) << _NUMBER_BITS) | number
    return _ID_BASE + (packed | _NOTICE_BIT if notice else packed)


def read_id(identifier: int) -> tuple[int, int, int, bool]:
    """Return shop number, position, number and whether it is a notice."""
    packed = identifier - _ID_BASE
    number = packed & ((1 << _NUMBER_BITS) - 1)
    position = packed >> _NUMBER_BITS & ((1 << _POSITION_BITS) - 1)
    shop_number = packed >> (_NUMBER_BITS + _POSITION_BITS) & ((1 << _SHOP_BITS) - 1)
    return shop_number, position, number, bool(packed & _NOTICE_BIT)


class Feed:
    """What one shop publishes into one queue: its change log from one place (until another) in some topics."""

    def __init__(
        self, number: int, shop: Shop, ledger: Ledger, position: int, after_ms: int, topics: Collection[str] | None
    ) -> None:
        """Begin at a place of the change log of shop ``number``; changes up to ``after_ms`` are left out."""
        self.shop = shop
        self.end: int | None = None
        self._number = number
        self._ledger = ledger
        self._position = position
        self._after_ms = after_ms
        self._topics = topics
        self._waiting: deque[tuple[int, int]] = deque()
        self._counted_day = -1
        self._counted_to = position
        self._counted = 0

    @property
    def is_exhausted(self) -> bool:
        """Whether nothing will ever come of it any more."""
        return self.end is not None and not self._waiting and self._position >= self.end

    def close(self) -> None:
        """Let nothing that happens from now on be published; what has happened stays."""
        self.end = self._ledger.change_count if self.end is None else self.end

    def head(self, oldest_ms: int) -> tuple[int, int] | None:
        """Moment and id of the next message that is younger than ``oldest_ms``, None if there is none."""
        while self._waiting and self._waiting[0][0] <= oldest_ms:
            self._waiting.popleft()
        if not self._waiting:
            self._position = max(self._position, self._ledger.first_change_from(oldest_ms // 1000))
            self._fill(oldest_ms)
        return self._waiting[0] if self._waiting else None

    def pop(self) -> None:
        """Take the message that ``head`` showed."""
        self._waiting.popleft()

    def _fill(self, oldest_ms: int) -> None:
        end = self._ledger.change_count if self.end is None else self.end
        while not self._waiting and self._position < end:
            moment, numbers = self._made_at(self._position)
            if moment > oldest_ms:
                self._waiting.extend((moment, message_id(self._number, self._position, number)) for number in numbers)
            self._position += 1

    def _made_at(self, position: int) -> tuple[int, list[int]]:
        trade, version = self._ledger.change_at(position)
        moment = trade.applied[version - 1].at_ms
        if moment <= self._after_ms:
            return moment, []
        made = messages_of(trade.at_version(version), self.shop)
        return moment, [
            number for number, (topic, _) in enumerate(made) if self._topics is None or topic in self._topics
        ]

    def published_on(self, day: int) -> int:
        """How many messages it has published on a Shanghai day (in days since 1970)."""
        if day != self._counted_day:
            midnight = day * DAY_SECONDS - SHANGHAI_OFFSET_SECONDS
            self._counted_day, self._counted = day, 0
            self._counted_to = max(self._counted_to, self._ledger.first_change_from(midnight))
        end = self._ledger.change_count if self.end is None else self.end
        for position in range(self._counted_to, end):
            self._counted += len(self._made_at(position)[1])
        self._counted_to = max(end, self._counted_to)
        return self._counted


class Queue:
    """The messages of one group of one app."""

    def __init__(self, redelivery_ms: int, faults: FaultPlan, published_ms: Callable[[int], int]) -> None:
        """``published_ms`` tells when the message of an id was published."""
        self.feeds: list[Feed] = []
        self._redelivery_ms = redelivery_ms
        self._faults = faults
        self._published_ms = published_ms
        self._unconfirmed: dict[int, int] = {}
        # All wait equally long, so what was delivered first is due first.
        self._due: deque[tuple[int, int]] = deque()
        # What comes out of turn: notices, and messages that a fault repeats or holds back.
        self._later: list[tuple[int, int]] = []
        self._taken: tuple[int, int] = (-1, 0)
        self._departed: tuple[int, int] = (-1, 0)

    def put(self, identifier: int, due_ms: int) -> None:
        """Let a message come out of turn at ``due_ms``."""
        heapq.heappush(self._later, (due_ms, identifier))

    def confirm(self, identifiers: Collection[int]) -> None:
        """Never deliver these again; ids that were not delivered are ignored."""
        for identifier in identifiers:
            self._unconfirmed.pop(identifier, None)

    def take(self, quantity: int, now_ms: int) -> list[int]:
        """Return the ids of up to ``quantity`` messages; unconfirmed ones that are due come first."""
        oldest_ms = now_ms - KEPT_MS
        taken: list[int] = []
        for identifier in self._again(oldest_ms, now_ms):
            taken.append(identifier)
            if len(taken) >= quantity:
                break
        if len(taken) < quantity:
            for identifier, shop_id in self._fresh(oldest_ms):
                self._meet_fate(taken, identifier, shop_id, now_ms)
                if len(taken) >= quantity:
                    break
        for identifier in taken:
            self._unconfirmed[identifier] = now_ms + self._redelivery_ms
            self._due.append((now_ms + self._redelivery_ms, identifier))
        day = _day(now_ms)
        self._taken = _added(self._taken, day, len(taken))
        for feed in self.feeds:
            if feed.is_exhausted:
                self._departed = _added(self._departed, day, feed.published_on(day))
        self.feeds = [feed for feed in self.feeds if not feed.is_exhausted]
        return taken

    def _again(self, oldest_ms: int, now_ms: int) -> Iterator[int]:
        while self._due and self._due[0][0] <= now_ms:
            due_ms, identifier = self._due.popleft()
            # Confirmed meanwhile, or delivered again for another reason and due later.
            if self._unconfirmed.get(identifier) != due_ms:
                continue
            del self._unconfirmed[identifier]
            if self._published_ms(identifier) > oldest_ms:
                yield identifier
        while self._later and self._later[0][0] <= now_ms:
            identifier = heapq.heappop(self._later)[1]
            if self._published_ms(identifier) > oldest_ms:
                yield identifier

    def _fresh(self, oldest_ms: int) -> Iterator[tuple[int, str]]:
        """Messages never delivered so far, the oldest first."""
        heads = [(*head, number) for number, feed in enumerate(self.feeds) if (head := feed.head(oldest_ms))]
        heapq.heapify(heads)
        while heads:
            _, identifier, number = heads[0]
            feed = self.feeds[number]
            feed.pop()
            if head := feed.head(oldest_ms):
                heapq.heapreplace(heads, (*head, number))
            else:
                heapq.heappop(heads)
            yield identifier, feed.shop.id

    def _meet_fate(self, taken: list[int], identifier: int, shop_id: str, now_ms: int) -> None:
        fate = self._faults.fate_of_message(identifier, shop_id)
        if fate.lost:
            return
        if fate.held_seconds is not None:
            self.put(identifier, now_ms + round(fate.held_seconds * 1000))
            return
        taken.append(identifier)
        if fate.repeated_seconds is not None:
            self.put(identifier, now_ms + round(fate.repeated_seconds * 1000))

    def counts(self, now_ms: int) -> tuple[int, int]:
        """How many messages were put in and how many were taken on the day of ``now_ms``."""
        day = _day(now_ms)
        published = _added(self._departed, day, sum(feed.published_on(day) for feed in self.feeds))
        return published[1], _added(self._taken, day, 0)[1]


def _added(count: tuple[int, int], day: int, more: int) -> tuple[int, int]:
    """Return a (day, count) of today: yesterday's counts do not go on."""
    return day, more + (count[1] if count[0] == day else 0)


def _day(now_ms: int) -> int:
    return (now_ms // 1000 + SHANGHAI_OFFSET_SECONDS) // DAY_SECONDS
