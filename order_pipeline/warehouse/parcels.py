"""core.parcel: which parcels there are, in what orders' lines, and which are due to be asked about.

Belongs here: deriving them from orders and refunds, and taking turns. Not here: what is known of their way
(parcel_events.py), whether that is worth an alert (insights/stalls.py). ``now`` is the platform's time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from order_pipeline.warehouse.copying import staging_table

OUTGOING, RETURN = "outgoing", "return"

# Nobody gets a parcel that nothing was heard of for so long; carriers' own services stop reporting then, too.
FOLLOWED = timedelta(days=60)
# A parcel that was signed for too early moves on within hours, seldom days.
WATCHED_AFTER_SIGNING = timedelta(days=3)
SIGNED_AGAIN = timedelta(hours=6)
# Nobody waits for what is refunded; it is looked at whether it comes back.
CLOSED_AGAIN = timedelta(hours=6)
# Of what the platform does not follow news are not to be expected.
UNTRACKED_AGAIN = timedelta(hours=24)
# An order that was sent without a number may get one.
NUMBER_AGAIN = timedelta(hours=6)

# "无", "自提" or "1" are typed where a number is asked for, and would make one parcel of all orders that have it.
_NUMBER = "'^[A-Za-z0-9_-]{5,64}$'"
_MOMENT = "'^[0-9]{4}-[01][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-5][0-9]$'"


def _promise(field: str) -> str:
    # Whether the trade or its lines carry it is not documented.
    said = f"coalesce(i.extra ->> '{field}', o.extra ->> '{field}')"
    return f"CASE WHEN {said} ~ {_MOMENT} THEN {said}::timestamp AT TIME ZONE 'Asia/Shanghai' END"


# Lines that left, with what became of each. What was paid back in part is still on its way.
_LINES = f"""
    SELECT i.order_id, i.item_id, o.created_at, o.receiver_state,
           CASE WHEN btrim(i.tracking_number) ~ {_NUMBER} THEN btrim(i.tracking_number)
                WHEN l.tracking_number ~ {_NUMBER} THEN l.tracking_number END AS number,
           coalesce(i.logistics_company, l.company) AS company,
           coalesce(i.shipped_at, o.shipped_at) AS shipped_at,
           i.status IN ('TRADE_FINISHED', 'TRADE_BUYER_SIGNED') AS is_finished,
           i.status IN ('TRADE_CLOSED', 'TRADE_CLOSED_BY_TAOBAO') OR i.refund_id IS NOT NULL AND coalesce((
               SELECT r.paid > 0 AND r.refunded_payment >= r.paid FROM core.refunded_item r
               WHERE r.shop_id = i.shop_id AND r.order_id = i.order_id AND r.item_id = i.item_id
           ), false) AS is_closed,
           {_promise("collect_time")} AS pickup_promised_at,
           {_promise("sign_time")} AS delivery_promised_at
    FROM core.orders o
    JOIN core.order_items i ON i.shop_id = o.shop_id AND i.order_id = o.order_id
    LEFT JOIN core.learnt_number l
        ON l.shop_id = i.shop_id AND l.order_id = i.order_id AND l.item_id = i.item_id
    WHERE o.shop_id = :shop_id AND o.modified_at >= :since AND o.shipping_type IS DISTINCT FROM 'virtual'
      AND coalesce(i.shipped_at, o.shipped_at) >= :since
