"""Addressees in a schema of their own, how fresh the tables are, and indexes for what BI asks."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

PERSONAL = """
CREATE SCHEMA personal;
COMMENT ON SCHEMA personal IS 'Data about people, of shops that keep it (keep_personal_data in shops.yaml); nowhere else is any.';

CREATE TABLE personal.order_receiver (
    shop_id      text        NOT NULL,
    order_id     text        NOT NULL,
    modified_at  timestamptz,
    sent_at      timestamptz,
    buyer_nick   text,
    name         text,
    mobile       text,
    phone        text,
    address      text,
    town         text,
    zip          text,
    oaid         text,
    forgotten_at timestamptz,
    PRIMARY KEY (shop_id, order_id)
);
"""

FRESHNESS = """
CREATE VIEW bi.freshness AS
SELECT w.shop_id, s.subject, w.began_at AS following_since, w.position AS complete_until, w.updated_at AS looked_at,
       s.details_waiting, s.oldest_waiting_since
FROM sync.watermark w
CROSS JOIN LATERAL (
    SELECT 'orders' AS subject, count(*) AS details_waiting, min(p.said_at) AS oldest_waiting_since
    FROM sync.pending_order p WHERE w.channel = 'increments' AND p.shop_id = w.shop_id AND p.due_at < 'infinity'
    UNION ALL
    SELECT 'refunds', count(*), min(p.said_at)
    FROM sync.pending_refund p WHERE w.channel = 'refunds' AND p.shop_id = w.shop_id AND p.due_at < 'infinity'
) s
WHERE w.channel = CASE s.subject WHEN 'orders' THEN 'increments' ELSE 'refunds' END;
"""

# By day of payment as bi.daily_sales spells it, so that a span of days reads just its orders; by status; by SKU.
INDEXES = """
CREATE INDEX orders_paid_day ON core.orders (shop_id, ((paid_at AT TIME ZONE 'Asia/Shanghai')::date))
    WHERE paid_at IS NOT NULL;
-- Without what has ended: nearly all orders, which nobody asks for by status alone.
CREATE INDEX orders_status ON core.orders (shop_id, status, created_at)
    WHERE status NOT IN ('TRADE_FINISHED', 'TRADE_CLOSED', 'TRADE_CLOSED_BY_TAOBAO');
CREATE INDEX order_items_sku ON core.order_items (shop_id, sku_code) WHERE sku_code IS NOT NULL;
"""

COMMENTS: dict[str, dict[str | None, str]] = {
    "bi.freshness": {
        None: "How fresh the tables are, one row a shop and subject. What happened up to complete_until is all there.",
        "shop_id": "Your name of the shop (shops.yaml).",
        "subject": "orders or refunds.",
        "following_since": "Changes are followed from then on; what is older came with the first load.",
        "complete_until": "Every change up to then is in the tables. Later rows may be there too, but not all of them.",
        "looked_at": "When that was last moved on.",
        "details_waiting": "Rows that show what a list said, and whose details are still to be fetched.",
        "oldest_waiting_since": "Since when the oldest of them waits.",
    },
    "personal.order_receiver": {
        None: "The addressee of an order as the platform shows it to the seller, mostly masked. Read by personal_reader.",
        "shop_id": "Your name of the shop (shops.yaml).",
        "order_id": "The order; joins bi.orders on shop_id, order_id.",
        "modified_at": "modified_at of the order in the version that this was read from.",
        "sent_at": "Platform time when it was asked for.",
        "buyer_nick": "The buyer's account name, masked.",
        "name": "Name on the parcel, masked.",
        "mobile": "Mobile number, masked.",
        "phone": "Landline number, masked.",
        "address": "Street and house, masked.",
        "town": "Town or street committee.",
        "zip": "Postal code.",
        "oaid": "The platform's token of the addressee, by which waybills are printed; changes weekly.",
        "forgotten_at": "When it was deleted by name (order-pipeline forget); it stays away from then on.",
    },
}

# A server that others administrate may not let us create roles: the tables work without, so it is no reason to stop.
READER = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'personal_reader') THEN
        BEGIN
            CREATE ROLE personal_reader NOLOGIN;
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE WARNING 'role personal_reader was not created: the database user lacks CREATEROLE';
            RETURN;
        END;
    END IF;
    GRANT USAGE ON SCHEMA personal TO personal_reader;
    GRANT SELECT ON ALL TABLES IN SCHEMA personal TO personal_reader;
    ALTER DEFAULT PRIVILEGES IN SCHEMA personal GRANT SELECT ON TABLES TO personal_reader;
END
$$;
"""


def upgrade() -> None:
    for script in (PERSONAL, FRESHNESS, INDEXES):
        op.execute(script)
    for relation, texts in COMMENTS.items():
        kind = "VIEW" if relation.startswith("bi.") else "TABLE"
        for column, text in texts.items():
            target = f"{kind} {relation}" if column is None else f"COLUMN {relation}.{column}"
            quoted = text.replace("'", "''")
            op.execute(f"COMMENT ON {target} IS '{quoted}'")
    op.execute(READER)


def downgrade() -> None:
    op.execute("DROP INDEX core.orders_paid_day, core.orders_status, core.order_items_sku")
    op.execute("DROP VIEW bi.freshness")
    op.execute("DROP SCHEMA personal CASCADE")
