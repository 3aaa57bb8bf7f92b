"""Which shops a command is about, where it reads the warehouse only.

Belongs here: telling a shop that nobody knows from one of which there is nothing. Not here: commands that ask the
platform; those choose among the configured shops (configuration.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from sqlalchemy import Engine

from order_pipeline.configuration import ConfigurationError
from order_pipeline.resources.addresses import configured_shops
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.watermarks import known_shops


def check_shops(engine: Engine, shop_ids: Sequence[str]) -> None:
    """Raise ConfigurationError for a shop that is neither configured nor in the warehouse."""
    if not shop_ids:
        return
    with transaction(engine) as connection:
        known = {*known_shops(connection), *(shop.id for shop in configured_shops(or_none=True))}
    for wanted in shop_ids:
        if wanted not in known:
            near = get_close_matches(wanted, known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(sorted(known)) or 'none'}"
            raise ConfigurationError(f"--shop: no shop '{wanted}'; {hint}")
