"""Raw pages, the sync tables, orders with their lines, and the first BI views."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

RAW = """
CREATE SCHEMA raw;
COMMENT ON SCHEMA raw IS 'Every answer of the platform that carries data, as it came; all below can be rebuilt from it.';

CREATE TABLE raw.page (
    page_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
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
    -- Text, not jsonb: jsonb refuses NUL escapes and lone surrogates, forgets key order and costs a parse a page.
    -- Cast it where it is queried: body::jsonb.
    body         text        NOT NULL
);
CREATE INDEX page_window ON raw.page (shop_id, channel, window_start);
CREATE INDEX page_order ON raw.page (shop_id, order_id) WHERE order_id IS NOT NULL;
COMMENT ON TABLE raw.page IS 'One answer a row: a page of a list, or one order whole.';
COMMENT ON COLUMN raw.page.channel IS 'Which way it came: history, increments or detail.';
COMMENT ON COLUMN raw.page.window_start IS 'The span that was asked for; empty for details.';
COMMENT ON COLUMN raw.page.sent_at IS 'Platform time when the request left us: the answer holds every change up to then.';
COMMENT ON COLUMN raw.page.body IS 'The JSON as it came, raw control characters escaped; query it as body::jsonb.';
"""

SYNC = """
CREATE TABLE sync.watermark (
    shop_id    text        NOT NULL,
    channel    text        NOT NULL,
    began_at   timestamptz NOT NULL,
    position   timestamptz NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shop_id, channel)
);
COMMENT ON TABLE sync.watermark IS 'Everything that changed up to position is in the tables; written with the rows, never moved back.';

CREATE TABLE sync.history_day (
    shop_id   text        NOT NULL,
    day       date        NOT NULL,
    orders    integer     NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shop_id, day)
);
COMMENT ON TABLE sync.history_day IS 'Created-days (Asia/Shanghai) that the first load has brought in whole.';

