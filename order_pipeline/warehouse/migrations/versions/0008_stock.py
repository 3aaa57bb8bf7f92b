"""Stock: holds of pre-sales with their ledger, levels a day, suppliers, bundles, writes to the platform, ERP events."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# What is a pre-sale: few of all orders, so that following their changes reads nothing else. The same rule as
# insights/presale.py's kind_of; what a list leaves out is not guessed at.
IS_PRESALE = """
    type = 'step' OR step_status IS NOT NULL OR CASE lower(extra ->> 'new_presell')
        WHEN 'true' THEN true WHEN 'false' THEN false
        ELSE promised_ship_at IS NOT NULL AND detail_modified_at IS NOT NULL END
"""

HOLDS = f"""
CREATE INDEX orders_presale ON core.orders (shop_id, stored_at) WHERE {IS_PRESALE};
CREATE INDEX orders_open_deposit ON core.orders (shop_id, order_id)
    WHERE step_status IN ('FRONT_PAID_FINAL_NOPAID', 'FRONT_PAID_FINAL_PAID')
      AND status IN ('WAIT_BUYER_PAY', 'TRADE_NO_CREATE_PAY');
CREATE INDEX refunds_stored ON core.refunds (shop_id, stored_at);
CREATE INDEX order_items_waiting ON core.order_items (shop_id)
    WHERE status IN ('WAIT_SELLER_SEND_GOODS', 'PAID_FORBID_CONSIGN') AND shipped_at IS NULL;
CREATE INDEX order_items_bundles ON core.order_items (shop_id, num_iid, sku_id) WHERE extra ? 'combine_item_info';

CREATE TABLE core.presale_hold (
    shop_id             text        NOT NULL,
    order_id            text        NOT NULL,
    item_id             text        NOT NULL,
    kind                text        NOT NULL CHECK (kind IN ('step', 'full_payment')),
    stage               text        NOT NULL CHECK (stage IN ('waiting', 'held', 'reserved', 'sent', 'released')),
    reason              text        NOT NULL,
    num_iid             text        NOT NULL,
    sku_id              text        NOT NULL,
    sku_code            text        NOT NULL,
    quantity            integer     NOT NULL,
    held_quantity       integer     NOT NULL CHECK (held_quantity >= 0),
    reserved_quantity   integer     NOT NULL CHECK (reserved_quantity >= 0),
    since               timestamptz NOT NULL,
    promised_ship_at    timestamptz,
    order_modified_at   timestamptz NOT NULL,
    order_sent_at       timestamptz NOT NULL,
    refunds_modified_at timestamptz,
    refetched_at        timestamptz,
    changed_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shop_id, order_id, item_id),
    CHECK (held_quantity = 0 OR reserved_quantity = 0),
    CHECK (held_quantity + reserved_quantity <= quantity)
) WITH (fillfactor = 85);
CREATE INDEX presale_hold_open ON core.presale_hold (shop_id, num_iid, sku_id)
    WHERE held_quantity > 0 OR reserved_quantity > 0;
COMMENT ON TABLE core.presale_hold IS 'One row a line of a pre-sale, as it stands now; the ledger is core.presale_hold_entry.';
COMMENT ON COLUMN core.presale_hold.order_modified_at IS 'With order_sent_at and refunds_modified_at: the version of the line that this was made of.';
COMMENT ON COLUMN core.presale_hold.refetched_at IS 'When its order was last fetched anew because the final payment is late.';

