"""sync.reconciliation: what each proof of a day found; bi.reconciliation and bi.refund_reconciliation show the latest.

Belongs here: storing and reading results. Not here: proving (sync/reconciliation.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from order_pipeline.warehouse.copying import as_json
from order_pipeline.warehouse.subjects import ORDERS, REFUNDS, Subject

VIEWS = {ORDERS: "bi.reconciliation", REFUNDS: "bi.refund_reconciliation"}


class ProofRow(NamedTuple):
    """One proof of a day; the fields are columns of ``sync.reconciliation``, explained there."""

    shop_id: str
    day: date
    expected: int
    found: int
    missing: int
    stale: int
    extra: int
    quarantined: int
    refilled: int
    unsettled: int
    rounds: int
    calls: int
    seconds: float
    listed: bool
    equal: bool
    totals: dict[str, Any]


class RedDay(NamedTuple):
    """A day whose latest proof found it different, and how."""

    shop_id: str
    day: date
    unsettled: int
    quarantined: int
    extra: int
    reconciled_at: datetime


class Proven(NamedTuple):
    """How a shop's proofs stand: the newest day that was found equal, and how many days are red."""

    last_equal_day: date | None
    days_red: int
    reconciled_at: datetime | None


def store_proof(connection: Connection, row: ProofRow, *, subject: Subject = ORDERS) -> None:
    """Keep the result of a proof."""
    columns = ", ".join(("subject", *ProofRow._fields))
    values = ", ".join(f":{column}" for column in ("subject", *ProofRow._fields))
    connection.execute(
        text(f"INSERT INTO sync.reconciliation ({columns}) VALUES ({values})"),
        row._asdict() | {"totals": as_json(row.totals), "subject": subject.name},
    )


def red_days(
    connection: Connection, shop_ids: Sequence[str], since: date, *, subject: Subject = ORDERS
) -> list[RedDay]:
    """Return the days since then whose latest proof is red, oldest first."""
    rows = connection.execute(
        text(f"""
            SELECT shop_id, day, unsettled, quarantined, extra, reconciled_at
            FROM {VIEWS[subject]}
            WHERE NOT equal AND shop_id = ANY(:shop_ids) AND day >= :since
            ORDER BY day, shop_id
        """),
        {"shop_ids": list(shop_ids), "since": since},
    )
    return [RedDay(*row) for row in rows]


def expected_before(connection: Connection, shop_id: str, day: date, days: int) -> list[int]:
    """Return how many orders the platform said that each of the days just before had, where they were proven."""
    rows = connection.execute(
        text("""
            SELECT expected FROM bi.reconciliation
            WHERE shop_id = :shop_id AND day < :day AND day >= cast(:day AS date) - :days
            ORDER BY day
        """),
        {"shop_id": shop_id, "day": day, "days": days},
    )
    return list(rows.scalars())


def proven(connection: Connection, shop_id: str, since: date, *, subject: Subject = ORDERS) -> Proven:
    """Return how the proofs of a shop stand; days before ``since`` are no longer red."""
    row = connection.execute(
        text(f"""
            SELECT max(day) FILTER (WHERE equal), count(*) FILTER (WHERE NOT equal AND day >= :since),
                   max(reconciled_at)
            FROM {VIEWS[subject]} WHERE shop_id = :shop_id
        """),
        {"shop_id": shop_id, "since": since},
    ).one()
    return Proven(*row)
