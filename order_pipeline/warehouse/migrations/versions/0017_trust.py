"""Full pulls shop by shop while a breaker is open."""

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


def upgrade() -> None:
    op.execute(FULL_PULLS)


def downgrade() -> None:
    op.execute("DROP TABLE sync.full_pull")
    op.execute("COMMENT ON COLUMN sync.breaker.next_pull_at IS 'No full pull before, by any process.'")