CREATE TABLE core.presale_hold_entry (
    entry_id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id           text        NOT NULL,
    order_id          text        NOT NULL,
    item_id           text        NOT NULL,
    num_iid           text        NOT NULL,
    sku_id            text        NOT NULL,
    sku_code          text        NOT NULL,
    held_change       integer     NOT NULL,
    reserved_change   integer     NOT NULL,
    stage_before      text,
    stage             text        NOT NULL,
    reason            text        NOT NULL,
    order_modified_at timestamptz NOT NULL,
    recorded_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX presale_hold_entry_line ON core.presale_hold_entry (shop_id, order_id, item_id);
CREATE INDEX presale_hold_entry_recorded ON core.presale_hold_entry USING brin (recorded_at);
COMMENT ON TABLE core.presale_hold_entry IS 'The ledger of holds: rows are only added; their sum by line and SKU is what the line holds.';

CREATE FUNCTION core.refuse_change_of_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'core.presale_hold_entry is a ledger: rows are only added, never changed or removed';
END
$$;
CREATE TRIGGER presale_hold_entry_is_append_only BEFORE UPDATE OR DELETE ON core.presale_hold_entry
    FOR EACH ROW EXECUTE FUNCTION core.refuse_change_of_ledger();
"""

LEVELS = """
CREATE TABLE core.inventory_level (
    shop_id             text        NOT NULL,
    day                 date        NOT NULL,
    num_iid             text        NOT NULL,
    sku_id              text        NOT NULL,
    sku_code            text,
    title               text,
    is_onsale           boolean,
    platform_quantity   integer     CHECK (platform_quantity >= 0),
    reserved            bigint      NOT NULL,
    held                bigint      NOT NULL,
    reserved_in_bundles bigint      NOT NULL,
    held_in_bundles     bigint      NOT NULL,
    withheld            bigint      NOT NULL,
    sellable            bigint      CHECK (sellable >= 0),
    was_out_of_stock    boolean,
    problem             text,
    seen_at             timestamptz NOT NULL,
    PRIMARY KEY (shop_id, day, num_iid, sku_id)
);
COMMENT ON TABLE core.inventory_level IS 'A snapshot a day, shop and SKU; taken again on the same day it is replaced. sku_id is empty for items without SKUs.';
COMMENT ON COLUMN core.inventory_level.withheld IS 'What our own writes hold back of the platform''s number.';

CREATE TABLE core.stock_write (
    write_id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id         text        NOT NULL,
    num_iid         text        NOT NULL,
    sku_id          text        NOT NULL,
    sku_code        text,
    before          integer     NOT NULL,
    target          integer     NOT NULL CHECK (target >= 0),
    withheld_before integer     NOT NULL,
    withheld        integer     NOT NULL,
    claimed         integer     NOT NULL,
    status          text        NOT NULL CHECK (status IN ('dry_run', 'planned', 'done', 'not_done', 'refused', 'unknown')),
    problem         text,
    actor           text        NOT NULL,
    planned_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    settled_at      timestamptz
);
CREATE INDEX stock_write_done ON core.stock_write (shop_id, num_iid, sku_id, write_id) WHERE status = 'done';
CREATE INDEX stock_write_open ON core.stock_write (shop_id) WHERE status IN ('planned', 'unknown');
COMMENT ON TABLE core.stock_write IS 'Every number that was written to the platform, or would have been (dry_run); noted as planned before the call.';
COMMENT ON COLUMN core.stock_write.withheld IS 'What is held back of the platform''s number once this is done.';
COMMENT ON COLUMN core.stock_write.status IS 'unknown: the answer got lost; the stock is read before anything is written again.';
"""

MERCHANT = """
CREATE TABLE core.supplier_item (
    supplier_item_id         bigint        GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id                  text,
    sku_code                 text,
    sku_id                   text,
    supplier                 text          NOT NULL,
    lead_time_days           integer       CHECK (lead_time_days >= 0),
    lead_time_deviation_days numeric(10, 3) CHECK (lead_time_deviation_days >= 0),
    moq                      integer       CHECK (moq > 0),
    pack_size                integer       CHECK (pack_size > 0),
    on_order                 integer       CHECK (on_order >= 0),
    on_order_due             date,
    unit_cost                numeric(18, 4) CHECK (unit_cost >= 0),
    loaded_at                timestamptz   NOT NULL DEFAULT now(),
    CHECK ((sku_code IS NULL) <> (sku_id IS NULL))
);
CREATE UNIQUE INDEX supplier_item_sku ON core.supplier_item
    (coalesce(shop_id, ''), coalesce(sku_code, ''), coalesce(sku_id, ''));
COMMENT ON TABLE core.supplier_item IS 'On which terms a SKU is bought, from the merchant''s list. Empty: unknown, never a default.';
COMMENT ON COLUMN core.supplier_item.shop_id IS 'Empty: in every shop. A row of one shop counts more.';
COMMENT ON COLUMN core.supplier_item.on_order IS 'Pieces ordered and not here yet, expected on on_order_due.';

CREATE TABLE core.bundle_component (
    shop_id        text        NOT NULL,
    bundle_num_iid text        NOT NULL,
    bundle_sku_id  text        NOT NULL,
    num_iid        text        NOT NULL,
    sku_id         text        NOT NULL,
    sku_code       text        NOT NULL,
    quantity       integer     NOT NULL CHECK (quantity > 0),
    seen_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shop_id, bundle_num_iid, bundle_sku_id, num_iid, sku_id)
);
COMMENT ON TABLE core.bundle_component IS 'What the platform''s own bundles are made of, learnt from orders of them.';

CREATE TABLE core.bundle_part (
    bundle_code    text        NOT NULL,
    component_code text        NOT NULL,
    quantity       integer     NOT NULL CHECK (quantity > 0),
    loaded_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (bundle_code, component_code)
);
COMMENT ON TABLE core.bundle_part IS 'What the merchant''s bundles are made of, from the merchant''s list; counts more than what orders say.';

