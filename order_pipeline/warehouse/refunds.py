"""Refunds: COPY into staging, then one merge that lets only newer versions in.

Belongs here: their columns. Not here: the version guard (merging.py), how a refund is read from a platform's answer,
what a refund takes off an order's line (the view core.refunded_item and insights/refunding.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from order_pipeline.warehouse.copying import copy_rows
from order_pipeline.warehouse.merging import GUARDS, Refused, Source, Staged, stage_but_refused
from order_pipeline.warehouse.staging import begin_staging, drop_superseded, noting_merged
from order_pipeline.warehouse.subjects import REFUNDS, Subject

REFUND_COLUMNS = (
    "refund_id", "order_id", "item_id", "status", "order_status", "dispute_type", "phase", "good_status",
    "has_good_return", "refund_fee", "remaining_payment", "total_fee", "price", "quantity", "num_iid", "sku",
    "sku_code", "title", "reason", "description", "created_at", "modified_at", "goods_returned_at", "ended_at",
    "return_company", "return_tracking_number", "cs_status", "advance_status", "extra",
)  # fmt: skip

# What the list leaves out (Taobao contract §4.3): it must not blank what a detail brought.
_NOT_IN_LIST = frozenset({"price", "num_iid", "goods_returned_at", "cs_status", "advance_status"})


class RefundRow(NamedTuple):
    """One version of a refund: values of REFUND_COLUMNS, and when it was asked for."""

    refund: Sequence[Any]
    sent_at: Any

    @property
    def refund_id(self) -> str:
        """The platform's id of the refund."""
        return str(self.refund[0])


def merge_refunds(
    connection: Connection, shop_id: str, platform: str, source: Source, rows: Sequence[RefundRow]
) -> list[Refused[RefundRow]]:
    """Merge versions of refunds: any order and number of deliveries ends in the same table.

    ``merging.GUARDS`` lets only newer versions in. A refund needs no order: it may come first. Rows that Postgres
    refuses are returned with its reason; all others land, in the caller's transaction.
    """
    subject = REFUNDS.at_once
    begin_refunds(connection, subject)
    staged = stage_refunds(connection, shop_id, platform, source, rows, subject)
    merge_staged_refunds(connection, source, staged.rows, subject)
    return staged.refused


def begin_refunds(connection: Connection, subject: Subject = REFUNDS) -> None:
    """Begin to gather versions of refunds on this connection; what was left of another time goes."""
    begin_staging(connection, subject)


def stage_refunds(
    connection: Connection,
    shop_id: str,
    platform: str,
    source: Source,
    rows: Sequence[RefundRow],
    subject: Subject = REFUNDS,
) -> Staged[RefundRow]:
    """Put versions of refunds beside those that are staged on this connection; return what Postgres refuses."""
    newest: dict[str, RefundRow] = {}
    for row in rows:
        held = newest.get(row.refund_id)
        if held is None or (held.refund[_MODIFIED], held.sent_at) < (row.refund[_MODIFIED], row.sent_at):
            newest[row.refund_id] = row
    return stage_but_refused(
        connection, list(newest.values()), lambda some: _copy(connection, shop_id, platform, source, some, subject)
    )


def merge_staged_refunds(connection: Connection, source: Source, expected: int, subject: Subject = REFUNDS) -> None:
    """Let in what is staged on this connection, in one statement. ``expected``: how many rows that are.

    Raises StagedRowsError when it is something else.
    """
    drop_superseded(connection, subject, expected)
    connection.execute(_merge(source, subject))


def count_refunds(connection: Connection, shop_ids: Sequence[str]) -> int:
    """Return how many refunds the shops have in the table."""
    count = connection.execute(
        text("SELECT count(*) FROM core.refunds WHERE shop_id = ANY(:shop_ids)"), {"shop_ids": list(shop_ids)}
    )
    return int(count.scalar() or 0)


def recent_refunds(connection: Connection, shop_ids: Sequence[str], most: int) -> list[dict[str, Any]]:
    """Return the refunds that changed last, without anything that a person wrote."""
    rows = connection.execute(
        text("""
            SELECT shop_id, refund_id, order_id, status, dispute_type, refund_fee, quantity, modified_at
            FROM core.refunds WHERE shop_id = ANY(:shop_ids)
            ORDER BY modified_at DESC, refund_id LIMIT :most
        """),
        {"shop_ids": list(shop_ids), "most": most},
    )
    return [dict(row) for row in rows.mappings()]


_MODIFIED = REFUND_COLUMNS.index("modified_at")


def _copy(
    connection: Connection, shop_id: str, platform: str, source: Source, rows: Sequence[RefundRow], subject: Subject
) -> None:
    copy_rows(
        connection,
        subject.staged,
        ("shop_id", "platform", "source", "sent_at", "detail_modified_at", *REFUND_COLUMNS),
        [
            (
                shop_id, platform, source.value, row.sent_at,
                row.refund[_MODIFIED] if source is Source.DETAIL else None, *row.refund,
            )
            for row in rows
        ],
    )  # fmt: skip


@cache
def _merge(source: Source, subject: Subject) -> Any:
    written = ("platform", "source", "sent_at", "detail_modified_at", *REFUND_COLUMNS[1:])
    columns = ", ".join(("shop_id", "refund_id", *written))
    # In one order everywhere, so that two loads of refunds that overlap cannot deadlock.
    merge = f"""
        INSERT INTO core.refunds AS stored ({columns})
        SELECT {columns} FROM {subject.staged} ORDER BY refund_id
        ON CONFLICT (shop_id, refund_id) DO UPDATE
        SET {", ".join(_assignment(source, column) for column in written)}, stored_at = now()
        WHERE {GUARDS[source]}
    """
    return text(noting_merged(subject, merge))


def _assignment(source: Source, column: str) -> str:
    if source is Source.LIST and column == "extra":
        return "extra = stored.extra || excluded.extra"
    if source is Source.LIST and column in _NOT_IN_LIST | {"detail_modified_at"}:
        return f"{column} = coalesce(excluded.{column}, stored.{column})"
    return f"{column} = excluded.{column}"
