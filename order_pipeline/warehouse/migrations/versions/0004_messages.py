"""The second channel: messages as they came, whose they are, and what they announced."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

MESSAGES = """
CREATE TABLE raw.message (
    app_key          text        NOT NULL,
    message_id       text        NOT NULL,
    platform         text        NOT NULL,
    shop_id          text,
    topic            text        NOT NULL,
    known_topic      boolean     NOT NULL,
    seller_id        text,
    seller_nick      text,
    published_at     timestamptz NOT NULL,
    received_at      timestamptz NOT NULL,
    order_id         text,
    refund_id        text,
    -- Text, not jsonb, as in raw.page.
    content          text        NOT NULL,
    problem          text,
    deliveries       integer     NOT NULL DEFAULT 1,
    stored_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (app_key, message_id)
);
CREATE INDEX message_published ON raw.message (published_at);
CREATE INDEX message_order ON raw.message (shop_id, order_id) WHERE order_id IS NOT NULL;
COMMENT ON TABLE raw.message IS 'One message a row, stored before the platform was told that it arrived.';
COMMENT ON COLUMN raw.message.message_id IS 'The platform''s number, unique for an app key; unreadable-...: it had none.';
COMMENT ON COLUMN raw.message.shop_id IS 'Whose it is; empty: of a seller who has no shop in shops.yaml.';
COMMENT ON COLUMN raw.message.known_topic IS 'Whether the topic is a documented one.';
COMMENT ON COLUMN raw.message.published_at IS 'Platform time of publication; of receipt where it is missing or lies in the future.';
COMMENT ON COLUMN raw.message.received_at IS 'Platform time of the first delivery.';
COMMENT ON COLUMN raw.message.content IS 'What else it says, as JSON without personal data; query it as content::jsonb where problem is empty.';
COMMENT ON COLUMN raw.message.problem IS 'Why it could not be read; lists and the nightly proof bring what it meant.';
COMMENT ON COLUMN raw.message.deliveries IS 'How often it came.';

CREATE TABLE sync.message_queue (
    app_key       text        NOT NULL,
    message_group text        NOT NULL,
    read_at       timestamptz,
    lag_seconds   double precision,
    failures      integer     NOT NULL DEFAULT 0,
    problem       text,
    paused_until  timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (app_key, message_group)
) WITH (fillfactor = 50);
COMMENT ON TABLE sync.message_queue IS 'One row a queue of messages that is read: how that goes.';
COMMENT ON COLUMN sync.message_queue.message_group IS 'Empty: the app''s default group.';
COMMENT ON COLUMN sync.message_queue.read_at IS 'When it was last read without an error, by this server''s clock.';
COMMENT ON COLUMN sync.message_queue.lag_seconds IS 'From publication to receipt of the oldest new message of the last batch.';
COMMENT ON COLUMN sync.message_queue.failures IS 'Failures in a row.';
COMMENT ON COLUMN sync.message_queue.paused_until IS 'Not read before; set it to -infinity to try at once.';

CREATE TABLE sync.message_seller (
    app_key      text        NOT NULL,
    shop_id      text        NOT NULL,
    seller_nick  text,
    seller_id    text,
    permitted_at timestamptz,
    problem      text,
    permit_at    timestamptz NOT NULL DEFAULT '-infinity',
    ask_at       timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (app_key, shop_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE sync.message_seller IS 'One row a shop: the seller by whom its messages name it, and whether they are permitted.';
COMMENT ON COLUMN sync.message_seller.seller_id IS 'Learnt from the first message that names the nick; holds when the seller is renamed.';
COMMENT ON COLUMN sync.message_seller.permitted_at IS 'When the platform last permitted its messages; empty: never.';
COMMENT ON COLUMN sync.message_seller.problem IS 'Why the last permit was refused.';
COMMENT ON COLUMN sync.message_seller.permit_at IS 'The permit is not asked for before; set it to -infinity to try at once.';
COMMENT ON COLUMN sync.message_seller.ask_at IS 'The seller''s nick is not asked for before.';

ALTER TABLE sync.pending_order ADD COLUMN announced_at timestamptz;
COMMENT ON COLUMN sync.pending_order.announced_at IS 'Platform time of the newest message about it: only details asked for after it will do.';
COMMENT ON COLUMN sync.pending_order.seen_modified IS 'The newest modified that somebody saw; 1970: only a message announced a change.';
COMMENT ON COLUMN sync.pending_order.version IS 'A worker clears only the version it took.';
"""


def upgrade() -> None:
    op.execute(MESSAGES)


def downgrade() -> None:
    op.execute("ALTER TABLE sync.pending_order DROP COLUMN announced_at")
    op.execute("DROP TABLE sync.message_seller, sync.message_queue, raw.message")
