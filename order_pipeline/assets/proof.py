"""Group ``proof``: whether the tables are equal to the platform, day by day.

Belongs here: what the nightly proof tells the UI, and its checks. Not here: proving (sync/reconciliation.py), judging
(insights/reconciliation.py).
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

import dagster as dg
from sqlalchemy import Engine

from order_pipeline.assets.configs import ReconciliationConfig
from order_pipeline.assets.orders import fullinfo_orders
from order_pipeline.assets.pages import BACKFILL
from order_pipeline.assets.partitions import FRESH_DAILY, daily, partition_days
from order_pipeline.assets.pictures import arrivals_picture, lag_picture
from order_pipeline.assets.refunds import refunds as refunds_asset
from order_pipeline.assets.reports import named_failures, table
from order_pipeline.insights.reconciliation import is_unusually_quiet
from order_pipeline.resources.shops import ShopsResource
from order_pipeline.resources.warehouse import WarehouseResource
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.provable import PROVABLE_ORDERS, PROVABLE_REFUNDS
from order_pipeline.sync.reconciliation import SAMPLE_SIZE, Reconciliation, reconcile_day
from order_pipeline.sync.shops import for_each_shop
from order_pipeline.sync.windows import HISTORY_DAYS, day_window
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.flow import arrivals_by_hour, lag_by_hour
from order_pipeline.warehouse.proofs import RedDay, expected_before, red_days
from order_pipeline.warehouse.subjects import ORDERS, REFUNDS, Subject
from order_pipeline.wording import counted

DAYS_BEFORE = 7


@dg.asset(
    deps=[fullinfo_orders, refunds_asset],
    partitions_def=daily,
    group_name="proof",
    owners=["team:order-data"],
    kinds={"postgres", "python"},
    backfill_policy=BACKFILL,
    freshness_policy=FRESH_DAILY,
    metadata={"dagster/table_name": "bi.reconciliation"},
    check_specs=[
        dg.AssetCheckSpec(
            "day_is_equal",
            asset="daily_reconciliation",
            blocking=True,
            description="The tables equal the platform on every day that was proven; red until a day is equal.",
        ),
        dg.AssetCheckSpec(
            "refunds_are_equal",
            asset="daily_reconciliation",
            blocking=True,
            description="So do the refunds that last changed on the day; red until a day is equal.",
        ),
        dg.AssetCheckSpec(
            "day_is_as_busy_as_usual",
            asset="daily_reconciliation",
            description="No day has next to no orders where the days before had many: an empty answer can be a fault.",
        ),
    ],
)
def daily_reconciliation(
    context: dg.AssetExecutionContext, config: ReconciliationConfig, warehouse: WarehouseResource, shops: ShopsResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Orders of a day of creation (Asia/Shanghai) against the platform's; gaps are filled and compared again.

    Likewise the refunds that last changed on the day.
    """
    engine = warehouse.engine
    days = partition_days(context)

    def prove(access: ShopAccess, now: datetime) -> list[tuple[Subject, Reconciliation]]:
        proofs = [
            (provable.stream.subject, reconcile_day(access, engine, day, now, listed=config.listed, provable=provable))
            for day in days
            for provable in (PROVABLE_ORDERS, PROVABLE_REFUNDS)
        ]
        return [(subject, proof) for subject, proof in proofs if proof]

    with named_failures():
        accesses = shops.open(engine, config.shops)
        proofs = [
            each
            for of_shop in for_each_shop(accesses, engine, lambda access: prove(access, access.platform.now()))
            for each in of_shop
        ]
    orders = [proof for subject, proof in proofs if subject is ORDERS]
    refunds = [proof for subject, proof in proofs if subject is REFUNDS]
    shop_ids, since = [access.shop.id for access in accesses], days[-1] - timedelta(days=HISTORY_DAYS)
    with transaction(engine) as connection:
        red = {subject: red_days(connection, shop_ids, since, subject=subject) for subject in (ORDERS, REFUNDS)}
    for day in days:
        # A run over several days records each of them; so each plots with its own numbers, not with their sum.
        of_day = _metadata([proof for proof in orders if proof.row.day == day], ORDERS)
        of_day |= _metadata([proof for proof in refunds if proof.row.day == day], REFUNDS)
        if day == days[-1]:
            of_day |= _pictures(engine, shop_ids, day)
        context.add_asset_metadata(of_day, partition_key=day.isoformat())
    held = [access.shop.id for access in accesses if access.hold]
    return dg.MaterializeResult(
        check_results=[
            _equality("day_is_equal", ORDERS, red[ORDERS], orders, held),
            _equality("refunds_are_equal", REFUNDS, red[REFUNDS], refunds, held),
            _busyness(engine, orders),
        ]
    )


def _pictures(engine: Engine, shop_ids: list[str], day: date) -> dict[str, dg.MetadataValue[Any]]:
    """Draw the latest day of a run; each picture is some ten kilobytes in the event log, for good."""
    window = day_window(day)
    with transaction(engine) as connection:
        arrivals = arrivals_by_hour(connection, shop_ids, window.start, window.end, DAYS_BEFORE)
        lags = lag_by_hour(connection, shop_ids, window.start, window.end)
    return {"arrivals_by_hour": arrivals_picture(day, arrivals), "lag_by_hour": lag_picture(day, lags)}


