"""Since when a shop's session is known, so that an old message of its withdrawal does not end a newer session."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

TRUST = """
ALTER TABLE sync.message_seller ADD COLUMN session_fingerprint text, ADD COLUMN session_since timestamptz;
COMMENT ON COLUMN sync.message_seller.session_fingerprint IS 'Of the session that counted at the last reading.';
COMMENT ON COLUMN sync.message_seller.session_since IS 'When a reading first found that session, by this server''s clock.';
"""


def upgrade() -> None:
    op.execute(TRUST)


def downgrade() -> None:
    op.execute("ALTER TABLE sync.message_seller DROP COLUMN session_fingerprint, DROP COLUMN session_since")
