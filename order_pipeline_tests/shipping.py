"""Parcels for tests: orders placed, paid and shipped by hand, and what a pass does with them, without Dagster."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import Engine, text

from order_pipeline.insights.stalls import DEFAULT_SETTINGS, StallSettings
from order_pipeline.sandbox.steering import Consign, MoveParcel, NewLine, NewScan, Pay, Place
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.alerting import Alerting, judge_parcels
from order_pipeline.sync.shipment_traces import Following, follow_parcels
from order_pipeline.warehouse.database import transaction
from order_pipeline_tests.conftest import Play
from order_pipeline_tests.proving import pass_over, pass_over_refunds

SHOP = "demo-shop"


def shipped(play: Play, lines: int = 1, **consignment: Any) -> dict[str, Any]:
    """Ship an order, each line in a parcel of its own (or all under a given waybill); its parcels say nothing yet."""
    market = play.marketplace
    ordered = tuple(NewLine(product_id=number) for number in range(1, lines + 1))
    placed = Place(shop=SHOP, lines=ordered).carry_out(market)
    Pay(shop=SHOP, tid=placed["tid"]).carry_out(market)
    waybills = []
    for line in range(lines):
        sent = Consign(shop=SHOP, tid=placed["tid"], lines=(line,), **consignment).carry_out(market)
        MoveParcel(shop=SHOP, waybill=sent["waybill"], action="stall").carry_out(market)
        waybills.append(sent["waybill"])
    return placed | {"tid": str(placed["tid"]), "oids": [str(oid) for oid in placed["oids"]], "waybills": waybills}


def scan(play: Play, waybill: str, action: str, words: str = "快件状态已更新", time: str | None = None) -> None:
    """Let the carrier say something about a parcel, now."""
    event = NewScan(scan=action, desc=words, time=time)
    MoveParcel(shop=SHOP, waybill=waybill, action="event", event=event).carry_out(play.marketplace)


def sync(engine: Engine, access: ShopAccess) -> None:
    """Bring orders and refunds up to date."""
    pass_over(engine, access)
    pass_over_refunds(engine, access)


def follow(
    engine: Engine, access: ShopAccess, settings: StallSettings = DEFAULT_SETTINGS
) -> tuple[Following, Alerting]:
    """Do what the hourly run does."""
    following = follow_parcels(access, engine)
    with transaction(engine) as connection:
        return following, judge_parcels(connection, access.shop.id, settings)


def later(play: Play, engine: Engine, access: ShopAccess, hours: float) -> tuple[Following, Alerting]:
    """Let time pass, and follow."""
    play.clock.advance(timedelta(hours=hours).total_seconds())
    return follow(engine, access)


def alerts(engine: Engine, **wanted: Any) -> list[dict[str, Any]]:
    """Return the alerts with these values, oldest first."""
    condition = " AND ".join(f"{name} = :{name}" for name in wanted) or "true"
    with transaction(engine) as connection:
        rows = connection.execute(
            text(f"SELECT * FROM bi.logistics_alerts WHERE {condition} ORDER BY alert_id"), wanted
        )
        return [dict(row) for row in rows.mappings()]