"""
_STAGE = text(f"""
    INSERT INTO staged_parcel
        (shop_id, direction, tracking_number, company, order_ids, item_ids, asked_order_id, asked_item_ids, contents,
         shipped_at, region, pickup_promised_at, delivery_promised_at)
    WITH line AS ({_LINES}), divided AS (
        SELECT order_id FROM line GROUP BY order_id HAVING count(DISTINCT number) > 1
    ), parcel AS (
        SELECT number, max(company) AS company,
               array_agg(DISTINCT order_id) AS order_ids, array_agg(DISTINCT item_id) AS item_ids,
               -- The newest order that goes on: old and closed ones are the first that the platform forgets.
               (array_agg(order_id ORDER BY is_closed, created_at DESC, order_id))[1] AS asked,
               CASE WHEN bool_and(is_closed) THEN 'closed'
                    WHEN bool_and(is_closed OR is_finished) THEN 'finished' ELSE 'open' END AS contents,
               min(shipped_at) AS shipped_at, max(receiver_state) AS region,
               min(pickup_promised_at) AS pickup, min(delivery_promised_at) AS delivery
        FROM line WHERE number IS NOT NULL GROUP BY number
    )
    SELECT :shop_id, '{OUTGOING}', number, company, order_ids, item_ids, asked,
           CASE WHEN asked IN (SELECT order_id FROM divided)
                THEN (SELECT array_agg(item_id ORDER BY item_id) FROM line
                      WHERE line.number = parcel.number AND line.order_id = asked)
                ELSE '{{}}' END,
           contents, shipped_at, region, pickup, delivery
    FROM parcel
""")
# A buyer names the number when he sends the goods; the refund goes on once the seller has them.
_STAGE_RETURNS = text(f"""
    INSERT INTO staged_parcel
        (shop_id, direction, tracking_number, company, order_ids, item_ids, contents, shipped_at)
    SELECT :shop_id, '{RETURN}', btrim(return_tracking_number), max(return_company),
           array_agg(DISTINCT order_id) FILTER (WHERE order_id IS NOT NULL),
           coalesce(array_agg(DISTINCT item_id) FILTER (WHERE item_id IS NOT NULL), '{{}}'),
           CASE WHEN bool_and(status <> 'WAIT_SELLER_CONFIRM_GOODS') THEN 'finished' ELSE 'open' END,
           min(coalesce(goods_returned_at, modified_at))
    FROM core.refunds
    WHERE shop_id = :shop_id AND modified_at >= :since AND order_id IS NOT NULL
      AND btrim(return_tracking_number) ~ {_NUMBER}
    GROUP BY btrim(return_tracking_number)
""")
_TAKEN_OVER = (
    "company", "order_ids", "item_ids", "asked_order_id", "asked_item_ids", "contents", "shipped_at", "region",
    "pickup_promised_at", "delivery_promised_at",
)  # fmt: skip
_MERGE = text(f"""
    INSERT INTO core.parcel AS held (shop_id, direction, tracking_number, {", ".join(_TAKEN_OVER)})
    SELECT shop_id, direction, tracking_number, {", ".join(_TAKEN_OVER)} FROM staged_parcel
    ON CONFLICT (shop_id, direction, tracking_number) DO UPDATE
    SET {", ".join(f"{column} = excluded.{column}" for column in _TAKEN_OVER)}, changed_at = now()
    WHERE ({", ".join(f"held.{column}" for column in _TAKEN_OVER)})
        IS DISTINCT FROM ({", ".join(f"excluded.{column}" for column in _TAKEN_OVER)})
""")
_REPLACE = text("""
    UPDATE core.parcel p SET contents = 'replaced', changed_at = now()
    WHERE shop_id = :shop_id AND shipped_at >= :since AND contents <> 'replaced'
      AND NOT EXISTS (SELECT FROM staged_parcel s
                      WHERE s.direction = p.direction AND s.tracking_number = p.tracking_number)
""")
# That a return has not arrived is known from its refund, which is followed all the time.
_RETURNS_KNOWN = text(f"""
    UPDATE core.parcel SET known_at = :now
    WHERE shop_id = :shop_id AND direction = '{RETURN}' AND contents = 'open' AND known_at IS DISTINCT FROM :now
""")
# A content with escapes holds what jsonb refuses (NUL, lone surrogates); a CASE keeps the cast away from it.
OUT_SID = r"CASE WHEN strpos(m.content, '\u') > 0 THEN NULL ELSE m.content::jsonb ->> 'out_sid' END"
_ANNOUNCE = text(f"""
    UPDATE core.parcel p SET announced_at = said.at
    FROM (SELECT {OUT_SID} AS number, max(published_at) AS at FROM raw.message m
          WHERE shop_id = :shop_id AND topic = :topic AND problem IS NULL AND published_at > :since
          GROUP BY 1) AS said
    WHERE p.shop_id = :shop_id AND said.number IN (p.tracking_number, p.current_tracking_number)
      AND p.announced_at IS DISTINCT FROM said.at
