"""Detection replay: a sandbox whose parcels get stuck, looked at by the hour, judged by its own truth.

Used by the tests and by bench/insights_stalls.py.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import requests
from sqlalchemy import Engine

from order_pipeline.insights.stalls import DEFAULT_SETTINGS
from order_pipeline.sandbox.clock import SHANGHAI
from order_pipeline_tests.conftest import Play
from order_pipeline_tests.proving import begin_refunds_lately
from order_pipeline_tests.shipping import SHOP, alerts, follow, sync

TICK = timedelta(hours=1)
# What our rules leave alone on purpose: nobody waits for it any more.
OVER = frozenset({"TRADE_FINISHED", "TRADE_CLOSED", "TRADE_CLOSED_BY_TAOBAO", "TRADE_BUYER_SIGNED"})


class Replay(NamedTuple):
    """What came of it: stalls that crossed while we looked, those not found within a tick, alerts without a stall."""

    began: datetime
    parcels: int
    looks: int
    expected: int
    missed: tuple[str, ...]
    false: tuple[str, ...]


def truth(url: str) -> list[dict[str, Any]]:
    """Return the sandbox's parcels with their episodes of at least the rule's hours."""
    response = requests.get(
        f"{url}/sandbox/truth/parcels", params={"shop": SHOP, "hours": str(DEFAULT_SETTINGS.stall_hours)}, timeout=30
    )
    response.raise_for_status()
    return [json.loads(line) for line in response.text.splitlines()]


def moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=SHANGHAI)


def replay(engine: Engine, play: Play, *, days: float) -> Replay:
    """Look every hour for some days, and compare what was alerted with what stood still."""
    access = play.access()
    begin_refunds_lately(engine, access, days=1)
    sync(engine, access)
    follow(engine, access)
    began = play.now
    ends = began + timedelta(days=days)
    looks = 0
    over: dict[str, datetime] = {}
    while play.now < ends:
        play.clock.advance(_idle(play, ends).total_seconds())
        looks += 1
        sync(engine, access)
        follow(engine, access)
        for parcel in truth(play.server.url):
            if all(order["status"] in OVER for order in parcel["orders"]):
                over.setdefault(parcel["waybill"], play.now)
    return _compared(engine, play, began, looks, over)


def _idle(play: Play, ends: datetime) -> timedelta:
    """Return how many ticks can pass before anything can cross: looks in between would see nothing that counts."""
    crossings = [moment(parcel["crossed_at"]) for parcel in truth(play.server.url) if parcel["crossed_at"]]
    ahead = [at for at in crossings if at > play.now - TICK]
    until = min([*ahead, ends]) - play.now
    return max(TICK, until // TICK * TICK)


def _compared(engine: Engine, play: Play, began: datetime, looks: int, over: dict[str, datetime]) -> Replay:
    parcels = truth(play.server.url)
    held = [each for each in alerts(engine) if each["rule"] in ("S2", "S6") or {"S2", "S6"} & set(each["also"])]
    found = {(each["tracking_number"], each["since"]): each for each in held}
    expected, missed = set(), []
    crossed: set[tuple[str, datetime]] = set()
    for parcel in parcels:
        for episode in parcel["episodes"]:
            since, at = moment(episode["since"]), moment(episode["crossed_at"])
            key = (parcel["waybill"], since)
            crossed.add(key)
            ended = moment(episode["ended_at"]) if episode["ended_at"] else play.now
            # One that began before we looked, or moved on before the next look, is not what is measured.
            if at <= began or ended < at + 2 * TICK or at + TICK > play.now:
                continue
            if over.get(parcel["waybill"], play.now) <= at + TICK:
                continue
            expected.add(key)
            alert = found.get(key)
            if alert is None or (alert["opened_at"] > at + TICK and alert["crossed_at"] == at):
                missed.append(f"{parcel['waybill']} since {since:%F %T}: {alert and alert['opened_at']}")
    false = [f"{number} since {since:%F %T}" for number, since in found if (number, since) not in crossed]
    return Replay(began, len(parcels), looks, len(expected), tuple(missed), tuple(false))