CREATE TABLE sync.merchant_file (
    name        text        PRIMARY KEY,
    fingerprint text        NOT NULL,
    rows        integer     NOT NULL,
    problems    text[]      NOT NULL,
    loaded_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE sync.merchant_file IS 'The merchant''s lists as they were last read, and what was wrong with them.';
"""

HOOK = """
CREATE TABLE sync.hook_event (
    event_id     bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind         text        NOT NULL,
    key          text        NOT NULL UNIQUE,
    payload      jsonb       NOT NULL,
    raised_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    delivered_at timestamptz,
    attempts     integer     NOT NULL DEFAULT 0,
    last_problem text
);
CREATE INDEX hook_event_waiting ON sync.hook_event (event_id) WHERE delivered_at IS NULL;
COMMENT ON TABLE sync.hook_event IS 'The outbox of what the merchant''s ERP is told, written with the fact; kept for 30 days after its delivery.';
COMMENT ON COLUMN sync.hook_event.key IS 'The same for the same fact, however often it arrives.';
"""

BI = """
CREATE VIEW bi.inventory_holds AS
SELECT shop_id, order_id, item_id, num_iid, nullif(sku_id, '') AS sku_id, nullif(sku_code, '') AS sku_code, kind, stage,
       reason, quantity, held_quantity, reserved_quantity, since, promised_ship_at, order_modified_at AS modified_at
FROM core.presale_hold;

CREATE VIEW bi.inventory_levels AS
SELECT shop_id, day, num_iid, nullif(sku_id, '') AS sku_id, sku_code, title, is_onsale, platform_quantity, reserved, held,
       reserved_in_bundles, held_in_bundles, sellable, NOT was_out_of_stock AS in_stock, problem, seen_at
FROM core.inventory_level;
"""

COMMENTS: dict[str, dict[str | None, str]] = {
    "bi.inventory_holds": {
        None: "One row a line of a pre-sale: what it holds now. Sum held_quantity by SKU for what deposits speak for.",
        "shop_id": "Your name of the shop (shops.yaml).",
        "order_id": "The order.",
        "item_id": "The order's line (oid).",
        "num_iid": "The platform's id of the item.",
        "sku_id": "The platform's id of the SKU; empty for items without SKUs.",
        "sku_code": "Your own code.",
        "kind": "step: deposit and final payment. full_payment: paid at once, sent later.",
        "stage": "waiting (nothing paid), held (deposit paid), reserved (paid in full), sent, released.",
        "reason": "Why it is there, e.g. deposit forfeited, refunded, closed.",
        "quantity": "Pieces ordered.",
        "held_quantity": "Pieces held by a deposit. Not part of bi.reserved_stock.",
        "reserved_quantity": "Pieces paid in full and not sent yet. Part of bi.reserved_stock: do not add the two.",
        "since": "When it came to this stage (the order's last change then).",
        "promised_ship_at": "Promised to be shipped by then.",
        "modified_at": "The version of the order that this was made of.",
    },
    "bi.inventory_levels": {
        None: "Stock by day, shop and SKU, as it was when the day's last snapshot was taken (daily at 06:00 Asia/Shanghai).",
        "shop_id": "Your name of the shop (shops.yaml).",
        "day": "Day of the snapshot, Asia/Shanghai.",
        "num_iid": "The platform's id of the item.",
        "sku_id": "The platform's id of the SKU; empty for items without SKUs.",
        "sku_code": "Your own code.",
        "title": "The item's title.",
        "is_onsale": "Whether buyers see it; empty: not known.",
        "platform_quantity": "What the platform says there is: paid pieces are off already. Empty: it said nothing that can be true.",
        "reserved": "Pieces paid and not sent, those inside bundles too.",
        "held": "Pieces held by deposits of pre-sales, those inside bundles too.",
        "reserved_in_bundles": "Of reserved: as parts of bundles.",
        "held_in_bundles": "Of held: as parts of bundles.",
        "sellable": "What may still be sold: the platform's number without what is held. Empty: unknown.",
        "in_stock": "False: at some snapshot of the day nothing was left, so the day's sales are not all that was wanted. Empty: unknown.",
        "problem": "Why the platform's number is not known, and what to do.",
        "seen_at": "When the platform was asked.",
    },
}


def upgrade() -> None:
    for script in (HOLDS, LEVELS, MERCHANT, HOOK, BI):
        op.execute(script)
    for view, texts in COMMENTS.items():
        for column, text in texts.items():
            target = f"VIEW {view}" if column is None else f"COLUMN {view}.{column}"
            quoted = text.replace("'", "''")
            op.execute(f"COMMENT ON {target} IS '{quoted}'")


def downgrade() -> None:
    op.execute("DROP VIEW bi.inventory_levels, bi.inventory_holds")
    op.execute("DROP TABLE sync.hook_event, sync.merchant_file, core.bundle_part, core.bundle_component")
    op.execute("DROP TABLE core.supplier_item, core.stock_write, core.inventory_level")
    op.execute("DROP TABLE core.presale_hold_entry, core.presale_hold")
    op.execute("DROP FUNCTION core.refuse_change_of_ledger()")
    op.execute(
        "DROP INDEX core.orders_presale, core.orders_open_deposit, core.refunds_stored, core.order_items_waiting, "
        "core.order_items_bundles"
    )
