"""Raw pages, messages and the log of calls by month, so that what is old goes in an instant; the worklists by shop; reserved stock from what waits."""

from typing import NamedTuple

from alembic import op
from sqlalchemy import text

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


class Log(NamedTuple):
    """A table that is split: its name in its schema, the column that says the month, and how it is made."""

    schema: str
    name: str
    moment: str
    columns: str
    key: str | None
    indexes: dict[str, str]


PAGE = Log(
    "raw",
    "page",
    "sent_at",
    """
    shop_id      text        NOT NULL,
    platform     text        NOT NULL,
    method       text        NOT NULL,
    channel      text        NOT NULL,
    window_start timestamptz,
    window_end   timestamptz,
    order_id     text,
    request_id   text,
    sent_at      timestamptz NOT NULL,
    stored_at    timestamptz NOT NULL DEFAULT now(),
    body         text        NOT NULL,
    refund_id    text
    """,
    # An append-only log: nothing refers to a row, and a key of its own would be a tenth of a packed page.
    None,
    {
        "page_window": "(shop_id, channel, window_start) WHERE window_start IS NOT NULL",
        "page_order": "(shop_id, order_id) WHERE order_id IS NOT NULL",
        "page_refund": "(shop_id, refund_id) WHERE refund_id IS NOT NULL",
    },
)
MESSAGE = Log(
    "raw",
    "message",
    "published_at",
    """
    app_key      text        NOT NULL,
    message_id   text        NOT NULL,
    platform     text        NOT NULL,
    shop_id      text,
    topic        text        NOT NULL,
    known_topic  boolean     NOT NULL,
    seller_id    text,
    seller_nick  text,
    published_at timestamptz NOT NULL,
    received_at  timestamptz NOT NULL,
    order_id     text,
    refund_id    text,
    content      text        NOT NULL,
    problem      text,
    deliveries   integer     NOT NULL DEFAULT 1,
    stored_at    timestamptz NOT NULL DEFAULT now()
    """,
    # A message keeps its time of publication however often it is delivered.
    "(app_key, message_id, published_at)",
    {
        "message_published": "(published_at)",
        "message_order": "(shop_id, order_id) WHERE order_id IS NOT NULL",
    },
)
CALL = Log(
    "sync",
    "call",
    "started_at",
    """
    shop_id    text             NOT NULL,
    method     text             NOT NULL,
    started_at timestamptz      NOT NULL,
    seconds    double precision NOT NULL,
    outcome    text             NOT NULL,
    code       text,
    request_id text
    """,
    None,
    {"call_started": "USING brin (started_at)"},
)
LOGS = (PAGE, MESSAGE, CALL)

COMMENTS = {
    "TABLE raw.page": "One answer a row: a page of a list, or one order or refund whole. A partition a month of sent_at.",
    "COLUMN raw.page.channel": "Which way it came: history, increments, detail, refunds, refund_detail.",
    "COLUMN raw.page.window_start": "The span that was asked for; empty for details.",
    "COLUMN raw.page.sent_at": "Platform time when the request left us: the answer holds every change up to then.",
    "COLUMN raw.page.body": "The JSON as it came, raw control characters escaped; query it as body::jsonb.",
    "TABLE raw.message": "One message a row, stored before the platform was told that it arrived. A partition a month of "
    "published_at.",
    "COLUMN raw.message.message_id": "The platform's number, unique for an app key; unreadable-...: it had none.",
    "COLUMN raw.message.shop_id": "Whose it is; empty: of a seller who has no shop in shops.yaml.",
    "COLUMN raw.message.known_topic": "Whether the topic is a documented one.",
    "COLUMN raw.message.published_at": "Platform time of publication; of receipt where it is missing or lies in the "
    "future.",
    "COLUMN raw.message.received_at": "Platform time of the first delivery.",
    "COLUMN raw.message.content": "What else it says, as JSON without personal data; query it as content::jsonb where "
    "problem is empty.",
    "COLUMN raw.message.problem": "Why it could not be read; lists and the nightly proof bring what it meant.",
    "COLUMN raw.message.deliveries": "How often it came.",
    "TABLE sync.call": "Every call to the platform, retries included: when, how long, what came of it. A partition a "
    "month of started_at.",
}

# lz4 packs faster than pglz and as small, but a server may be built without it, as the embedded one is. Before the
# partitions are made, which take it over.
COMPRESSION = """
DO $$
BEGIN
    ALTER TABLE raw.page ALTER COLUMN body SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
    NULL;
END
$$;
"""

# A shop's due work, longest due first, is what is asked for; with 100,000 shops in one table the others are not read.
WORKLISTS = """
CREATE INDEX pending_order_shop_due ON sync.pending_order (shop_id, due_at);
CREATE INDEX pending_refund_shop_due ON sync.pending_refund (shop_id, due_at);
DROP INDEX sync.pending_order_due, sync.pending_refund_due;
-- Emptied as fast as it is filled: its dead rows and index entries are what every look at it would wade through.
ALTER TABLE sync.pending_order SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000);
ALTER TABLE sync.pending_refund SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000);
-- Of three million rows the default (a fifth) is more than a month's changes: dead rows and old visibility until then.
ALTER TABLE core.orders SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE core.order_items SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE core.refunds SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
"""

