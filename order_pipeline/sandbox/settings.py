"""How a sandbox is set up, and the marketplace that follows from it.

Belongs here: settings and putting the parts together. Not here: serving it (``server``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from order_pipeline.sandbox.authorization import DEFAULT_RULES, AuthorizationRules
from order_pipeline.sandbox.clock import Clock, DrivenClock, RealClock, from_ms
from order_pipeline.sandbox.continuity import Origin
from order_pipeline.sandbox.demand import COMPLETE_JOURNEY, SYNTHETIC, Demand, complete_journey, synthetic
from order_pipeline.sandbox.logistics.journeys import STALL_RATE, Odds
from order_pipeline.sandbox.marketplace import MESSAGE_REDELIVERY_SECONDS, Bounds, Marketplace, restore
from order_pipeline.sandbox.shops import DEMO_SHOP, Shop

# Above it the shares of the kinds of delivery would add up to more than one.
_MOST_ODDITY = 5.0


@dataclass(frozen=True, kw_only=True)
class SandboxSettings:
    """Everything that decides what a sandbox does.

    ``demand`` is "complete-journey" (the real shopping year) or "synthetic" (``orders`` baskets); both are played
    over the last ``days`` and thinned to the fraction ``scale``. With ``live_orders_per_second`` further orders
    arrive, whose waits are divided by ``live_life_speed``. ``driven_from`` (aware) makes the clock a driven one.
    ``authorization`` is how tokens are given, ``message_redelivery_seconds`` how long (by the platform's clock) an
    unconfirmed message waits to come again. ``stall_rate`` of the parcels get stuck; ``parcel_oddity`` multiplies how
    often anything else is odd about a parcel (0: never). ``purchases_arrive`` says whether stock that runs low is
    refilled every week.
    """

    shops: tuple[Shop, ...] = (DEMO_SHOP,)
    demand: str = SYNTHETIC
    seed: int = 1
    scale: float = 1.0
    days: int = 90
    orders: int = 1_000
    live_orders_per_second: float = 0.0
    live_life_speed: float = 1.0
    state_path: Path | None = None
    calls_per_minute: int | None = None
    bounds: Bounds = "half_open"
    driven_from: datetime | None = None
    authorization: AuthorizationRules = DEFAULT_RULES
    message_redelivery_seconds: float = MESSAGE_REDELIVERY_SECONDS
    stall_rate: float = STALL_RATE
    parcel_oddity: float = 1.0
    purchases_arrive: bool = True

    def __post_init__(self) -> None:
        if self.demand not in (COMPLETE_JOURNEY, SYNTHETIC):
            raise ValueError(f"demand is {COMPLETE_JOURNEY!r} or {SYNTHETIC!r}, not {self.demand!r}")
        if not 0 < self.scale <= 1:
            raise ValueError("scale is a fraction above 0 and at most 1")
        if self.message_redelivery_seconds <= 0:
            raise ValueError("message_redelivery_seconds is positive")
        if not 0 <= self.stall_rate <= 1 or not 0 <= self.parcel_oddity <= _MOST_ODDITY:
            raise ValueError(f"stall_rate is a share, parcel_oddity between 0 and {_MOST_ODDITY}")
        if self.live_orders_per_second < 0 or self.live_life_speed <= 0 or self.days < 1 or self.orders < 1:
            raise ValueError("days, orders and live_life_speed are positive, live_orders_per_second not negative")


def open_marketplace(settings: SandboxSettings) -> Marketplace:
    """Return the marketplace of these settings, gone on from its state file if there is one.

    DemandUnavailableError if the real year is not installed, StateMismatchError if the file is of another sandbox.
    """
    clock: Clock = DrivenClock(settings.driven_from) if settings.driven_from else RealClock()
    orders = settings.orders if settings.demand == SYNTHETIC else 0
    shop_ids = tuple(shop.id for shop in settings.shops)
    origin = Origin(settings.seed, settings.demand, settings.scale, settings.days, orders, shop_ids)
    state = restore(origin, clock, settings.state_path)
    return Marketplace(
        settings.shops,
        _demand(settings, from_ms(state.epoch_ms)),
        clock,
        state=state,
        state_path=settings.state_path,
        live_orders_per_second=settings.live_orders_per_second,
        live_life_speed=settings.live_life_speed,
        calls_per_minute=settings.calls_per_minute,
        bounds=settings.bounds,
        authorization=settings.authorization,
        message_redelivery_seconds=settings.message_redelivery_seconds,
        parcel_odds=Odds(settings.stall_rate, settings.parcel_oddity),
        purchases_arrive=settings.purchases_arrive,
    )


def _demand(settings: SandboxSettings, epoch: datetime) -> Demand:
    if settings.demand == COMPLETE_JOURNEY:
        return complete_journey(epoch=epoch, scale=settings.scale, days=settings.days)
    return synthetic(settings.seed, epoch=epoch, orders=settings.orders, days=settings.days, scale=settings.scale)
