"""Purchases count what pre-sales hold as far as it is expected to be paid: the columns' comments say so."""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

VIEW = "bi.restock_suggestions"


def upgrade() -> None:
    op.execute(
        f"COMMENT ON COLUMN {VIEW}.held IS 'Pieces held by deposits of pre-sales, as far as their final payment is "
        f"expected (presale_conversion).'"
    )


def downgrade() -> None:
    op.execute(f"COMMENT ON COLUMN {VIEW}.held IS 'Pieces held by deposits of pre-sales.'")
