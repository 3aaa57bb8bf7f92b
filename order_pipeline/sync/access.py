"""A shop made ready for work: its configuration, its platform, the log of its calls.

Belongs here: choosing the platform of a shop. Not here: what is done with it.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Engine

from order_pipeline.configuration import Shop
from order_pipeline.platforms.protocol import OrderPlatform
from order_pipeline.traffic.call_log import CallLog
from order_pipeline.traffic.gate import Gate, shared_gate


class ShopAccess(NamedTuple):
    """A shop, the door to its marketplace, what was called through it, and the gate that the calls pass."""

    shop: Shop
    platform: OrderPlatform
    calls: CallLog
    gate: Gate = Gate()


def open_shop(shop: Shop, engine: Engine | None = None) -> ShopAccess:
    """Make a shop ready for work. Calls nothing yet.

    With the warehouse's engine its calls keep to the rate budget and the breaker that all processes share for the
    shop's app key; without one nothing holds them back.
    """
    from order_pipeline.platforms.taobao.platform import TaobaoCredentials, TaobaoPlatform

    calls = CallLog()
    credentials = TaobaoCredentials(
        shop_id=shop.id,
        gateway_url=shop.gateway_url,
        app_key=shop.app_key,
        app_secret=shop.app_secret,
        session_key=shop.session_key,
    )
    gate = shared_gate(engine, shop.app_key, shop.calls_per_minute) if engine else Gate()
    return ShopAccess(shop, TaobaoPlatform(credentials, calls, gate=gate), calls, gate)
