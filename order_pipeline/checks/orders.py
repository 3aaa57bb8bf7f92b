"""Nightly checks of the order tables: keys, money, counts.

Belongs here: turning broken rules into check results. Not here: the rules (warehouse/rules.py), nor checks that a
run makes of its own work (in the assets).
"""

from collections.abc import Mapping

import dagster as dg

from order_pipeline.assets.orders import fullinfo_orders
from order_pipeline.assets.reports import table
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.rules import COUNTS, KEYS, MONEY, breaches
from order_pipeline.wording import counted


def _check(name: str, description: str, rules: Mapping[str, str]) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=fullinfo_orders, name=name, description=description)
    def check(warehouse: WarehouseResource) -> dg.AssetCheckResult:
        with transaction(warehouse.engine) as connection:
            found = breaches(connection, rules)
        return dg.AssetCheckResult(
            passed=not found,
            description="; ".join(f"{breach.rule}: broken by {counted(breach.rows, 'row')}" for breach in found)
            or None,
            metadata={
                "rows": sum(breach.rows for breach in found),
                **{breach.rule: table(breach.sample) for breach in found},
            },
        )

    return check


order_checks = [
    _check("keys_hold", "Every order has lines, every line its order, every id is one.", KEYS),
    _check("money_adds_up", "Amounts are there, not negative, and agree with the lines.", MONEY),
    _check("counts_hold", "Nothing that was listed is missing, nothing waits for hours.", COUNTS),
]
