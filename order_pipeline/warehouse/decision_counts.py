"""How much there is to decide and to do in a shop, counted.

Belongs here: counts for an overview, each from the index of what is open. Not here: the lines themselves
(restocking.py, ship_lists.py, follow_ups.py, presale_holds.py).
"""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

from sqlalchemy import Connection, text


class DecisionCounts(NamedTuple):
    """What is open in a shop now.

    Attributes:
        stock_of: day of the latest snapshot of the stock, None before the first.
        open_holds: lines of pre-sales that hold stock.
        to_buy: SKUs that the latest purchase list would buy and that nobody has decided about.
        to_send: lines that are listed and have neither left nor been stopped.
        held_back: paid lines that the latest look did not list.
        alerts: parcels with an open alert.
        stuck: those of them that stand still on their way (S2).

    """

    stock_of: date | None
    open_holds: int
    to_buy: int
    to_send: int
    held_back: int
    alerts: int
    stuck: int


def count_decisions(connection: Connection, shop_id: str) -> DecisionCounts:
    """Return what is open in a shop."""
    row = connection.execute(
        text("""
            SELECT (SELECT max(day) FROM core.inventory_level WHERE shop_id = :shop_id) AS stock_of,
                   (SELECT count(*) FROM core.presale_hold
                    WHERE shop_id = :shop_id AND held_quantity > 0) AS open_holds,
                   (SELECT count(*) FROM core.restock_suggestion
                    WHERE shop_id = :shop_id AND state = 'open' AND quantity > 0) AS to_buy,
                   (SELECT count(*) FROM core.ship_list_line
                    WHERE shop_id = :shop_id AND stopped_at IS NULL AND shipped_at IS NULL) AS to_send,
                   (SELECT count(*) FROM core.ship_list_held WHERE shop_id = :shop_id) AS held_back,
                   (SELECT count(*) FROM core.logistics_alert
                    WHERE shop_id = :shop_id AND closed_at IS NULL) AS alerts,
                   (SELECT count(*) FROM core.logistics_alert
                    WHERE shop_id = :shop_id AND closed_at IS NULL AND rule = 'S2') AS stuck
        """),
        {"shop_id": shop_id},
    ).one()
    return DecisionCounts(*row)
