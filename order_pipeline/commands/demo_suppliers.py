"""A list of suppliers for the sandbox shop, so that a demo has something to buy: nobody else could know its terms.

Belongs here: the invented list. Not here: what is bought by it (sync/restocking.py), loading lists
(sync/merchant_files.py).
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Engine, text

from order_pipeline.configuration import home
from order_pipeline.sync.merchant_files import load_list
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.merchant_lists import SUPPLIERS

FILE = "demo-suppliers.csv"
HEADINGS = ("sku_code", "supplier", "lead_time_days", "moq", "pack_size")
# Near, usual and far, as a grocer has them.
TERMS = (("City Wholesale", 3, 1, 6), ("Valley Foods", 7, 12, 12), ("Harbour Imports", 14, 48, 24))


def load_demo_suppliers(engine: Engine, shop_id: str) -> int:
    """Write a list of all SKUs that the shop has in stock or sold out, and load it as a merchant would.

    Does nothing where any list was loaded. Returns how many SKUs it names. Raises DatabaseUnreachableError.
    """
    with transaction(engine) as connection:
        if connection.execute(text("SELECT EXISTS (SELECT FROM core.supplier_item)")).scalar():
            return 0
        found = connection.execute(
            text("""
                SELECT DISTINCT sku_code FROM core.inventory_level
                WHERE shop_id = :shop_id AND sku_code <> '' ORDER BY sku_code
            """),
            {"shop_id": shop_id},
        )
        skus = list(found.scalars())
    return load_list(engine, SUPPLIERS, _written(home() / FILE, skus)).rows if skus else 0


def _written(path: Path, skus: Sequence[str]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADINGS)
        writer.writerows((sku, *TERMS[number % len(TERMS)]) for number, sku in enumerate(skus))
    return path
