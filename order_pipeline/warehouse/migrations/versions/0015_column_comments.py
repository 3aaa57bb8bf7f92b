"""Every column of a table that an asset names says what it holds: the UI shows it beside the asset."""

from alembic import op
from sqlalchemy import text

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

COMMENTS = {
    "raw.page": {
        "page_id": "A number of its own.",
        "shop_id": "Your name of the shop (shops.yaml).",
        "platform": "The marketplace: taobao.",
        "method": "The platform's method that answered.",
        "window_end": "The end of the span that was asked for; empty for details.",
        "order_id": "The order that was asked for whole; empty for pages of a list.",
        "refund_id": "The refund that was asked for whole; empty for all other answers.",
        "request_id": "The platform's number of the request: name it when asking their support.",
        "stored_at": "When it was stored, by the database's clock.",
    },
    "raw.message": {
        "app_key": "The app in whose queue it came.",
        "platform": "The marketplace: taobao.",
        "topic": "What it is about, in the platform's words, e.g. taobao_trade_TradeChanged.",
        "seller_id": "The seller by the platform's number.",
        "seller_nick": "The seller's own name on the platform: the shop's account, no buyer's.",
        "order_id": "The order that it announces; empty: none.",
        "refund_id": "The refund that it announces; empty: none.",
        "stored_at": "When it was stored, by the database's clock.",
    },
    "core.parcel": {
        "shop_id": "Your name of the shop (shops.yaml).",
        "company": "The carrier, as the seller (of a return: the buyer) named it.",
        "order_ids": "The orders whose lines are in it.",
        "item_ids": "The lines that are in it.",
        "shipped_at": "When the platform was told that it left.",
        "region": "Province it goes to.",
        "pickup_promised_at": "The carrier was to have it by then.",
        "delivery_promised_at": "It was to arrive by then.",
        "events": "How many events of its way are known.",
        "current_company": "Who carries it now, where it was handed on.",
        "last_problem": "Why the last attempt was not answered; empty: it was.",
        "changed_at": "When this row last changed, by the database's clock.",
    },
    "core.stock_write": {
        "write_id": "A number of its own; larger is later.",
        "shop_id": "Your name of the shop (shops.yaml).",
        "num_iid": "The platform's id of the item.",
        "sku_id": "The platform's id of the SKU; empty for items without SKUs.",
        "sku_code": "Your own code.",
        "before": "The platform's number before.",
        "target": "The number that was written, or would have been.",
        "withheld_before": "What was held back of the platform's number before.",
        "claimed": "What pre-sales claimed of it at that time.",
        "problem": "Why it was not done, in words.",
        "actor": "Who asked for it: a run, or a person's command.",
        "planned_at": "When it was noted, before the call.",
        "settled_at": "When it was clear what became of it; empty: not yet.",
    },
}


def upgrade() -> None:
    for table, column in _present():
        quoted = COMMENTS[table][column].replace("'", "''")
        op.execute(f"COMMENT ON COLUMN {table}.{column} IS '{quoted}'")


def downgrade() -> None:
    for table, column in _present():
        op.execute(f"COMMENT ON COLUMN {table}.{column} IS NULL")


def _present() -> list[tuple[str, str]]:
    """Return the columns that there are of those above: another step of the chain may have left one out."""
    columns = op.get_bind().execute(
        text("SELECT table_schema || '.' || table_name, column_name FROM information_schema.columns")
    )
    return [(table, column) for table, column in columns if column in COMMENTS.get(table, {})]
