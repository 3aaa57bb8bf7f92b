"""order-pipeline remove-shop and forget: data that has to go for good.

Belongs here: what may be deleted, and saying what was. Not here: deleting (warehouse/shop_data.py, receivers.py).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from difflib import get_close_matches
from functools import partial

import click
from sqlalchemy import Engine

from order_pipeline.configuration import ConfigurationError, Shop
from order_pipeline.warehouse.database import in_transaction, transaction
from order_pipeline.warehouse.receivers import forget_orders, orders_of_buyer
from order_pipeline.warehouse.receivers import forget_shop as forget_receivers
from order_pipeline.warehouse.shop_data import count_rows, delete_rows
from order_pipeline.warehouse.watermarks import known_shops


def remove_shop(engine: Engine, shop_id: str, configured: Sequence[Shop], *, is_sure: bool, as_json: bool) -> bool:
    """Delete everything that is held of a shop, or say what would be; return whether it is gone.

    Raises ConfigurationError for a shop that is still configured, or of which nothing is held.
    """
    if shop_id in {shop.id for shop in configured}:
        raise ConfigurationError(
            f"remove-shop: shop '{shop_id}' is still configured, and the next sync would load it again; take it out of "
            f"shops.yaml first"
        )
    with transaction(engine) as connection:
        held = count_rows(connection, shop_id)
        known = known_shops(connection)
    if not held:
        near = get_close_matches(shop_id, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(known) or 'none'}"
        raise ConfigurationError(f"remove-shop: nothing is held of a shop '{shop_id}'; {hint}")
    if is_sure:
        held = in_transaction(engine, partial(delete_rows, shop_id=shop_id))
    if as_json:
        print(json.dumps({"shop": shop_id, "removed": is_sure, "rows": held}))
        return is_sure
    for table, count in held.items():
        click.echo(f"{table}: {count:,} rows")
    if is_sure:
        click.echo(f"Everything of shop {shop_id} is deleted. Dagster's log of runs and backups still name it.")
    else:
        click.echo("Nothing is deleted yet; add --yes to delete all of this for good.")
    return is_sure


def forget(
    engine: Engine, shop: Shop, order_ids: Sequence[str], buyer: str | None, *, everybody: bool, as_json: bool
) -> None:
    """Delete addressees of a shop: of these orders, of a buyer's, or all of them."""
    with transaction(engine) as connection:
        if everybody:
            forgotten = forget_receivers(connection, shop.id)
        else:
            of_buyer = orders_of_buyer(connection, shop.id, buyer) if buyer else []
            forgotten = forget_orders(connection, shop.id, [*order_ids, *of_buyer])
    if as_json:
        print(json.dumps({"shop": shop.id, "forgotten": forgotten}))
        return
    click.echo(f"{forgotten} addressees are deleted.")
    if everybody and shop.keep_personal_data:
        click.echo(f"keep_personal_data of shop {shop.id} is on: orders that change bring theirs again.")