""")
_MOVES = f"""
    shop_id = :shop_id AND direction = '{OUTGOING}'
    AND (contents = 'open' OR contents = 'closed' AND state IS NOT NULL
         OR contents = 'finished' AND state IN ('refused', 'intercepted', 'returning'))
    AND state IS DISTINCT FROM 'returned' AND greatest(shipped_at, last_event_at) > :now - cast(:followed AS interval)
    AND (state IS DISTINCT FROM 'signed' OR last_event_at > :now - cast(:watched AS interval))
"""
# At most once an hour of the clock: an hour since the last time would make every second of the hourly runs idle.
_DUE = f"""
    {_MOVES}
    AND (checked_at IS NULL
         OR checked_at < date_trunc('hour', cast(:now AS timestamptz), 'UTC')
            AND checked_at <= :now - CASE WHEN is_untracked THEN cast(:untracked_again AS interval)
                                          WHEN state = 'signed' THEN cast(:signed_again AS interval)
                                          WHEN contents = 'closed'
                                               AND state NOT IN ('refused', 'intercepted', 'returning')
                                          THEN cast(:closed_again AS interval)
                                          ELSE interval '0' END)
"""
_TAKE = text(f"""
    UPDATE core.parcel p SET checked_at = :now
    FROM (SELECT shop_id, direction, tracking_number FROM core.parcel
          WHERE {_DUE}
          ORDER BY announced_at > coalesce(known_at, '-infinity') DESC NULLS LAST, checked_at NULLS FIRST, shipped_at
          LIMIT :most FOR UPDATE SKIP LOCKED) AS due
    WHERE p.shop_id = due.shop_id AND p.direction = due.direction AND p.tracking_number = due.tracking_number
    RETURNING p.tracking_number, p.current_tracking_number, p.asked_order_id, p.asked_item_ids
""")
_SPANS = {
    "followed": FOLLOWED,
    "watched": WATCHED_AFTER_SIGNING,
    "signed_again": SIGNED_AGAIN,
    "closed_again": CLOSED_AGAIN,
    "untracked_again": UNTRACKED_AGAIN,
}


class DueParcel(NamedTuple):
    """A parcel to ask about: its number, by which it goes now, the order, and the lines where that has several."""

    tracking_number: str
    current_tracking_number: str | None
    order_id: str
    item_ids: list[str]


def refresh_parcels(connection: Connection, shop_id: str, topic: str, now: datetime) -> None:
    """Bring the parcels up to what a shop's orders, refunds and messages say. ``topic``: of messages about parcels."""
    values = {"shop_id": shop_id, "topic": topic, "now": now, "since": now - FOLLOWED}
    staging_table(connection, "staged_parcel", "core.parcel")
    connection.execute(text("TRUNCATE staged_parcel"))
    for statement in (_STAGE, _STAGE_RETURNS, _MERGE, _REPLACE, _RETURNS_KNOWN, _ANNOUNCE):
        connection.execute(statement, values)


def take_due(connection: Connection, shop_id: str, now: datetime, most: int) -> list[DueParcel]:
    """Take parcels to ask about: those that messages announced first, then the least recently checked.

    They count as checked from now on, so that nobody else takes them, whatever becomes of the question.
    """
    rows = connection.execute(_TAKE, {"shop_id": shop_id, "now": now, "most": most, **_SPANS})
    return [DueParcel(*row) for row in rows]


def count_due(connection: Connection, shop_id: str, now: datetime) -> int:
    """Return how many parcels are due to be asked about."""
    count = connection.execute(
        text(f"SELECT count(*) FROM core.parcel WHERE {_DUE}"), {"shop_id": shop_id, "now": now, **_SPANS}
    )
    return int(count.scalar() or 0)


class WithoutNumber(NamedTuple):
    """Lines of an order that left without a number that could be one."""

    shop_id: str
    order_id: str
    item_ids: list[str]
    company: str | None
    shipped_at: datetime


