"""What a sandbox could tell about people: what must be found nowhere.

Belongs here: that list. Not here: where it is looked for.
"""

from __future__ import annotations

from order_pipeline.platforms.taobao.fields import PERSONAL_FIELDS
from order_pipeline.sandbox.fields import everything
from order_pipeline.sandbox.marketplace import Marketplace
from order_pipeline.sandbox.rendering import render_trade
from order_pipeline.sandbox.shops import DEMO_SHOP


def personal_values(marketplace: Marketplace, shop_id: str = DEMO_SHOP.id) -> dict[str, dict[str, str]]:
    """Return what the platform could tell about the people of each order."""
    shop = marketplace.shops[shop_id]
    selection = everything("detail")
    with marketplace.looking():
        trades = [trade for trade, _ in marketplace.ledger(shop_id).versions()]
        rendered = {str(trade.tid): render_trade(trade, shop, selection) for trade in trades}
    return {
        # Six digits of a postal code are part of many a number.
        tid: {name: str(value) for name, value in trade.items() if name in PERSONAL_FIELDS - {"receiver_zip"}}
        for tid, trade in rendered.items()
    }
