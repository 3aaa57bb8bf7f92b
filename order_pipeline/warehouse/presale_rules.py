"""What must hold of the holds, as queries for ``rules.breaches``; each reads open and recent lines only.

Belongs here: the invariants, said a second time and from other tables than the derivation, so that they can disagree
with it. Not here: what is done about a breach (assets/holds.py).
"""

from __future__ import annotations

from order_pipeline.warehouse.presale_holds import IS_PRESALE

_RECENT = "interval '2 days'"
# A version that was stored this lately may be newer than the hold, which is not wrong for that.
_SETTLED = "interval '10 minutes'"
_UNPAID = "('WAIT_BUYER_PAY', 'TRADE_NO_CREATE_PAY')"
_DEPOSIT = "('FRONT_PAID_FINAL_NOPAID', 'FRONT_PAID_FINAL_PAID')"

HOLD_RULES = {
    "the ledger of a line adds up to what it holds": f"""
        SELECT h.shop_id, h.order_id, h.item_id, h.held_quantity, h.reserved_quantity, s.held, s.reserved
        FROM core.presale_hold h
        CROSS JOIN LATERAL (
            SELECT coalesce(sum(e.held_change) FILTER (WHERE is_same), 0) AS held,
                   coalesce(sum(e.reserved_change) FILTER (WHERE is_same), 0) AS reserved,
                   coalesce(sum(e.held_change) FILTER (WHERE NOT is_same), 0) AS held_of_others,
                   coalesce(sum(e.reserved_change) FILTER (WHERE NOT is_same), 0) AS reserved_of_others
            FROM (SELECT *, num_iid = h.num_iid AND sku_id = h.sku_id AS is_same FROM core.presale_hold_entry) e
            WHERE e.shop_id = h.shop_id AND e.order_id = h.order_id AND e.item_id = h.item_id
        ) s
        WHERE (h.held_quantity > 0 OR h.reserved_quantity > 0 OR h.changed_at > now() - {_RECENT})
          AND (h.held_quantity, h.reserved_quantity, 0, 0)
              IS DISTINCT FROM (s.held, s.reserved, s.held_of_others, s.reserved_of_others)
    """,
    "no entry leaves less than nothing": f"""
        SELECT shop_id, order_id, item_id, entry_id, held, reserved FROM (
            SELECT e.*, sum(held_change) OVER so_far AS held, sum(reserved_change) OVER so_far AS reserved
            FROM core.presale_hold_entry e
            WHERE (shop_id, order_id, item_id) IN (
                SELECT shop_id, order_id, item_id FROM core.presale_hold_entry WHERE recorded_at > now() - {_RECENT}
            )
            WINDOW so_far AS (PARTITION BY shop_id, order_id, item_id, num_iid, sku_id ORDER BY entry_id)
        ) AS running
        WHERE held < 0 OR reserved < 0
    """,
    "what is held is what open deposits ordered": f"""
        WITH deposit AS (
            SELECT o.shop_id, o.order_id, i.item_id, greatest(i.quantity - n.refunded_quantity, 0) AS pieces
            FROM core.orders o
            JOIN core.order_items i ON i.shop_id = o.shop_id AND i.order_id = o.order_id
            JOIN core.refunded_item n ON n.shop_id = i.shop_id AND n.order_id = i.order_id AND n.item_id = i.item_id
            WHERE o.step_status IN {_DEPOSIT} AND o.status IN {_UNPAID}
              AND coalesce(i.status, o.status) IN {_UNPAID} AND i.shipped_at IS NULL
        ), hold AS (
            SELECT shop_id, order_id, item_id, held_quantity FROM core.presale_hold WHERE held_quantity > 0
        )
        SELECT shop_id, order_id, item_id, d.pieces AS open_deposit, h.held_quantity AS held
        FROM deposit d FULL JOIN hold h USING (shop_id, order_id, item_id)
        WHERE coalesce(d.pieces, 0) <> coalesce(h.held_quantity, 0)
          AND NOT EXISTS (
              SELECT FROM core.orders o
              LEFT JOIN core.presale_hold v ON v.shop_id = o.shop_id AND v.order_id = o.order_id
                  AND v.item_id = coalesce(d.item_id, h.item_id)
              LEFT JOIN LATERAL (
                  SELECT max(modified_at) AS modified_at, max(stored_at) AS stored_at FROM core.refunds
                  WHERE shop_id = o.shop_id AND item_id = coalesce(d.item_id, h.item_id)
              ) r ON true
              WHERE o.shop_id = coalesce(d.shop_id, h.shop_id) AND o.order_id = coalesce(d.order_id, h.order_id)
                AND greatest(o.stored_at, r.stored_at) > now() - {_SETTLED}
                AND (v.order_modified_at, v.order_sent_at, v.refunds_modified_at)
                    IS DISTINCT FROM (o.modified_at, o.sent_at, r.modified_at)
          )
    """,
}

WORDS = {
    "a pre-sale's payment stands where the platform's documentation knows": f"""
        SELECT shop_id, order_id, status, step_status FROM core.orders
        WHERE ({IS_PRESALE}) AND stored_at > now() - {_RECENT}
          AND step_status NOT IN ('FRONT_NOPAID_FINAL_NOPAID', 'FRONT_PAID_FINAL_NOPAID', 'FRONT_PAID_FINAL_PAID',
                                  'FRONT_PAID_FRONT_FORFEITED')
    """,
}
