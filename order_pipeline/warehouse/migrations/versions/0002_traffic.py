"""What all processes share about the calls of an app key: the rate budget and the circuit breaker."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TRAFFIC = """
CREATE TABLE sync.rate_budget (
    app_key      text        PRIMARY KEY,
    next_at      timestamptz NOT NULL DEFAULT '-infinity',
    banned_until timestamptz NOT NULL DEFAULT '-infinity'
-- Rewritten with every grant: half-empty pages let it happen in place.
) WITH (fillfactor = 50);
COMMENT ON TABLE sync.rate_budget IS 'One row an app key with a limit: the timetable of its calls, by this server''s clock.';
COMMENT ON COLUMN sync.rate_budget.next_at IS 'The next departure that nobody has taken yet.';
COMMENT ON COLUMN sync.rate_budget.banned_until IS 'Until then the platform refuses calls; set it to -infinity once the platform lifted a ban early.';

CREATE TABLE sync.breaker (
    app_key       text        PRIMARY KEY,
    state         text        NOT NULL DEFAULT 'closed' CHECK (state IN ('closed', 'open')),
    since         timestamptz NOT NULL,
    reason        text        NOT NULL,
    good_probes   integer     NOT NULL DEFAULT 0,
    next_probe_at timestamptz NOT NULL DEFAULT '-infinity',
    next_pull_at  timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 50);
COMMENT ON TABLE sync.breaker IS 'One row an app key: open while too many of its calls fail.';
COMMENT ON COLUMN sync.breaker.since IS 'When this state began.';
COMMENT ON COLUMN sync.breaker.reason IS 'Why, with the counts that decided it.';
COMMENT ON COLUMN sync.breaker.good_probes IS 'Probes in a row that went through while open.';
COMMENT ON COLUMN sync.breaker.next_probe_at IS 'No probe before, by any process.';
COMMENT ON COLUMN sync.breaker.next_pull_at IS 'No full pull before, by any process.';

CREATE TABLE sync.breaker_count (
    app_key  text        NOT NULL,
    span     integer     NOT NULL,
    began_at timestamptz NOT NULL,
    calls    integer     NOT NULL,
    failures integer     NOT NULL,
    PRIMARY KEY (app_key, span)
) WITH (fillfactor = 50);
COMMENT ON TABLE sync.breaker_count IS 'Calls and failures of the last minutes, in a ring of spans of some seconds.';

CREATE TABLE sync.breaker_change (
    app_key    text        NOT NULL,
    changed_at timestamptz NOT NULL,
    state      text        NOT NULL,
    reason     text        NOT NULL,
    calls      integer     NOT NULL,
    failures   integer     NOT NULL,
    PRIMARY KEY (app_key, changed_at)
);
COMMENT ON TABLE sync.breaker_change IS 'Every opening and closing of a breaker, with the counts of the minutes before; kept.';
"""


def upgrade() -> None:
    op.execute(TRAFFIC)


def downgrade() -> None:
    op.execute("DROP TABLE sync.breaker_change, sync.breaker_count, sync.breaker, sync.rate_budget")
