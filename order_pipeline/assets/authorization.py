"""The check that says whether every shop is authorised: asked by runs, and by a sensor where no run comes about.

Belongs here: the judgement as a check's result. Not here: sessions and pauses themselves (sync).
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import dagster as dg

from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.renewal import describe, needs_person

ASSET = "fullinfo_orders"
CHECK = "shops_are_authorised"


class Authorizations(NamedTuple):
    """What is wrong: shops that are left alone, and shops whose token ends soon and cannot be renewed, in words."""

    held: tuple[str, ...]
    ending: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether no shop waits for a person."""
        return not self.held and not self.ending

    @property
    def severity(self) -> dg.AssetCheckSeverity:
        """A shop that is left alone is missing from the tables; a token that will end is not yet."""
        return dg.AssetCheckSeverity.ERROR if self.held else dg.AssetCheckSeverity.WARN

    @property
    def description(self) -> str | None:
        """Every shop with its reason and remedy, None when all is well."""
        return "; ".join((*self.held, *self.ending)) or None


def look(accesses: Sequence[ShopAccess], now: datetime | None = None) -> Authorizations:
    """Look at every shop's session, calling nobody."""
    now = now or datetime.now(UTC)
    held = [f"shop {access.shop.id}: {hold}" for access in accesses if (hold := access.hold)]
    tokens = [access.session.token() for access in accesses if access.session]
    ending = [f"shop {row.shop_id}: {describe(row, now)}" for row in tokens if row and needs_person(row, now)]
    return Authorizations(tuple(held), tuple(ending))


def check_result(found: Authorizations) -> dg.AssetCheckResult:
    """Return the result for a run."""
    return dg.AssetCheckResult(
        check_name=CHECK,
        asset_key=ASSET,
        passed=found.passed,
        severity=found.severity,
        description=found.description,
        metadata={"left_alone": len(found.held), "ending_soon": len(found.ending)},
    )


def check_evaluation(found: Authorizations) -> dg.AssetCheckEvaluation:
    """Return the same for whoever is no run."""
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(ASSET),
        check_name=CHECK,
        passed=found.passed,
        severity=found.severity,
        description=found.description,
        metadata={"left_alone": len(found.held), "ending_soon": len(found.ending)},
    )
