"""order-pipeline refetch and breaker: what a person on call does by hand.

Belongs here: doing it for a shop, and saying what came of it. Not here: fetching (sync/refetching.py), the breaker
(traffic/breaker.py).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import click
from sqlalchemy import Engine

from order_pipeline.configuration import Shop
from order_pipeline.sync.access import open_shop
from order_pipeline.sync.actor import actor
from order_pipeline.sync.refetching import refetch
from order_pipeline.sync.streams import ORDER_STREAM, REFUND_STREAM


def refetch_records(
    engine: Engine, shop: Shop, order_ids: Sequence[str], refund_ids: Sequence[str], *, as_json: bool
) -> bool:
    """Ask for these orders and refunds once more; return whether all of them are in the tables as answered."""
    access = open_shop(shop, engine)
    came = [
        each
        for stream, ids in ((ORDER_STREAM, order_ids), (REFUND_STREAM, refund_ids))
        if ids
        for each in refetch(access, engine, stream, ids)
    ]
    if as_json:
        print(json.dumps({"records": [each._asdict() for each in came]}))
    else:
        for each in came:
            said = "fetched and loaded" if each.is_loaded else each.problem
            click.echo(f"{each.subject.removesuffix('s')} {each.record_id}: {said}")
    return all(each.is_loaded for each in came)


def set_breaker(engine: Engine, shop: Shop, shops: Sequence[Shop], *, hours: float | None, why: str) -> None:
    """Open the breaker of a shop's app key for so many hours, or close it (``hours`` is None), with name and reason."""
    breaker = open_shop(shop, engine).gate.breaker
    assert breaker is not None  # noqa: S101 - opened with an engine
    sharing = ", ".join(each.id for each in shops if each.app_key == shop.app_key)
    if hours is None:
        breaker.force_closed(f"closed by {actor()}: {why}")
        click.echo(f"The breaker is closed (shops of this app key: {sharing}). It opens again if calls still fail.")
    else:
        breaker.force_open(f"opened by {actor()}: {why}", seconds=hours * 3600)
        click.echo(
            f"The breaker is open (shops of this app key: {sharing}): no polls for {hours:g} h, then probes close it; "
            f"messages and one full pull an hour go on."
        )
