"""Tokens of shops, encrypted; pauses of shops whose session was refused; who settled what was quarantined."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TOKENS = """
CREATE TABLE sync.token (
    shop_id         text        PRIMARY KEY,
    app_key         text        NOT NULL,
    sealed          text        NOT NULL,
    fingerprint     text        NOT NULL,
    account         text,
    through_gateway boolean     NOT NULL,
    authorised_at   timestamptz NOT NULL,
    authorised_by   text        NOT NULL,
    obtained_at     timestamptz NOT NULL,
    ends_at         timestamptz NOT NULL,
    refresh_ends_at timestamptz,
    next_refresh_at timestamptz,
    refresh_problem text,
    refreshes       integer     NOT NULL DEFAULT 0
);
COMMENT ON TABLE sync.token IS 'The token of each authorised shop, encrypted with ORDER_PIPELINE_TOKEN_KEY.';
COMMENT ON COLUMN sync.token.sealed IS 'Access token and refresh token, encrypted (Fernet).';
COMMENT ON COLUMN sync.token.fingerprint IS 'Tells one session from another without giving either away.';
COMMENT ON COLUMN sync.token.account IS 'The platform''s number of the seller who agreed.';
COMMENT ON COLUMN sync.token.ends_at IS 'The access token is good until then, by what its answer said.';
COMMENT ON COLUMN sync.token.refresh_ends_at IS 'It can be refreshed until then; empty: not at all.';
COMMENT ON COLUMN sync.token.next_refresh_at IS 'It is refreshed from then on; empty: not any more.';
COMMENT ON COLUMN sync.token.refresh_problem IS 'What the last try to refresh met, empty when it went well.';

CREATE TABLE sync.shop_pause (
    pause_id    bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id     text        NOT NULL,
    fingerprint text        NOT NULL,
    paused_at   timestamptz NOT NULL DEFAULT now(),
    paused_by   text        NOT NULL,
    reason      text        NOT NULL,
    ended_at    timestamptz,
    ended_by    text,
    ending      text
);
CREATE UNIQUE INDEX shop_pause_open ON sync.shop_pause (shop_id) WHERE ended_at IS NULL;
COMMENT ON TABLE sync.shop_pause IS 'Every pause of a shop whose session was refused: since when, noticed by whom, why, and what ended it; kept.';
COMMENT ON COLUMN sync.shop_pause.fingerprint IS 'Of the session that was refused; another one ends the pause.';

ALTER TABLE sync.quarantine ADD COLUMN resolved_by text, ADD COLUMN discarded boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN sync.quarantine.resolved_by IS 'Who settled it by hand; empty: a good version came by itself.';
COMMENT ON COLUMN sync.quarantine.discarded IS 'A person judged this very record worthless; it stays settled when it comes again.';
"""


def upgrade() -> None:
    op.execute(TOKENS)


def downgrade() -> None:
    op.execute("ALTER TABLE sync.quarantine DROP COLUMN resolved_by, DROP COLUMN discarded")
    op.execute("DROP TABLE sync.shop_pause, sync.token")
