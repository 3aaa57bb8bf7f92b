"""Full pulls shop by shop while a breaker is open; which fields answers have, and where that changed."""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

FULL_PULLS = """
CREATE TABLE sync.full_pull (
    shop_id text        NOT NULL,
    app_key text        NOT NULL,
    next_at timestamptz NOT NULL,
    PRIMARY KEY (shop_id, app_key)
) WITH (fillfactor = 50);
COMMENT ON TABLE sync.full_pull IS 'One row a shop that was ever pulled in full while the breaker of its app key was open.';
COMMENT ON COLUMN sync.full_pull.next_at IS 'No full pull of the shop before, by any process.';
COMMENT ON COLUMN sync.breaker.next_pull_at IS 'Of older versions: full pulls are claimed shop by shop, in sync.full_pull.';
"""

DRIFT = """
CREATE TABLE sync.field_count (
    shop_id text   NOT NULL,
    day     date   NOT NULL,
    object  text   NOT NULL,
    field   text   NOT NULL,
    kind    text   NOT NULL,
    records bigint NOT NULL,
    PRIMARY KEY (shop_id, day, object, field, kind)
) WITH (fillfactor = 70);
COMMENT ON TABLE sync.field_count IS 'In how many of the answers that were looked at each field came, by the JSON type of its value; kept for some weeks.';
COMMENT ON COLUMN sync.field_count.field IS 'Empty: the records looked at.';

CREATE TABLE sync.field_drift (
    shop_id       text        NOT NULL,
    object        text        NOT NULL,
    field         text        NOT NULL,
    drift         text        NOT NULL CHECK (drift IN ('unknown', 'vanished', 'retyped')),
    kind          text        NOT NULL,
    is_mapped     boolean     NOT NULL,
    records       bigint      NOT NULL,
    first_seen_at timestamptz NOT NULL,
    last_seen_at  timestamptz NOT NULL,
    PRIMARY KEY (shop_id, object, field, drift, kind)
);
COMMENT ON TABLE sync.field_drift IS 'Where the latest look at answers found fields other than before; a row goes when that is over.';
COMMENT ON COLUMN sync.field_drift.is_mapped IS 'The field has a column in the tables.';
COMMENT ON COLUMN sync.field_drift.records IS 'Records looked at since it began in which it was so.';
"""


def upgrade() -> None:
    op.execute(FULL_PULLS)
    op.execute(DRIFT)


def downgrade() -> None:
    op.execute("DELETE FROM sync.watermark WHERE channel = 'field_counts'")
    op.execute("DROP TABLE sync.field_drift, sync.field_count, sync.full_pull")
    op.execute("COMMENT ON COLUMN sync.breaker.next_pull_at IS 'No full pull before, by any process.'")