# The same as before, but asked of the lines that wait (an index holds them) and not of every line ever sold: a
# filter on bi.order_items' own reserved_quantity looks at each, and at its refunds.
RESERVED = """
CREATE OR REPLACE VIEW bi.reserved_stock AS
SELECT i.shop_id, i.num_iid, i.sku_id, max(i.sku_code) AS sku_code,
       sum(i.quantity - r.refunded_quantity)::bigint AS reserved_quantity, count(*) AS lines
FROM core.order_items i
JOIN core.refunded_item r ON r.shop_id = i.shop_id AND r.order_id = i.order_id AND r.item_id = i.item_id
WHERE i.status IN ('WAIT_SELLER_SEND_GOODS', 'PAID_FORBID_CONSIGN') AND i.shipped_at IS NULL
  AND i.quantity > r.refunded_quantity
GROUP BY i.shop_id, i.num_iid, i.sku_id
"""
RESERVED_BEFORE = """
CREATE OR REPLACE VIEW bi.reserved_stock AS
SELECT shop_id, num_iid, sku_id, max(sku_code) AS sku_code, sum(reserved_quantity)::bigint AS reserved_quantity,
       count(*) AS lines
FROM bi.order_items
WHERE reserved_quantity > 0
GROUP BY shop_id, num_iid, sku_id
"""


def upgrade() -> None:
    for log in LOGS:
        _split(log)
    for target, words in COMMENTS.items():
        quoted = words.replace("'", "''")
        op.execute(f"COMMENT ON {target} IS '{quoted}'")
    op.execute(WORKLISTS)
    op.execute(RESERVED)


def _split(log: Log) -> None:
    """Make the table anew, by month. What it holds stays where it is, as the partition of everything up to now.

    Nothing is copied, whatever its size: it is read once, to be sure that it lies before the bound. Everything is in
    the migration's transaction, so a stop in between leaves the old table as it was.
    """
    table, before = f"{log.schema}.{log.name}", f"{log.name}_before"
    op.execute(f"ALTER TABLE {table} RENAME TO {before}")
    old = f"{log.schema}.{before}"
    _make_fit(log, old)
    op.execute(f"CREATE TABLE {table} ({log.columns}) PARTITION BY RANGE ({log.moment})")
    if log is PAGE:
        op.execute(COMPRESSION)
    if log.key:
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {log.name}_key PRIMARY KEY {log.key}")
    for name, definition in log.indexes.items():
        op.execute(f"CREATE INDEX {name} ON {table} {definition}")
    # Where rows go whose month nobody has made yet. Nothing is ever refused for want of a partition.
    op.execute(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT")
    bind = op.get_bind()
    if not bind.execute(text(f"SELECT EXISTS (SELECT FROM {old})")).scalar():
        op.execute(f"DROP TABLE {old}")
        return
    bound = bind.execute(
        text(
            f"SELECT (date_trunc('month', greatest(max({log.moment}), now()) AT TIME ZONE 'Asia/Shanghai') "
            f"+ interval '1 month') AT TIME ZONE 'Asia/Shanghai' FROM {old}"
        )
    ).scalar_one()
    op.execute(f"ALTER TABLE {table} ATTACH PARTITION {old} FOR VALUES FROM (MINVALUE) TO ('{bound.isoformat()}')")


def _make_fit(log: Log, old: str) -> None:
    """Give the old table the columns of the new one, and let go of the names of its indexes."""
    if log is PAGE:
        # With its index, which nothing ever used.
        op.execute(f"ALTER TABLE {old} DROP COLUMN page_id")
        op.execute("DROP INDEX raw.page_window")
    if log is MESSAGE:
        op.execute(f"ALTER TABLE {old} DROP CONSTRAINT message_pkey")
    for name in log.indexes:
        op.execute(f"ALTER INDEX IF EXISTS {log.schema}.{name} RENAME TO {name}_before")


def downgrade() -> None:
    op.execute(RESERVED_BEFORE)
    for log in LOGS:
        table, split = f"{log.schema}.{log.name}", f"{log.schema}.{log.name}_split"
        op.execute(f"ALTER TABLE {table} RENAME TO {log.name}_split")
        for name in log.indexes:
            op.execute(f"ALTER INDEX {log.schema}.{name} RENAME TO {name}_split")
        op.execute(f"CREATE TABLE {table} (LIKE {split} INCLUDING DEFAULTS INCLUDING COMMENTS INCLUDING COMPRESSION)")
        op.execute(f"INSERT INTO {table} SELECT * FROM {split}")
        op.execute(f"DROP TABLE {split}")
        for name, definition in log.indexes.items():
            op.execute(f"CREATE INDEX {name} ON {table} {definition}")
    op.execute("ALTER TABLE raw.page ADD COLUMN page_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY")
    op.execute("ALTER TABLE raw.message ADD CONSTRAINT message_pkey PRIMARY KEY (app_key, message_id)")
    op.execute("CREATE INDEX pending_order_due ON sync.pending_order (due_at)")
    op.execute("CREATE INDEX pending_refund_due ON sync.pending_refund (due_at)")
    op.execute("DROP INDEX sync.pending_order_shop_due, sync.pending_refund_shop_due")
    for worklist in ("sync.pending_order", "sync.pending_refund"):
        op.execute(f"ALTER TABLE {worklist} RESET (autovacuum_analyze_scale_factor, autovacuum_analyze_threshold)")
        op.execute(
            f"ALTER TABLE {worklist} SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000)"
        )
    for table in ("core.orders", "core.order_items", "core.refunds"):
        op.execute(f"ALTER TABLE {table} RESET (autovacuum_vacuum_scale_factor, autovacuum_analyze_scale_factor)")
