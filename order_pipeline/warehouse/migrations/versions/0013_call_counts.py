"""How many calls there were and how long they took, for ever: what monitoring reads, however short the log is kept."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE sync.call_count (
    shop_id text             NOT NULL,
    method  text             NOT NULL,
    outcome text             NOT NULL,
    up_to   double precision NOT NULL,
    calls   bigint           NOT NULL,
    seconds double precision NOT NULL,
    PRIMARY KEY (shop_id, method, outcome, up_to)
) WITH (fillfactor = 70);
COMMENT ON TABLE sync.call_count IS 'Calls since the first one, by outcome and duration; only ever added to. With sync.call_delta the whole.';
COMMENT ON COLUMN sync.call_count.up_to IS 'They took at most so many seconds, and more than the next smaller bound.';
COMMENT ON COLUMN sync.call_count.seconds IS 'How long they took together.';

-- A row that all writers add to would make them wait for each other until the end of their loads.
CREATE TABLE sync.call_delta (
    delta_id bigint           GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id  text             NOT NULL,
    method   text             NOT NULL,
    outcome  text             NOT NULL,
    up_to    double precision NOT NULL,
    calls    bigint           NOT NULL,
    seconds  double precision NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE sync.call_delta IS 'What is not yet in sync.call_count; written with the log of calls, folded in by and by.';
"""

# What the log holds so far. The bounds are those of warehouse/call_counts.py.
FROM_LOG = """
INSERT INTO sync.call_count (shop_id, method, outcome, up_to, calls, seconds)
SELECT shop_id, method, outcome,
       (SELECT min(bound) FROM unnest(ARRAY[0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 'infinity']::double precision[]) AS bound
        WHERE bound >= seconds) AS up_to,
       count(*), sum(seconds)
FROM sync.call GROUP BY 1, 2, 3, 4
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(FROM_LOG)


def downgrade() -> None:
    op.execute("DROP TABLE sync.call_delta, sync.call_count")
