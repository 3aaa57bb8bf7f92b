"""The shops as a Dagster resource."""

from collections.abc import Sequence
from pathlib import Path

import dagster as dg
from pydantic import PrivateAttr
from sqlalchemy import Engine

from order_pipeline.configuration import read_shops, select_shops
from order_pipeline.resources.addresses import configured_shops
from order_pipeline.sync.access import ShopAccess, open_shop


class ShopsResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The shops to work for. Left empty, ORDER_PIPELINE_SHOPS counts, else ./shops.yaml, else the sandbox shop."""

    path: str | None = None
    # One door a shop for a whole run: its connections and the platform's clock are shared by the steps.
    _opened: dict[str, ShopAccess] = PrivateAttr(default_factory=dict)

    def open(self, engine: Engine, ids: Sequence[str] = ()) -> list[ShopAccess]:
        """Make the named shops, or all of them, ready for work; ``engine`` is where their calls are budgeted.

        Raises ConfigurationError for a wrong file or id.
        """
        shops = select_shops(read_shops(Path(self.path)) if self.path else configured_shops(), tuple(ids))
        return [self._opened.setdefault(shop.id, open_shop(shop, engine)) for shop in shops]
