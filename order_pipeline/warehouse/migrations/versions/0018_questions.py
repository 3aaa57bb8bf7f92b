"""Two questions of BI that grew with the history: who came back, and what was sold by day.

Whether a buyer bought before is looked up by index. How many orders a span of days has, the planner took for a third of
all: it has no figures about the expression of a partial index, so with a million orders it read the whole table.
"""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE INDEX orders_buyer ON core.orders (shop_id, buyer_open_uid, paid_at)
        WHERE buyer_open_uid IS NOT NULL AND paid_at IS NOT NULL
    """)
    op.execute("""
        CREATE STATISTICS core.orders_paid_day_spread ON ((paid_at AT TIME ZONE 'Asia/Shanghai')::date) FROM core.orders
    """)
    op.execute("ANALYZE core.orders (paid_at)")


def downgrade() -> None:
    op.execute("DROP STATISTICS core.orders_paid_day_spread")
    op.execute("DROP INDEX core.orders_buyer")