def without_number(connection: Connection, shop_id: str, now: datetime, *, due: bool = False) -> list[WithoutNumber]:
    """Return the orders with such lines, the newest first. ``due``: only those that it is time to ask for again."""
    asked = """
        AND NOT EXISTS (SELECT FROM core.learnt_number n WHERE n.shop_id = :shop_id AND n.order_id = line.order_id
                        AND n.asked_at > :now - cast(:again AS interval))
    """
    rows = connection.execute(
        text(f"""
            SELECT order_id, array_agg(item_id ORDER BY item_id), max(company), min(shipped_at) FROM ({_LINES}) AS line
            WHERE number IS NULL AND NOT is_finished AND NOT is_closed {asked if due else ""}
            GROUP BY order_id ORDER BY 4 DESC, 1
        """),
        {"shop_id": shop_id, "since": now - FOLLOWED, "now": now, "again": NUMBER_AGAIN},
    )
    return [WithoutNumber(shop_id, *row) for row in rows]


def learn_numbers(
    connection: Connection,
    shop_id: str,
    order_id: str,
    numbers: Sequence[tuple[str, str | None, str | None]],
    now: datetime,
) -> None:
    """Note what the list of shipments says of an order's lines: (line, number, company)."""
    for item_id, number, company in numbers:
        connection.execute(
            text("""
                INSERT INTO core.learnt_number AS held (shop_id, order_id, item_id, tracking_number, company, asked_at)
                VALUES (:shop_id, :order_id, :item_id, :number, :company, :now)
                ON CONFLICT (shop_id, order_id, item_id) DO UPDATE SET
                    tracking_number = excluded.tracking_number, company = excluded.company, asked_at = excluded.asked_at
            """),
            {"shop_id": shop_id, "order_id": order_id, "item_id": item_id, "number": number, "company": company,
             "now": now},
        )  # fmt: skip


class Followed(NamedTuple):
    """How well a shop's parcels are followed.

    ``moving``: that may still change and were sent a day ago or longer; ``unknown``: of those, nobody knows where they
    are. ``failing``: without an answer the last time. Times: of the last attempt, and of the last that was answered.
    """

    shop_id: str
    moving: int
    unknown: int
    failing: int
    checked_at: datetime | None
    known_at: datetime | None
    last_problem: str | None


def followed(connection: Connection, shop_id: str, now: datetime) -> Followed:
    """Return how well the shop's parcels are followed."""
    row = connection.execute(
        text(f"""
            SELECT count(*) FILTER (WHERE contents = 'open' AND shipped_at < :now - interval '1 day'),
                   count(*) FILTER (WHERE contents = 'open' AND shipped_at < :now - interval '1 day'
                                          AND (known_at IS NULL OR is_untracked)),
                   count(*) FILTER (WHERE failures > 0), max(checked_at), max(known_at),
                   (array_agg(last_problem ORDER BY checked_at DESC) FILTER (WHERE failures > 0))[1]
            FROM core.parcel WHERE {_MOVES}
        """),
        {"shop_id": shop_id, "now": now, **_SPANS},
    ).one()
    return Followed(shop_id, *row)


def count_parcels(connection: Connection, shop_ids: Sequence[str]) -> int:
    """Return how many parcels the shops have in the table."""
    count = connection.execute(
        text("SELECT count(*) FROM core.parcel WHERE shop_id = ANY(:shop_ids)"), {"shop_ids": list(shop_ids)}
    )
    return int(count.scalar() or 0)


def parcel_rows(connection: Connection, shop_ids: Sequence[str], most: int) -> list[dict[str, Any]]:
    """Return the parcels that something was heard of last, for people to look at."""
    rows = connection.execute(
        text("""
            SELECT shop_id, tracking_number, coalesce(current_company, company) AS company,
                   cardinality(order_ids) AS orders, state, last_event_at, known_at
            FROM core.parcel WHERE shop_id = ANY(:shop_ids)
            ORDER BY last_event_at DESC NULLS LAST, tracking_number LIMIT :most
        """),
        {"shop_ids": list(shop_ids), "most": most},
    )
    return [dict(row) for row in rows.mappings()]