def _metadata(proofs: Sequence[Reconciliation], subject: Subject) -> dict[str, dg.MetadataValue[Any] | int | float]:
    rows = [proof.row for proof in proofs]
    # The names of the orders' numbers stay what they were before refunds were proven.
    prefix = "" if subject is ORDERS else f"{subject.name}_"
    return {
        f"{subject.name}_expected": sum(row.expected for row in rows),
        f"{subject.name}_found": sum(row.found for row in rows),
        f"{subject.name}_missing": sum(row.missing for row in rows),
        f"{subject.name}_stale": sum(row.stale for row in rows),
        f"{subject.name}_extra": sum(row.extra for row in rows),
        f"{subject.name}_quarantined": sum(row.quarantined for row in rows),
        f"{subject.name}_refilled": sum(row.refilled for row in rows),
        f"{subject.name}_unsettled": sum(row.unsettled for row in rows),
        f"{prefix}days_red": sum(not row.equal for row in rows),
        f"{prefix}calls": sum(row.calls for row in rows),
        f"{prefix}seconds": round(sum(row.seconds for row in rows), 3),
        f"{prefix}shops": table(
            [
                {
                    "shop": shop_id,
                    "days": len(of_shop),
                    "equal": sum(row.equal for row in of_shop),
                    "listed": sum(row.listed for row in of_shop),
                    "expected": sum(row.expected for row in of_shop),
                    "found": sum(row.found for row in of_shop),
                    "missing": sum(row.missing for row in of_shop),
                    "stale": sum(row.stale for row in of_shop),
                    "extra": sum(row.extra for row in of_shop),
                    "quarantined": sum(row.quarantined for row in of_shop),
                    "refilled": sum(row.refilled for row in of_shop),
                    "unsettled": sum(row.unsettled for row in of_shop),
                    "calls": sum(row.calls for row in of_shop),
                    "seconds": round(sum(row.seconds for row in of_shop), 3),
                }
                for shop_id in dict.fromkeys(row.shop_id for row in rows)
                for of_shop in [[row for row in rows if row.shop_id == shop_id]]
            ]
        ),
        f"{prefix}sample": table(_sample(proofs)),
    }


def _sample(proofs: Sequence[Reconciliation]) -> list[dict[str, Any]]:
    """Return some records that differed, those that still do first."""
    return [
        {
            "shop": proof.row.shop_id,
            "day": proof.row.day,
            "id": record_id,
            "was": was,
            "now": "mended" if proof.row.equal else "differs",
        }
        for proof in sorted(proofs, key=lambda proof: proof.row.equal)
        for record_id, was in proof.sample
    ][:SAMPLE_SIZE]


def _equality(
    check: str, subject: Subject, red: Sequence[RedDay], proofs: Sequence[Reconciliation], held: Sequence[str]
) -> dg.AssetCheckResult:
    """Judge the days of this run and every red day before them: red stays red until it is proven equal.

    A shop that is left alone for want of a session proves nothing, so its days are not equal either.
    """
    unasked = f"not asked, as they are paused or not authorised (order-pipeline status): {', '.join(held)}"
    return dg.AssetCheckResult(
        check_name=check,
        asset_key="daily_reconciliation",
        passed=not red and not held,
        # Blocking is for wrong tables: a shop that waits for its owner must not stop the others.
        severity=dg.AssetCheckSeverity.ERROR if red else dg.AssetCheckSeverity.WARN,
        description="; ".join([*([_said(red, subject)] if red else []), *([unasked] if held else [])]) or None,
        metadata={
            "days_red": len(red),
            **({"red": table([day._asdict() for day in red[:SAMPLE_SIZE]])} if red else {}),
            "sample": table(_sample([proof for proof in proofs if not proof.row.equal])),
        },
    )


def _said(red: Sequence[RedDay], subject: Subject) -> str:
    named = "; ".join(
        f"shop {day.shop_id}, {day.day}: {counted(day.unsettled, f'{subject.one} differs', f'{subject.name} differ')}"
        + (f", {day.quarantined} of them in quarantine" if day.quarantined else "")
        for day in red[:SAMPLE_SIZE]
    )
    more = f"; and {len(red) - SAMPLE_SIZE} more" if len(red) > SAMPLE_SIZE else ""
    return (
        f"{named}{more}. What could be fetched anew was; settle what is in sync.quarantine, look at why the rest is "
        "not served (order-pipeline status), then materialize daily_reconciliation for these days"
    )


def _busyness(engine: Engine, proofs: Sequence[Reconciliation]) -> dg.AssetCheckResult:
    quiet: list[tuple[str, date, int]] = []
    with transaction(engine) as connection:
        for row, _, is_whole_day in proofs:
            before = expected_before(connection, row.shop_id, row.day, DAYS_BEFORE)
            if is_whole_day and is_unusually_quiet(row.expected, before):
                quiet.append((row.shop_id, row.day, row.expected))
    return dg.AssetCheckResult(
        check_name="day_is_as_busy_as_usual",
        asset_key="daily_reconciliation",
        passed=not quiet,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(
            f"shop {shop_id}, {day}: the platform says {expected} orders, far below the {DAYS_BEFORE} days before; "
            "was the shop closed? If not, ask the platform again: materialize the day once more"
            for shop_id, day, expected in quiet
        )
        or None,
        metadata={"days_quiet": len(quiet)},
    )
