"""What the nightly proof of each created-day found."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE sync.reconciliation (
    shop_id       text             NOT NULL,
    day           date             NOT NULL,
    reconciled_at timestamptz      NOT NULL DEFAULT clock_timestamp(),
    expected      integer          NOT NULL,
    found         integer          NOT NULL,
    missing       integer          NOT NULL,
    stale         integer          NOT NULL,
    extra         integer          NOT NULL,
    quarantined   integer          NOT NULL,
    refilled      integer          NOT NULL,
    unsettled     integer          NOT NULL,
    rounds        integer          NOT NULL,
    calls         integer          NOT NULL,
    seconds       double precision NOT NULL,
    listed        boolean          NOT NULL,
    equal         boolean          NOT NULL,
    totals        jsonb            NOT NULL,
    PRIMARY KEY (shop_id, day, reconciled_at)
);
COMMENT ON TABLE sync.reconciliation IS 'One row a proof of a shop''s created-day; all are kept, the latest counts.';

CREATE VIEW bi.reconciliation AS
SELECT DISTINCT ON (shop_id, day)
       shop_id, day, equal, expected, found, missing, stale, extra, quarantined, refilled, unsettled,
       rounds, calls, seconds, listed, totals, reconciled_at
FROM sync.reconciliation
ORDER BY shop_id, day, reconciled_at DESC;
"""

COMMENTS = {
    None: "The latest proof of each day of creation: are the tables equal to the platform?",
    "shop_id": "Your name of the shop (shops.yaml).",
    "day": "Day of creation that was proven, Asia/Shanghai.",
    "equal": "At the end of the proof, every order of the day was as the platform had it.",
    "expected": "Orders that the platform says were created that day.",
    "found": "Orders of that day that the tables held before anything was mended; those in quarantine do not count.",
    "missing": "Orders that the tables lacked, those in quarantine included.",
    "stale": "Orders held in an older version, without their details, or not as the platform said.",
    "extra": "Orders held that the platform does not list.",
    "quarantined": "Of the missing, those that could not be read or loaded and wait in quarantine.",
    "refilled": "Orders of the missing, stale and extra that were mended by fetching them anew.",
    "unsettled": "Orders that still differed at the end.",
    "rounds": "How often orders were fetched anew and compared again.",
    "calls": "Calls to the platform that the proof took.",
    "seconds": "How long it took.",
    "listed": "True: compared order by order. False: totals by status agreed, and every row is as it was answered.",
    "totals": "Orders by status as the platform counts them and as the tables held them.",
    "reconciled_at": "When the proof ended.",
}


def upgrade() -> None:
    op.execute(TABLE)
    for column, text in COMMENTS.items():
        target = "VIEW bi.reconciliation" if column is None else f"COLUMN bi.reconciliation.{column}"
        op.execute(f"COMMENT ON {target} IS '{text}'")


def downgrade() -> None:
    op.execute("DROP VIEW bi.reconciliation")
    op.execute("DROP TABLE sync.reconciliation")