CREATE TABLE sync.pending_order (
    shop_id       text        NOT NULL,
    order_id      text        NOT NULL,
    seen_modified timestamptz NOT NULL,
    channel       text        NOT NULL,
    version       integer     NOT NULL DEFAULT 1,
    said_at       timestamptz NOT NULL DEFAULT now(),
    due_at        timestamptz NOT NULL DEFAULT now(),
    attempts      integer     NOT NULL DEFAULT 0,
    leased_by     integer,
    leased_until  timestamptz,
    last_problem  text,
    PRIMARY KEY (shop_id, order_id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
CREATE INDEX pending_order_due ON sync.pending_order (due_at);
COMMENT ON TABLE sync.pending_order IS 'The worklist: orders that somebody said have changed and whose details are not fetched yet.';
COMMENT ON COLUMN sync.pending_order.version IS 'Grows with every newer say; a worker clears only the version it took.';
COMMENT ON COLUMN sync.pending_order.due_at IS 'Not before; infinity: the platform does not serve the details, waiting for a newer say.';
COMMENT ON COLUMN sync.pending_order.leased_by IS 'The worker that is at it: key of the advisory lock that it holds while it lives.';

CREATE TABLE sync.quarantine (
    quarantine_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id       text        NOT NULL,
    platform      text        NOT NULL,
    channel       text        NOT NULL,
    order_id      text,
    modified_at   timestamptz,
    reason        text        NOT NULL,
    body          text        NOT NULL,
    fingerprint   text        NOT NULL,
    sent_at       timestamptz NOT NULL,
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    last_seen_at  timestamptz NOT NULL DEFAULT now(),
    times_seen    integer     NOT NULL DEFAULT 1,
    resolved_at   timestamptz,
    resolution    text,
    UNIQUE (shop_id, channel, fingerprint)
);
CREATE INDEX quarantine_open ON sync.quarantine (shop_id, order_id) WHERE resolved_at IS NULL;
COMMENT ON TABLE sync.quarantine IS 'Records that could not be read or loaded, whole and with the reason; open until resolved_at is set.';

CREATE TABLE sync.call (
    shop_id    text             NOT NULL,
    method     text             NOT NULL,
    started_at timestamptz      NOT NULL,
    seconds    double precision NOT NULL,
    outcome    text             NOT NULL,
    code       text,
    request_id text
);
CREATE INDEX call_started ON sync.call USING brin (started_at);
COMMENT ON TABLE sync.call IS 'Every call to the platform, retries included: when, how long, what came of it.';
"""

# lz4 packs faster than pglz, but a server may be built without it, as the embedded one is.
COMPRESSION = """
DO $$
BEGIN
    ALTER TABLE raw.page ALTER COLUMN body SET COMPRESSION lz4;
    ALTER TABLE sync.quarantine ALTER COLUMN body SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
    NULL;
END
$$;
"""

CORE = """
CREATE SCHEMA core;
COMMENT ON SCHEMA core IS 'The platform''s orders as they are now; written by the pipeline only.';

CREATE TABLE core.orders (
    shop_id            text           NOT NULL,
    order_id           text           NOT NULL,
    platform           text           NOT NULL,
    status             text           NOT NULL,
    type               text,
    created_at         timestamptz    NOT NULL,
    paid_at            timestamptz,
    shipped_at         timestamptz,
    ended_at           timestamptz,
    modified_at        timestamptz    NOT NULL,
    payment            numeric(18, 2),
    total_fee          numeric(18, 2),
    discount_fee       numeric(18, 2),
    adjust_fee         numeric(18, 2),
    post_fee           numeric(18, 2),
    received_payment   numeric(18, 2),
    step_status        text,
    step_paid_fee      numeric(18, 2),
    promised_ship_at   timestamptz,
    shipping_type      text,
    seller_flag        integer,
    buyer_open_uid     text,
    receiver_state     text,
    receiver_city      text,
    receiver_district  text,
    buyer_message      text,
    seller_memo        text,
    trade_from         text,
    extra              jsonb          NOT NULL,
    sent_at            timestamptz    NOT NULL,
    source             text           NOT NULL,
    detail_modified_at timestamptz,
    stored_at          timestamptz    NOT NULL DEFAULT now(),
    PRIMARY KEY (shop_id, order_id)
) WITH (fillfactor = 85);
CREATE INDEX orders_created ON core.orders (shop_id, created_at);
CREATE INDEX orders_modified ON core.orders (shop_id, modified_at);
CREATE INDEX orders_paid ON core.orders (shop_id, paid_at) WHERE paid_at IS NOT NULL;
COMMENT ON TABLE core.orders IS 'One row an order. A row changes only for a newer (modified_at, sent_at).';
COMMENT ON COLUMN core.orders.extra IS 'Every field of the answer that has no column, as it came.';
COMMENT ON COLUMN core.orders.sent_at IS 'Platform time when the request behind this version left us.';
COMMENT ON COLUMN core.orders.source IS 'What the row was last written from: list or detail.';
COMMENT ON COLUMN core.orders.detail_modified_at IS 'modified_at of the newest detail that was loaded; empty: none yet.';

CREATE TABLE core.order_items (
    shop_id           text           NOT NULL,
    order_id          text           NOT NULL,
    item_id           text           NOT NULL,
    num_iid           text,
    sku_id            text,
    sku_code          text,
    title             text,
    sku_properties    text,
    category_id       text,
    quantity          integer        NOT NULL,
    price             numeric(18, 2),
    total_fee         numeric(18, 2),
    discount_fee      numeric(18, 2),
    adjust_fee        numeric(18, 2),
    payment           numeric(18, 2),
    divided_payment   numeric(18, 2),
    status            text,
    refund_status     text,
    refund_id         text,
    shipped_at        timestamptz,
    ended_at          timestamptz,
    logistics_company text,
    tracking_number   text,
    extra             jsonb          NOT NULL,
    PRIMARY KEY (shop_id, order_id, item_id)
) WITH (fillfactor = 85);
COMMENT ON TABLE core.order_items IS 'The lines of each order, replaced together with it.';
"""

BI = """
CREATE SCHEMA bi;
COMMENT ON SCHEMA bi IS 'What BI reads: stable views without personal data.';

CREATE VIEW bi.orders AS
SELECT shop_id, platform, order_id, status, type, payment, total_fee, discount_fee, adjust_fee, post_fee,
       received_payment, step_status, step_paid_fee, created_at, paid_at, shipped_at, ended_at, modified_at,
       promised_ship_at, shipping_type, seller_flag, trade_from, buyer_open_uid,
       receiver_state, receiver_city, receiver_district
FROM core.orders;

CREATE VIEW bi.order_items AS
SELECT shop_id, order_id, item_id, sku_code, num_iid, sku_id, title, sku_properties, category_id, quantity, price,
       total_fee, discount_fee, adjust_fee, payment, divided_payment, status, refund_status, refund_id,
       shipped_at, ended_at, logistics_company, tracking_number
FROM core.order_items;

CREATE VIEW bi.daily_sales AS
SELECT o.shop_id, (o.paid_at AT TIME ZONE 'Asia/Shanghai')::date AS day, count(*) AS orders,
       coalesce(sum(i.quantity), 0) AS quantity, coalesce(sum(o.payment), 0) AS payment
FROM core.orders o
LEFT JOIN LATERAL (
    SELECT sum(l.quantity) AS quantity FROM core.order_items l
    WHERE l.shop_id = o.shop_id AND l.order_id = o.order_id
) i ON true
WHERE o.paid_at IS NOT NULL
GROUP BY o.shop_id, day;
"""

COMMENTS = {
    "bi.orders": {
        None: "One row an order, as the platform has it now. Times are absolute; the platform's day is Asia/Shanghai's.",
        "shop_id": "Your name of the shop (shops.yaml).",
        "platform": "The marketplace: taobao.",
        "order_id": "The platform's main order id, as text: 19 digits do not fit a double.",
        "status": "Where the order stands, in the platform's words, e.g. WAIT_SELLER_SEND_GOODS.",
        "type": "Kind of trade in the platform's words, e.g. fixed, step (pre-sale), cod.",
        "payment": "What the buyer pays or paid, yuan.",
        "total_fee": "Sum of price times quantity over the lines, yuan.",
        "discount_fee": "Discount on the order, yuan.",
        "adjust_fee": "Price change by hand, yuan; 0 for orders of several lines.",
        "post_fee": "Postage, yuan.",
        "received_payment": "Paid out to the seller so far, yuan.",
        "step_status": "Pre-sale only: where deposit and final payment stand.",
        "step_paid_fee": "Pre-sale only: paid so far, yuan.",
        "created_at": "When the buyer placed the order.",
        "paid_at": "When it was paid; empty: not yet.",
        "shipped_at": "When it was shipped; empty: not yet.",
        "ended_at": "When it was finished or closed; empty: still open.",
        "modified_at": "When anything about it last changed.",
        "promised_ship_at": "Promised to be shipped by then, mainly pre-sales.",
        "shipping_type": "Way of shipping in the platform's words, fixed when the order is placed.",
        "seller_flag": "The seller's coloured flag: 0 none, 1 red, 2 yellow, 3 green, 4 blue, 5 purple.",
        "trade_from": "Where the order came from in the platform's words, comma-joined, e.g. WAP.",
        "buyer_open_uid": "The buyer under this app, without saying who it is; use it to count buyers.",
        "receiver_state": "Province it goes to.",
        "receiver_city": "City it goes to.",
        "receiver_district": "District it goes to; counties run by their province have only this.",
    },
    "bi.order_items": {
        None: "One row an order line. Joins bi.orders on shop_id, order_id.",
        "shop_id": "Your name of the shop (shops.yaml).",
        "order_id": "The order it belongs to.",
        "item_id": "The platform's id of the line (oid); equals order_id when there is one line.",
        "sku_code": "Your own code: the SKU's (outer_sku_id), else the item's (outer_iid).",
        "num_iid": "The platform's id of the item.",
        "sku_id": "The platform's id of the SKU; empty for items without SKUs.",
        "title": "The item's title when it was ordered.",
        "sku_properties": "Colour, size and the like, as text.",
        "category_id": "The platform's category of the item.",
        "quantity": "Pieces ordered.",
        "price": "Price of one piece, yuan.",
        "total_fee": "price x quantity + adjust_fee - discount_fee, yuan.",
        "discount_fee": "Discount on the line, yuan.",
        "adjust_fee": "Price change by hand, yuan.",
        "payment": "What the line costs; with a single line it holds the postage too, yuan.",
        "divided_payment": "The line's share of what was really paid after discounts on the order, yuan.",
        "status": "Where the line stands; lines of one order can differ.",
        "refund_status": "Refund on the line; NO_REFUND: none.",
        "refund_id": "The most recent refund on the line.",
        "shipped_at": "When the line was shipped; differs by line in a split shipment.",
        "ended_at": "When the line was finished or closed.",
        "logistics_company": "The carrier.",
        "tracking_number": "The waybill.",
    },
    "bi.daily_sales": {
        None: "Paid orders by the day of payment (Asia/Shanghai). Refunds are not taken off.",
        "shop_id": "Your name of the shop (shops.yaml).",
        "day": "Day of payment, Asia/Shanghai.",
        "orders": "Orders paid that day.",
        "quantity": "Pieces on those orders.",
        "payment": "Their payment, yuan.",
    },
}

# A server that others administrate may not let us create roles: the views work without, so it is no reason to stop.
READER = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'bi_reader') THEN
        BEGIN
            CREATE ROLE bi_reader NOLOGIN;
        EXCEPTION WHEN insufficient_privilege THEN
            RAISE WARNING 'role bi_reader was not created: the database user lacks CREATEROLE';
            RETURN;
        END;
    END IF;
    GRANT USAGE ON SCHEMA bi TO bi_reader;
    GRANT SELECT ON ALL TABLES IN SCHEMA bi TO bi_reader;
    ALTER DEFAULT PRIVILEGES IN SCHEMA bi GRANT SELECT ON TABLES TO bi_reader;
END
$$;
"""


def upgrade() -> None:
    for script in (RAW, SYNC, COMPRESSION, CORE, BI):
        op.execute(script)
    for view, texts in COMMENTS.items():
        for column, text in texts.items():
            target = f"VIEW {view}" if column is None else f"COLUMN {view}.{column}"
            quoted = text.replace("'", "''")
            op.execute(f"COMMENT ON {target} IS '{quoted}'")
    op.execute(READER)


def downgrade() -> None:
    op.execute("DROP SCHEMA bi, core, raw CASCADE")
    op.execute("DROP TABLE sync.call, sync.quarantine, sync.pending_order, sync.history_day, sync.watermark")
