"""The outbox of notices to people, and what is known of each place that they are delivered to."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

NOTICES = """
CREATE TABLE sync.notice (
    notice_id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind           text        NOT NULL,
    subject        text        NOT NULL,
    severity       text        NOT NULL CHECK (severity IN ('info', 'warning', 'error')),
    title          text        NOT NULL,
    body           text        NOT NULL,
    raised_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    times_raised   integer     NOT NULL DEFAULT 1,
    last_raised_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    resolved_at    timestamptz,
    delivered_to   text[]      NOT NULL DEFAULT '{}',
    delivered_at   timestamptz,
    attempts       integer     NOT NULL DEFAULT 0,
    refusals       integer     NOT NULL DEFAULT 0,
    last_problem   text
);
CREATE UNIQUE INDEX notice_open ON sync.notice (kind, subject) WHERE resolved_at IS NULL;
CREATE INDEX notice_ended ON sync.notice (kind, subject, resolved_at);
CREATE INDEX notice_waiting ON sync.notice (notice_id) WHERE delivered_at IS NULL;
COMMENT ON TABLE sync.notice IS 'The outbox: what people are told, written with the fact and delivered later; kept for half a year.';
COMMENT ON COLUMN sync.notice.subject IS 'What it is about; with the kind it tells whether the same is said again.';
COMMENT ON COLUMN sync.notice.times_raised IS 'The same within the quiet period, or until it is over, only counts up.';
COMMENT ON COLUMN sync.notice.resolved_at IS 'The episode is over; the next time is a new notice.';
COMMENT ON COLUMN sync.notice.delivered_to IS 'Names of the sinks that took it.';
COMMENT ON COLUMN sync.notice.delivered_at IS 'Every configured sink had it then; empty: it waits.';
COMMENT ON COLUMN sync.notice.refusals IS 'Times that a sink answered and refused a message with it.';

CREATE TABLE sync.notice_sink (
    sink              text        PRIMARY KEY,
    leased_until      timestamptz NOT NULL DEFAULT '-infinity',
    free_at           timestamptz NOT NULL DEFAULT '-infinity',
    next_attempt_at   timestamptz NOT NULL DEFAULT '-infinity',
    failures          integer     NOT NULL DEFAULT 0,
    last_problem      text,
    last_delivered_at timestamptz
);
COMMENT ON TABLE sync.notice_sink IS 'One row a place that notices are delivered to (its address is configuration, and not here).';
COMMENT ON COLUMN sync.notice_sink.leased_until IS 'One process delivers until then; a dead one holds it no longer.';
COMMENT ON COLUMN sync.notice_sink.free_at IS 'The timetable of its messages, so that all processes together keep to the limit.';
COMMENT ON COLUMN sync.notice_sink.next_attempt_at IS 'After failures nothing is tried before.';
COMMENT ON COLUMN sync.notice_sink.failures IS 'Failures in a row.';
"""


def upgrade() -> None:
    op.execute(NOTICES)


def downgrade() -> None:
    op.execute("DROP TABLE sync.notice_sink, sync.notice")
