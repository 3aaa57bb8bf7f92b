"""The marketplace: its shops, their orders, the clock, and the orders that keep arriving.

Belongs here: composing ledgers, letting time pass before every look, and edits made by tests. Not here: the
wire protocol (``protocol``, ``methods``), HTTP (``server``). Every public method may be called from any thread.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from order_pipeline.sandbox import trade as t
from order_pipeline.sandbox.amounts import refundable
from order_pipeline.sandbox.authorization import DEFAULT_RULES, Authority, AuthorizationRules
from order_pipeline.sandbox.chance import fraction
from order_pipeline.sandbox.clock import Clock, DrivenClock, from_ms, to_ms
from order_pipeline.sandbox.continuity import (
    LEAD_MS,
    RENEW_BELOW_MS,
    Origin,
    SandboxState,
    Session,
    load_state,
    save_state,
)
from order_pipeline.sandbox.demand import Basket, BasketLine, Demand
from order_pipeline.sandbox.event_values import DISPUTE_TYPES, EXCHANGES, RefundStep
from order_pipeline.sandbox.faults import FaultPlan
from order_pipeline.sandbox.fields import Selection
from order_pipeline.sandbox.fragments import FragmentCache
from order_pipeline.sandbox.ledger import Ledger
from order_pipeline.sandbox.life import plan_life
from order_pipeline.sandbox.logistics.announcements import TRACE_TOPIC, ScanFeed
from order_pipeline.sandbox.logistics.journeys import DEFAULT_ODDS, Odds
from order_pipeline.sandbox.logistics.parcels import ParcelBook
from order_pipeline.sandbox.messages.queues import KEPT_MS
from order_pipeline.sandbox.messages.service import MessageService
from order_pipeline.sandbox.messages.topics import AUTH_CANCEL
from order_pipeline.sandbox.people import open_uid
from order_pipeline.sandbox.rate_limit import RateLimit
from order_pipeline.sandbox.refunds import STATUSES
from order_pipeline.sandbox.shops import Shop
from order_pipeline.sandbox.stock import WEEK_SECONDS, StockBook

# Contract 6.1: not established; a user reports about five minutes.
MESSAGE_REDELIVERY_SECONDS = 300.0

Bounds = Literal["inclusive", "half_open", "exclusive"]

# Orders placed by a test get ordinals that neither history nor live arrivals will ever reach.
_PLACED_ORDINALS = 1 << 33


class UnknownOrderError(LookupError):
    """A test named a shop or an order that does not exist."""


class Marketplace:
    """A whole simulated platform."""

    def __init__(
        self,
        shops: Sequence[Shop],
        demand: Demand,
        clock: Clock,
        *,
        state: SandboxState,
        state_path: Path | None = None,
        live_orders_per_second: float = 0.0,
        live_life_speed: float = 1.0,
        calls_per_minute: int | None = None,
        bounds: Bounds = "half_open",
        authorization: AuthorizationRules = DEFAULT_RULES,
        message_redelivery_seconds: float = MESSAGE_REDELIVERY_SECONDS,
        parcel_odds: Odds = DEFAULT_ODDS,
        purchases_arrive: bool = True,
    ) -> None:
        """Place the demand's baskets as orders, dealt out to the shops in turn, and open a session.

        ``bounds`` says which ends of a query window belong to it, as the platform does not document it; nor how
        long an unconfirmed message waits to come again. ``parcel_odds`` say how often parcels get stuck,
        ``purchases_arrive`` whether stock that runs low is refilled.
        """
        if not shops:
            raise ValueError("a marketplace needs at least one shop")
        self.shops = {shop.id: shop for shop in shops}
        self.bounds: Bounds = bounds
        self.calls: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.faults = FaultPlan(settle=self._settle)
        self.clock = clock
        self._demand = demand
        self._state = state
        self._state_path = state_path
        self._lock = threading.RLock()
        self._ledgers = {shop.id: Ledger(partial(self.faults.arrival_delay_seconds, shop.id)) for shop in shops}
        self._parcels = {
            shop_id: ParcelBook(ledger, state.origin.seed, parcel_odds) for shop_id, ledger in self._ledgers.items()
        }
        self._stock = dict(zip(self._ledgers, self._stock_books(purchases=purchases_arrive), strict=True))
        self._by_turn = list(self._ledgers.values())
        self._limits = {shop.app_key: RateLimit(calls_per_minute) for shop in shops if calls_per_minute}
        self._fragments = FragmentCache()
        self._now_ms = clock.now_ms()
        self._scan_feeds: dict[str, ScanFeed] = {}
        self._is_open = False
        self._placed = 0
        self._arrived = 0
        self._session = 0
        self._position = 0
        self._take_history()
        if live_orders_per_second > 0:
            last = state.sessions[-1].open_until_ms if state.sessions else 0
            opened = max(self._now_ms, last)
            state.sessions.append(Session(opened, opened + LEAD_MS, live_orders_per_second, live_life_speed))
            self._keep()
        self._live = live_orders_per_second > 0
        self.authority = Authority(self.shops, state, authorization, keep=self._keep)
        self._settle()
        # Only now, as it looks up in the change logs where it left off.
        self.messages = MessageService(
            self.shops,
            self._ledgers,
            self.faults,
            state,
            redelivery_seconds=message_redelivery_seconds,
            keep=self._keep,
        )
        self._is_open = True

    def _settle(self) -> None:
        with self.looking():
            pass

    def _stock_books(self, *, purchases: bool) -> Iterator[StockBook]:
        baskets, turns, seed = self._demand.baskets, len(self._ledgers), self._state.origin.seed
        begins, weeks = self._state.epoch_ms // 1000, 1.0
        if baskets:
            began = to_ms(baskets[0].at) // 1000
            weeks, begins = (begins - began) / WEEK_SECONDS, began
        for turn, ledger in enumerate(self._ledgers.values()):
            yield StockBook(ledger, seed, islice(baskets, turn, None, turns), begins, weeks, purchases=purchases)

    def _take_history(self) -> None:
        seed, baskets, turns = self._state.origin.seed, self._demand.baskets, len(self._by_turn)
        for turn, ledger in enumerate(self._by_turn):
            ledger.plan(plan_life(seed, ordinal, baskets[ordinal]) for ordinal in range(turn, len(baskets), turns))

    @contextmanager
    def looking(self) -> Iterator[int]:
        """Let everything due happen, then hold the platform still; gives its time in milliseconds."""
        with self._lock:
            # The computer's clock may be set back; the platform's never is.
            self._now_ms = max(self._now_ms, self.clock.now_ms())
            if self._live:
                self._stay_open(self._now_ms)
            if self._state.sessions:
                self._let_arrive(self._now_ms)
            for ledger in self._by_turn:
                ledger.advance(self._now_ms)
            if self._is_open:
                self._tell_of_parcels(self._now_ms)
            yield self._now_ms

    def _tell_of_parcels(self, now_ms: int) -> None:
        listening = self.messages.shops_naming(TRACE_TOPIC)
        for shop_id in self._scan_feeds.keys() - listening.keys():
            del self._scan_feeds[shop_id]
        for shop_id, permitted_ms in listening.items():
            if shop_id not in self._scan_feeds:
                since_ms = max(permitted_ms, now_ms - KEPT_MS)
                self._scan_feeds[shop_id] = ScanFeed(self.shops[shop_id], self._parcels[shop_id], since_ms)
            for at_ms, content in self._scan_feeds[shop_id].take(now_ms):
                self.messages.announce(shop_id, TRACE_TOPIC, content, at_ms, if_named=True)

    @contextmanager
    def still(self) -> Iterator[None]:
        """Hold the platform as it is, without letting time pass first."""
        with self._lock:
            yield

    def _stay_open(self, now_ms: int) -> None:
        session = self._state.sessions[-1]
        if session.open_until_ms - now_ms < RENEW_BELOW_MS:
            session.open_until_ms = now_ms + LEAD_MS
            self._keep()

    def _keep(self) -> None:
        if self._state_path is not None:
            save_state(self._state_path, self._state)

    def _let_arrive(self, now_ms: int) -> None:
        sessions, seed = self._state.sessions, self._state.origin.seed
        while self._session < len(sessions):
            session = sessions[self._session]
            at = session.arrival_ms(self._position, fraction(seed, self._arrived, 31))
            if at >= session.open_until_ms and self._session < len(sessions) - 1:
                self._session, self._position = self._session + 1, 0
                continue
            if at >= session.open_until_ms or at > now_ms:
                return
            ordinal = len(self._demand.baskets) + self._arrived
            basket = self._demand.arrival(self._arrived)
            life = plan_life(seed, ordinal, basket, created_ms=at, speed=session.life_speed)
            self._by_turn[ordinal % len(self._by_turn)].plan([life])
            self._arrived += 1
            self._position += 1

    def close(self) -> None:
        """End the session now instead of at its promised end."""
        with self._lock:
            if self._live:
                self._state.sessions[-1].open_until_ms = max(self._now_ms, self.clock.now_ms()) + 1
                self._keep()

    def ledger(self, shop_id: str) -> Ledger:
        """Return the orders of a shop, to be used inside ``looking()``. UnknownOrderError if there is no such shop."""
        try:
            return self._ledgers[shop_id]
        except KeyError:
            raise UnknownOrderError(f"no shop {shop_id!r}; there are {sorted(self._ledgers)}") from None

    def parcels(self, shop_id: str) -> ParcelBook:
        """Return the parcels of a shop, to be used inside ``looking()``. UnknownOrderError if there is no such shop."""
        self.ledger(shop_id)
        return self._parcels[shop_id]

    def stock(self, shop_id: str) -> StockBook:
        """Return the goods of a shop as they are now, to be used inside ``looking()``. UnknownOrderError as above."""
        self.ledger(shop_id)
        book = self._stock[shop_id]
        book.catch_up()
        return book

    def fragment(self, trade: t.Trade, shop: Shop, selection: Selection) -> bytes:
        """Return the selected fields of a trade as JSON text."""
        return self._fragments.get(trade, shop, selection)

    def limit(self, app_key: str) -> RateLimit | None:
        """Return the rate limit of an app, None if it has none."""
        return self._limits.get(app_key)

    def expire_session(self, shop_id: str) -> None:
        """Let a shop's sessions expire: their calls get code 27, session-expired."""
        with self._lock:
            self.authority.expire(self._shop(shop_id).id)

    def renew_session(self, shop_id: str) -> None:
        """Make a shop's sessions good again."""
        with self._lock:
            self.authority.renew(self._shop(shop_id).id)

    def revoke_authorization(self, shop_id: str) -> None:
        """Let a seller withdraw the authorisation: code 27, invalid-sessionkey; the app is told, then no more."""
        with self.looking() as now_ms:
            shop = self._shop(shop_id)
            self.authority.withdraw(shop_id)
            content = {"open_id": open_uid(shop.user_id, shop.app_key), "user_id": shop.user_id}
            self.messages.announce(shop_id, AUTH_CANCEL, content, now_ms)
            self.messages.cancel(shop_id)

    def _shop(self, shop_id: str) -> Shop:
        if shop_id not in self.shops:
            raise UnknownOrderError(f"no shop {shop_id!r}; there are {sorted(self.shops)}")
        return self.shops[shop_id]

    # --- edits made by tests; they do not survive a restart -------------------------------------------------

    def touch(self, shop_id: str, tid: int, **changes: Any) -> t.Trade:
        """Change a trade now; without ``changes`` only ``modified`` moves.

        ``changes`` are attributes named in ``trade.EDITABLE`` (moments in whole seconds, money in cents).
        """
        if unknown := set(changes) - t.EDITABLE:
            raise ValueError(f"cannot edit {sorted(unknown)}; editable are {sorted(t.EDITABLE)}")
        return self.change(shop_id, tid, t.TOUCHED, changes)

    def edit_memo(self, shop_id: str, tid: int, memo: str, flag: int = 1) -> t.Trade:
        """Let the seller write a memo and set a flag (1 red … 5 purple) now."""
        return self.change(shop_id, tid, t.MEMO_EDITED, (memo, flag))

    def move_refund(
        self,
        shop_id: str,
        tid: int,
        status: str,
        lines: tuple[int, ...] = (0,),
        *,
        number: int = 0,
        fee: int | None = None,
        quantity: int | None = None,
        kind: str = "",
        cs_status: int = 0,
        said: str = "",
    ) -> t.Trade:
        """Ask for refunds of some lines now, or take them a step on, by their new status (contract 4.7).

        The rest as in ``RefundStep``: which refund of each line, cents, units, dispute type, what the platform does
        and what somebody writes. A ``fee`` of all that is left closes the line as no fee does. ValueError for what
        cannot be.
        """
        with self.looking():
            lines_of = self.find(shop_id, tid).placement.basket.lines
            if status not in STATUSES:
                raise ValueError(f"no refund status {status!r}; there are {sorted(STATUSES)}")
            if kind and kind not in DISPUTE_TYPES:
                raise ValueError(f"no dispute type {kind!r}; there are {sorted(DISPUTE_TYPES)}")
            if not lines or not all(0 <= position < len(lines_of) for position in lines):
                raise ValueError(f"order {tid} has lines 0 to {len(lines_of) - 1}, not {lines}")
            if fee is not None and kind not in EXCHANGES:
                left = [refundable(self.find(shop_id, tid), position) for position in lines]
                if not 0 < fee <= min(left):
                    raise ValueError(f"a fee between 1 and {min(left)} cents, which is what is left, not {fee}")
                if len(lines) == 1 and fee == left[0]:
                    fee = None
            step = RefundStep(status, number, fee, quantity, kind, cs_status, said)
            return self.change(shop_id, tid, t.REFUND, step, lines)

    def find(self, shop_id: str, tid: int) -> t.Trade:
        """Return a trade of any age. UnknownOrderError if the shop has no such order."""
        try:
            return self.ledger(shop_id).trade(tid)
        except KeyError:
            raise UnknownOrderError(f"shop {shop_id!r} has no order {tid}") from None

    def change(self, shop_id: str, tid: int, kind: str, value: Any = None, lines: tuple[int, ...] = ()) -> t.Trade:
        """Let an event of that kind happen to a trade now. UnknownOrderError if the shop has no such order."""
        with self.looking() as now_ms:
            self.find(shop_id, tid)
            return self.ledger(shop_id).change(tid, t.Event(now_ms, kind, lines, value))

    def place_order(
        self,
        shop_id: str,
        *,
        lines: Sequence[BasketLine] | None = None,
        household: int = 1,
        order_type: str = "fixed",
        lives: bool = False,
        speed: float = 1.0,
        presale_days: int | None = None,
    ) -> int:
        """Place an order now and return its tid; it waits for payment for ever unless it ``lives``.

        ``presale_days`` as in ``plan_life``.
        """
        default = BasketLine(1, "测试商品/一件", "测试", 1, 10_000, 10_000, 0)
        with self.looking() as now_ms:
            ordinal = _PLACED_ORDINALS + self._placed
            self._placed += 1
            basket = Basket(ordinal, from_ms(now_ms), household, tuple(lines or (default,)))
            seed = self._state.origin.seed
            placement, events = plan_life(
                seed,
                ordinal,
                basket,
                created_ms=now_ms,
                order_type=order_type,
                speed=speed,
                presale_days=presale_days if lives or presale_days else 0,
            )
            ledger = self.ledger(shop_id)
            ledger.plan([(placement, events if lives else events[:1])])
            ledger.advance(now_ms)
            return placement.tid

    def statistics(self) -> dict[str, Any]:
        """Return calls by method, refusals by code, orders and their changes by shop, and the platform's time.

        The time is ISO 8601 with +08:00.
        """
        with self.looking() as now_ms:
            return {
                "now": from_ms(now_ms).isoformat(),
                "clock": "driven" if isinstance(self.clock, DrivenClock) else "real",
                "calls": dict(self.calls),
                "refusals": dict(self.refusals),
                "orders": {shop_id: len(ledger) for shop_id, ledger in self._ledgers.items()},
                "changes": {shop_id: ledger.change_count for shop_id, ledger in self._ledgers.items()},
                "arrived": self._arrived,
            }


def restore(origin: Origin, clock: Clock, state_path: Path | None) -> SandboxState:
    """Return the state to go on from: what the file at ``state_path`` remembers, else a new one whose epoch is now."""
    kept = load_state(state_path, origin) if state_path is not None else None
    if kept is not None:
        return kept
    state = SandboxState(origin, clock.now_ms(), [])
    if state_path is not None:
        save_state(state_path, state)
    return state
