"""One shop's orders: what has happened so far, what will, and in which order lists show it.

Belongs here: the append-only change log and the windows over it. Not here: the wire (``methods``), the
clock (``marketplace`` says what time it is). Not thread-safe: its marketplace holds the lock.
"""

from __future__ import annotations

import heapq
from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Collection, Iterable, Iterator

from order_pipeline.sandbox.clock import DAY_SECONDS
from order_pipeline.sandbox.trade import REFUND, Event, Placement, Trade, apply, is_step_of, open_trade

# Lists and details reach back three months (contract 3.1, 3.2, 3.4): 92 days, the longest three calendar months.
THREE_MONTHS_SECONDS = 92 * DAY_SECONDS

# A pending event is one integer, (moment, order, step), so that hundreds of thousands of them sort fast and
# equal moments are always applied in the same order, whenever and however often the platform is asked.
_STEP_BITS = 10
_ORDINAL_BITS = 34


# A refund of a trade, as of one of its versions: (trade, version, which of the trade's refunds: its slot).
Refunded = tuple[Trade, int, int]


class Ledger:
    """The trades of one shop; every moment is whole seconds since 1970 unless named ``_ms``.

    Lists are asked for with ``at``, the moment whose state they show: now, or an earlier one.
    """

    def __init__(self, arrival_delay: Callable[[int, int], int] | None = None) -> None:
        """``arrival_delay`` says by how many seconds a change (tid, version) comes late into lists."""
        self._arrival_delay = arrival_delay
        self._trades: list[Trade] = []
        self._by_tid: dict[int, Trade] = {}
        self._plans: dict[int, tuple[Placement, list[Event]]] = {}
        self._pending: list[int] = []
        self._index_of: dict[int, int] = {}
        # Parallel columns, because a change log of hundreds of thousands of tuples would not fit a small machine.
        self._created = array("q")
        self._changed = array("q")
        self._changed_index = array("l")
        self._changed_version = array("l")
        # The changes of refunds, each a place in the log and a slot, and where each refund was made.
        self._refund_places = array("q")
        self._refund_slots = array("l")
        self._refunds: dict[int, tuple[int, int]] = {}
        # Changes that come late into lists: by trade and version, and by arrival with their place in the log.
        self._late: dict[int, dict[int, int]] = {}
        self._late_arrivals: list[tuple[int, int]] = []
        self._late_places: set[int] = set()

    def __len__(self) -> int:
        return len(self._trades)

    def plan(self, lives: Iterable[tuple[Placement, list[Event]]]) -> None:
        """Take lives whose events have yet to happen; each life's ordinal must be new."""
        packed: list[int] = []
        for placement, events in lives:
            ordinal = placement.ordinal
            self._plans[ordinal] = (placement, events)
            packed.extend(
                ((event.at_ms << _ORDINAL_BITS | ordinal) << _STEP_BITS) | step for step, event in enumerate(events)
            )
        if len(packed) > len(self._pending):
            self._pending.extend(packed)
            self._pending.sort()
        else:
            for key in packed:
                heapq.heappush(self._pending, key)

    def advance(self, now_ms: int) -> None:
        """Let everything happen that was due up to ``now_ms``, in the order of its moments."""
        limit = (now_ms + 1) << (_ORDINAL_BITS + _STEP_BITS)
        pending = self._pending
        if not pending or pending[0] >= limit:
            return
        if self._trades:
            while pending and pending[0] < limit:
                self._happen(heapq.heappop(pending))
        else:
            # The first call replays the whole history: walking the sorted list beats popping a heap.
            pending.sort()
            due = bisect_left(pending, limit)
            for key in pending[:due]:
                self._happen(key)
            del pending[:due]

    def _happen(self, key: int) -> None:
        step = key & ((1 << _STEP_BITS) - 1)
        ordinal = key >> _STEP_BITS & ((1 << _ORDINAL_BITS) - 1)
        placement, events = self._plans[ordinal]
        index = self._index_of.get(ordinal)
        if index is None:
            index = self._open(placement)
        self._apply(index, events[step])
        if step == len(events) - 1:
            del self._plans[ordinal]

    def _open(self, placement: Placement) -> int:
        index = len(self._trades)
        trade = open_trade(placement)
        self._trades.append(trade)
        self._by_tid[trade.tid] = trade
        self._index_of[placement.ordinal] = index
        self._created.append(trade.created)
        return index

    def _apply(self, index: int, event: Event) -> None:
        trade = self._trades[index]
        apply(trade, event)
        if self._arrival_delay is not None and (delay := self._arrival_delay(trade.tid, trade.version)):
            trade.entered += delay
            self._late.setdefault(index, {})[trade.version] = trade.entered
            insort(self._late_arrivals, (trade.entered, len(self._changed)))
            self._late_places.add(len(self._changed))
        if event.kind == REFUND:
            for position in event.lines:
                slot = trade.placement.refund_slot(position, event.value.number)
                self._refunds.setdefault(trade.placement.refund_id(slot), (index, slot))
                self._refund_places.append(len(self._changed))
                self._refund_slots.append(slot)
        self._changed.append(trade.modified)
        self._changed_index.append(index)
        self._changed_version.append(trade.version)

    def change(self, tid: int, event: Event) -> Trade:
        """Apply an unplanned event, no earlier than what has already happened. KeyError if unknown."""
        trade = self._by_tid[tid]
        self._apply(self._index_of[trade.placement.ordinal], event)
        return trade

    def trade(self, tid: int) -> Trade:
        """Return the trade of that id, however old. KeyError if unknown."""
        return self._by_tid[tid]

    def find(self, tid: int, now: int) -> Trade | None:
        """Return the trade of that id, unless it is unknown or older than three months."""
        trade = self._by_tid.get(tid)
        return trade if trade is not None and trade.created >= now - THREE_MONTHS_SECONDS else None

    def _is_plain(self, at: int) -> bool:
        """Whether lists show every trade as it is now; asking of each trade would halve their speed."""
        return not self._late and (not self._changed or self._changed[-1] <= at)

    def _seen(self, index: int, at: int) -> Trade | None:
        """Return a trade as lists show it at a moment, None if it has not come into them by then."""
        trade = self._trades[index]
        late = self._late.get(index, {})
        if not late and trade.modified <= at:
            return trade
        for version in range(trade.version, 0, -1):
            entered = late.get(version) or trade.applied[version - 1].at_ms // 1000
            if entered <= at:
                seen = trade.at_version(version)
                seen.entered = entered
                return seen
        return None

    def created_between(
        self, first: int, last: int, at: int, types: Collection[str], statuses: Collection[str] | None
    ) -> Iterator[Trade]:
        """Trades created in ``first..last`` (both included), newest first."""
        first = max(first, at - THREE_MONTHS_SECONDS)
        trades, is_plain = self._trades, self._is_plain(at)
        for index in range(bisect_right(self._created, last) - 1, bisect_left(self._created, first) - 1, -1):
            trade = trades[index] if is_plain else self._seen(index, at)
            if trade is not None and trade.type in types and (statuses is None or trade.status in statuses):
                yield trade

    def modified_between(
        self, first: int, last: int, at: int, types: Collection[str], statuses: Collection[str] | None
    ) -> Iterator[Trade]:
        """Trades whose latest change is in ``first..last`` (both included), latest first."""
        return self._listed(self._places_changed(first, last), at, types, statuses)

    def entered_between(
        self, first: int, last: int, at: int, types: Collection[str], statuses: Collection[str] | None
    ) -> Iterator[Trade]:
        """Trades whose latest change came into lists in ``first..last`` (both included), latest first."""
        if not self._late_arrivals:
            return self.modified_between(first, last, at, types, statuses)
        in_time = (
            (self._changed[place], place)
            for place in self._places_changed(first, last)
            if place not in self._late_places
        )
        begin, end = bisect_left(self._late_arrivals, (first, 0)), bisect_left(self._late_arrivals, (last + 1, 0))
        late = reversed(self._late_arrivals[begin:end])
        merged = (place for _, place in heapq.merge(in_time, late, reverse=True))
        return self._listed(merged, at, types, statuses)

    def _places_changed(self, first: int, last: int) -> range:
        return range(bisect_right(self._changed, last) - 1, bisect_left(self._changed, first) - 1, -1)

    def _listed(
        self, places: Iterable[int], at: int, types: Collection[str], statuses: Collection[str] | None
    ) -> Iterator[Trade]:
        oldest = at - THREE_MONTHS_SECONDS
        trades, indexes, versions, is_plain = (
            self._trades,
            self._changed_index,
            self._changed_version,
            self._is_plain(at),
        )
        for place in places:
            trade = trades[indexes[place]] if is_plain else self._seen(indexes[place], at)
            # A place is stale when its trade changed again: the trade has moved to a later place.
            if trade is None or len(trade.applied) != versions[place] or trade.created < oldest:
                continue
            if trade.type in types and (statuses is None or trade.status in statuses):
                yield trade

    def find_refund(self, refund_id: int) -> Refunded | None:
        """Return the refund of that id, None if it is unknown."""
        found = self._refunds.get(refund_id)
        return self._refunded(*found) if found else None

    def refunds(self) -> list[Refunded]:
        """Every refund in its present version, in the order in which they were asked for."""
        return [self._refunded(*found) for found in self._refunds.values()]

    def _refunded(self, index: int, slot: int) -> Refunded:
        trade = self._trades[index]
        return trade, trade.version, slot

    def refunds_between(
        self, first: int, last: int, at: int, types: Collection[str], status: str | None
    ) -> Iterator[Refunded]:
        """Refunds whose own latest change is in ``first..last`` (both included), latest first."""
        begin = bisect_left(self._refund_places, self.first_change_from(first))
        end = bisect_left(self._refund_places, self.first_change_from(min(last, at) + 1))
        for number in range(end - 1, begin - 1, -1):
            place, slot = self._refund_places[number], self._refund_slots[number]
            trade, version = self.change_at(place)
            changed_again = any(
                is_step_of(trade, event, slot) and event.at_ms // 1000 <= at for event in trade.applied[version:]
            )
            if changed_again or trade.type not in types:
                continue
            if status is None or trade.applied[version - 1].value.status == status:
                yield trade, version, slot

    @property
    def change_count(self) -> int:
        """How many changes there have been; each has its place (from 0) in the change log for ever."""
        return len(self._changed)

    def change_at(self, position: int) -> tuple[Trade, int]:
        """Return the trade that changed at a place of the log and the version which that gave it."""
        return self._trades[self._changed_index[position]], self._changed_version[position]

    def first_change_from(self, second: int) -> int:
        """Return the place of the first change at or after a moment."""
        return bisect_left(self._changed, second)

    def versions(self) -> list[tuple[Trade, int]]:
        """Every trade with its present version, oldest first: a snapshot that costs nothing to take."""
        return [(trade, trade.version) for trade in self._trades]
