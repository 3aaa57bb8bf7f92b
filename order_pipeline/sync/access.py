"""A shop made ready for work: its configuration, its platform, the log of its calls.

Belongs here: choosing the platform of a shop. Not here: what is done with it.
"""

from __future__ import annotations

from typing import NamedTuple

from order_pipeline.configuration import Shop
from order_pipeline.platforms.protocol import OrderPlatform
from order_pipeline.traffic.call_log import CallLog


class ShopAccess(NamedTuple):
    """A shop, the door to its marketplace, and what was called through it."""

    shop: Shop
    platform: OrderPlatform
    calls: CallLog


def open_shop(shop: Shop) -> ShopAccess:
    """Make a shop ready for work. Calls nothing yet."""
    from order_pipeline.platforms.taobao.platform import TaobaoCredentials, TaobaoPlatform

    calls = CallLog()
    credentials = TaobaoCredentials(
        shop_id=shop.id,
        gateway_url=shop.gateway_url,
        app_key=shop.app_key,
        app_secret=shop.app_secret,
        session_key=shop.session_key,
    )
    return ShopAccess(shop, TaobaoPlatform(credentials, calls), calls)
