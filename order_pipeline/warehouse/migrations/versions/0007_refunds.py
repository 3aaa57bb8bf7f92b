"""Refunds: their rows, worklist and proofs, what they take off an order's line, and the stock that paid lines reserve."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

CORE = """
CREATE TABLE core.refunds (
    shop_id                text           NOT NULL,
    refund_id              text           NOT NULL,
    platform               text           NOT NULL,
    order_id               text,
    item_id                text,
    status                 text           NOT NULL,
    order_status           text,
    dispute_type           text,
    phase                  text,
    good_status            text,
    has_good_return        boolean,
    refund_fee             numeric(18, 2),
    remaining_payment      numeric(18, 2),
    total_fee              numeric(18, 2),
    price                  numeric(18, 2),
    quantity               integer,
    num_iid                text,
    sku                    text,
    sku_code               text,
    title                  text,
    reason                 text,
    description            text,
    created_at             timestamptz    NOT NULL,
    modified_at            timestamptz    NOT NULL,
    goods_returned_at      timestamptz,
    ended_at               timestamptz,
    return_company         text,
    return_tracking_number text,
    cs_status              integer,
    advance_status         integer,
    extra                  jsonb          NOT NULL,
    sent_at                timestamptz    NOT NULL,
    source                 text           NOT NULL,
    detail_modified_at     timestamptz,
    stored_at              timestamptz    NOT NULL DEFAULT now(),
    PRIMARY KEY (shop_id, refund_id)
) WITH (fillfactor = 85);
CREATE INDEX refunds_modified ON core.refunds (shop_id, modified_at);
CREATE INDEX refunds_item ON core.refunds (shop_id, item_id);
CREATE INDEX refunds_order ON core.refunds (shop_id, order_id);
COMMENT ON TABLE core.refunds IS 'One row a refund. A row changes only for a newer (modified_at, sent_at). No foreign key: it may come before its order.';
COMMENT ON COLUMN core.refunds.remaining_payment IS 'What stays with the seller, as the platform says.';
COMMENT ON COLUMN core.refunds.description IS 'The buyer''s words.';
COMMENT ON COLUMN core.refunds.extra IS 'Every field of the answer that has no column, as it came.';
COMMENT ON COLUMN core.refunds.sent_at IS 'Platform time when the request behind this version left us.';
COMMENT ON COLUMN core.refunds.source IS 'What the row was last written from: list or detail.';
COMMENT ON COLUMN core.refunds.detail_modified_at IS 'modified_at of the newest detail that was loaded; empty: none yet.';
"""

SYNC = """
CREATE TABLE sync.pending_refund (
    shop_id       text        NOT NULL,
    refund_id     text        NOT NULL,
    seen_modified timestamptz NOT NULL,
    channel       text        NOT NULL,
    version       integer     NOT NULL DEFAULT 1,
    said_at       timestamptz NOT NULL DEFAULT now(),
    due_at        timestamptz NOT NULL DEFAULT now(),
    attempts      integer     NOT NULL DEFAULT 0,
    leased_by     integer,
    leased_until  timestamptz,
    last_problem  text,
    announced_at  timestamptz,
    PRIMARY KEY (shop_id, refund_id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
CREATE INDEX pending_refund_due ON sync.pending_refund (due_at);
COMMENT ON TABLE sync.pending_refund IS 'The worklist of refunds; columns as in sync.pending_order.';

ALTER TABLE raw.page ADD COLUMN refund_id text;
CREATE INDEX page_refund ON raw.page (shop_id, refund_id) WHERE refund_id IS NOT NULL;

ALTER TABLE sync.quarantine ADD COLUMN refund_id text, ADD COLUMN subject text NOT NULL DEFAULT 'orders';
CREATE INDEX quarantine_open_refund ON sync.quarantine (shop_id, refund_id)
    WHERE resolved_at IS NULL AND refund_id IS NOT NULL;
COMMENT ON COLUMN sync.quarantine.subject IS 'What it should have been: orders or refunds.';

ALTER TABLE sync.reconciliation ADD COLUMN subject text NOT NULL DEFAULT 'orders';
COMMENT ON TABLE sync.reconciliation IS
    'One row a proof of a shop''s day: orders by creation, refunds by modification; all are kept, the latest counts.';
"""

PROOFS = """
CREATE OR REPLACE VIEW bi.reconciliation AS
SELECT DISTINCT ON (shop_id, day)
       shop_id, day, equal, expected, found, missing, stale, extra, quarantined, refilled, unsettled,
       rounds, calls, seconds, listed, totals, reconciled_at
FROM sync.reconciliation WHERE subject = 'orders'
ORDER BY shop_id, day, reconciled_at DESC;

CREATE VIEW bi.refund_reconciliation AS
SELECT DISTINCT ON (shop_id, day)
       shop_id, day, equal, expected, found, missing, stale, extra, quarantined, refilled, unsettled,
       rounds, calls, seconds, listed, totals, reconciled_at
FROM sync.reconciliation WHERE subject = 'refunds'
ORDER BY shop_id, day, reconciled_at DESC;
"""

# The same rule as insights/refunding.py, which says why; a test holds them together.
REFUNDED = """
CREATE VIEW core.refunded_item AS
SELECT i.shop_id, i.order_id, i.item_id, r.refunds,
       CASE WHEN i.shipped_at IS NULL AND (i.status = 'TRADE_CLOSED' OR r.unsent_money >= p.paid AND r.unsent_money > 0)
            THEN i.quantity
            ELSE least(r.quantity, i.quantity)::integer END AS refunded_quantity,
       least(r.money, p.paid)::numeric(18, 2) AS refunded_payment,
       p.paid
FROM core.order_items i
CROSS JOIN LATERAL (SELECT coalesce(i.divided_payment, i.payment, 0) AS paid) p
CROSS JOIN LATERAL (
    SELECT count(*) AS refunds, coalesce(sum(f.fee), 0) AS money,
           coalesce(sum(f.fee) FILTER (WHERE NOT f.back AND f.unsent), 0) AS unsent_money,
           coalesce(sum(f.pieces) FILTER (
               WHERE f.back OR f.unsent AND (f.fee > 0 OR p.paid = 0)
                                        AND (f.fee + 0.01) * i.quantity >= p.paid * f.pieces
           ), 0) AS quantity
    FROM (
        SELECT coalesce(r.refund_fee, 0) AS fee, coalesce(r.quantity, i.quantity) AS pieces,
               coalesce(r.has_good_return, false) OR coalesce(r.good_status, '') = 'BUYER_RETURNED_GOODS' AS back,
               coalesce(r.good_status, 'BUYER_NOT_RECEIVED') = 'BUYER_NOT_RECEIVED' AS unsent
        FROM core.refunds r
        WHERE r.shop_id = i.shop_id AND r.item_id = i.item_id AND r.status = 'SUCCESS'
          AND coalesce(r.dispute_type, '') NOT IN ('TMALL_EXCHANGE', 'TAOBAO_EXCHANGE', 'REPAIR', 'RESHIPPING')
    ) f
) r;
COMMENT ON VIEW core.refunded_item IS 'What successful refunds take off each line: pieces and money, never more than it has.';
"""

BI = """
CREATE VIEW bi.refunds AS
SELECT shop_id, refund_id, platform, order_id, item_id, status, dispute_type, phase, good_status, has_good_return,
       refund_fee, remaining_payment, total_fee, price, quantity, num_iid, sku_code, title, order_status, reason,
       created_at, modified_at, goods_returned_at, ended_at, return_company, return_tracking_number, cs_status
FROM core.refunds;

CREATE OR REPLACE VIEW bi.order_items AS
SELECT i.shop_id, i.order_id, i.item_id, i.sku_code, i.num_iid, i.sku_id, i.title, i.sku_properties, i.category_id,
       i.quantity, i.price, i.total_fee, i.discount_fee, i.adjust_fee, i.payment, i.divided_payment, i.status,
       i.refund_status, i.refund_id, i.shipped_at, i.ended_at, i.logistics_company, i.tracking_number,
       r.refunded_quantity, r.refunded_payment,
       i.quantity - r.refunded_quantity AS net_quantity,
       (r.paid - r.refunded_payment)::numeric(18, 2) AS net_payment,
       CASE WHEN i.status IN ('WAIT_SELLER_SEND_GOODS', 'PAID_FORBID_CONSIGN') AND i.shipped_at IS NULL
            THEN i.quantity - r.refunded_quantity ELSE 0 END AS reserved_quantity
FROM core.order_items i
JOIN core.refunded_item r ON r.shop_id = i.shop_id AND r.order_id = i.order_id AND r.item_id = i.item_id;

CREATE VIEW bi.reserved_stock AS
SELECT shop_id, num_iid, sku_id, max(sku_code) AS sku_code, sum(reserved_quantity)::bigint AS reserved_quantity,
       count(*) AS lines
FROM bi.order_items
WHERE reserved_quantity > 0
GROUP BY shop_id, num_iid, sku_id;
"""

_PROOF_COMMENTS: dict[str | None, str] = {
    None: "The latest proof of each day of change: are the refunds equal to the platform's?",
    "shop_id": "Your name of the shop (shops.yaml).",
    "day": "Day on which the refunds last changed, Asia/Shanghai.",
    "equal": "At the end of the proof, every refund of the day was as the platform had it.",
    "expected": "Refunds that the platform says last changed that day.",
    "found": "Of those, and of those held as of that day, the refunds that the table held before anything was mended.",
    "missing": "Refunds that the table lacked, those in quarantine included.",
    "stale": "Refunds held in an older version, without their details, or not as the platform said.",
    "extra": "Refunds held as of that day that the platform does not list there.",
    "quarantined": "Of the missing, those that could not be read or loaded and wait in quarantine.",
    "refilled": "Refunds of the missing, stale and extra that were mended by fetching them anew.",
    "unsettled": "Refunds that still differed at the end.",
    "rounds": "How often refunds were fetched anew and compared again.",
    "calls": "Calls to the platform that the proof took.",
    "seconds": "How long it took.",
    "listed": "True: compared refund by refund. False: totals by status agreed, and every row is as it was answered.",
    "totals": "Refunds by status as the platform counts them and as the table held them.",
    "reconciled_at": "When the proof ended.",
}
COMMENTS: dict[str, dict[str | None, str]] = {
    "bi.refund_reconciliation": _PROOF_COMMENTS,
    "bi.refunds": {
        None: "One row a refund, as the platform has it now. A line can have several; bi.order_items has their sum.",
        "shop_id": "Your name of the shop (shops.yaml).",
        "refund_id": "The platform's id of the refund, as text.",
        "platform": "The marketplace: taobao.",
        "order_id": "The order; it may be missing from bi.orders for a moment, as a refund can come first.",
        "item_id": "The order line that it is of (oid).",
        "status": "Where it stands, in the platform's words; SUCCESS: the money went back. CLOSED can be opened again.",
        "dispute_type": "REFUND, REFUND_AND_RETURN, TMALL_EXCHANGE, TAOBAO_EXCHANGE, REPAIR, RESHIPPING or OTHERS.",
        "phase": "onsale: before the trade succeeded, aftersale: after it.",
        "good_status": "BUYER_NOT_RECEIVED, BUYER_RECEIVED or BUYER_RETURNED_GOODS.",
        "has_good_return": "Whether goods have to come back.",
        "refund_fee": "Money that goes back or is asked for, yuan.",
        "remaining_payment": "What stays with the seller, yuan.",
        "total_fee": "The line's total, yuan.",
        "price": "Price of one piece, yuan.",
        "quantity": "Pieces that it is of; with money only none of them comes back.",
        "num_iid": "The platform's id of the item.",
        "sku_code": "Your own code (outer_id).",
        "title": "The item's title when it was ordered.",
        "order_status": "Where the order stood at that time.",
        "reason": "Why, from the platform's list of reasons.",
        "created_at": "When the buyer asked for it.",
        "modified_at": "When anything about it last changed.",
        "goods_returned_at": "When the buyer sent the goods back.",
        "ended_at": "When it ended.",
        "return_company": "The carrier of the goods that come back.",
        "return_tracking_number": "Their waybill.",
        "cs_status": "The platform's arbitration: 1 none, 2 needed, 3 involved, 4 first review done, 6 done, 8 for the buyer, 9 for the seller.",
    },
    "bi.order_items": {
        "refunded_quantity": "Pieces that successful refunds brought back, or that were never sent; never more than quantity.",
        "refunded_payment": "Money that successful refunds gave back, yuan; never more than was paid for the line.",
        "net_quantity": "quantity - refunded_quantity.",
        "net_payment": "What was paid for the line (divided_payment, else payment) - refunded_payment, yuan.",
        "reserved_quantity": "Pieces that are paid (or cash on delivery), not sent yet, not refunded and not closed.",
    },
    "bi.reserved_stock": {
        None: "Pieces that wait to be sent, by SKU: what is on hand minus this can be sold.",
        "shop_id": "Your name of the shop (shops.yaml).",
        "num_iid": "The platform's id of the item.",
        "sku_id": "The platform's id of the SKU; empty for items without SKUs.",
        "sku_code": "Your own code.",
        "reserved_quantity": "Pieces reserved.",
        "lines": "Order lines that reserve them.",
    },
}


# What the views were before; their comments went with them.
OLD_VIEWS = """
CREATE VIEW bi.reconciliation AS
SELECT DISTINCT ON (shop_id, day)
       shop_id, day, equal, expected, found, missing, stale, extra, quarantined, refilled, unsettled,
       rounds, calls, seconds, listed, totals, reconciled_at
FROM sync.reconciliation
ORDER BY shop_id, day, reconciled_at DESC;

CREATE VIEW bi.order_items AS
SELECT shop_id, order_id, item_id, sku_code, num_iid, sku_id, title, sku_properties, category_id, quantity, price,
       total_fee, discount_fee, adjust_fee, payment, divided_payment, status, refund_status, refund_id,
       shipped_at, ended_at, logistics_company, tracking_number
FROM core.order_items;
"""


def upgrade() -> None:
    for script in (CORE, SYNC, PROOFS, REFUNDED, BI):
        op.execute(script)
    for view, texts in COMMENTS.items():
        for column, text in texts.items():
            target = f"VIEW {view}" if column is None else f"COLUMN {view}.{column}"
            quoted = text.replace("'", "''")
            op.execute(f"COMMENT ON {target} IS '{quoted}'")


def downgrade() -> None:
    op.execute("DROP VIEW bi.reserved_stock, bi.refunds, bi.refund_reconciliation")
    op.execute("DROP VIEW bi.order_items")
    op.execute("DROP VIEW core.refunded_item")
    op.execute("DELETE FROM sync.reconciliation WHERE subject = 'refunds'")
    op.execute("DELETE FROM sync.quarantine WHERE subject = 'refunds'")
    op.execute("DROP VIEW bi.reconciliation")
    op.execute("ALTER TABLE sync.reconciliation DROP COLUMN subject")
    op.execute("ALTER TABLE sync.quarantine DROP COLUMN refund_id, DROP COLUMN subject")
    op.execute("ALTER TABLE raw.page DROP COLUMN refund_id")
    op.execute("DROP TABLE sync.pending_refund, core.refunds")
    op.execute(OLD_VIEWS)
