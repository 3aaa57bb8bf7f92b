"""Demand, its forecast and how good it was; what to buy and what was bought; what may be shipped."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

DEMAND = """
CREATE TABLE core.daily_sku_sales (
    shop_id  text    NOT NULL,
    day      date    NOT NULL,
    sku      text    NOT NULL,
    quantity bigint  NOT NULL CHECK (quantity >= 0),
    orders   bigint  NOT NULL CHECK (orders >= 0),
    in_stock boolean NOT NULL,
    PRIMARY KEY (shop_id, day, sku)
);
CREATE INDEX daily_sku_sales_sku ON core.daily_sku_sales (shop_id, sku, day);
COMMENT ON TABLE core.daily_sku_sales IS 'Pieces wanted a day and SKU, by day of payment (Asia/Shanghai). No row: nothing was sold while it was in stock.';

CREATE TABLE core.demand_forecast (
    shop_id      text             NOT NULL,
    day          date             NOT NULL,
    sku          text             NOT NULL,
    model        text             NOT NULL,
    demand_class text             NOT NULL,
    mean         double precision NOT NULL,
    variance     double precision NOT NULL,
    growth       double precision NOT NULL,
    q50          bigint           NOT NULL,
    q90          bigint           NOT NULL,
    own_wape     double precision,
    own_bias     double precision,
    made_at      timestamptz      NOT NULL DEFAULT now(),
    PRIMARY KEY (shop_id, day, sku)
);
COMMENT ON TABLE core.demand_forecast IS 'What each SKU is expected to sell in the 7 days that begin with day, by what was known before it.';
COMMENT ON COLUMN core.demand_forecast.growth IS 'The variance of H days is variance x (H/7)^growth.';

CREATE TABLE core.forecast_backtest (
    shop_id          text             NOT NULL,
    day              date             NOT NULL,
    demand_class     text             NOT NULL,
    origins          integer          NOT NULL,
    forecasts        integer          NOT NULL,
    sold             double precision NOT NULL,
    wape             double precision,
    wape_week_before double precision,
    bias             double precision,
    mase             double precision,
    coverage         double precision,
    pinball          double precision,
    long_coverage    double precision,
    made_at          timestamptz      NOT NULL DEFAULT now(),
    PRIMARY KEY (shop_id, day, demand_class)
);
COMMENT ON TABLE core.forecast_backtest IS 'How good forecasts of the weeks before day would have been, by class of demand; all: of all classes.';
"""

RESTOCK = """
CREATE TABLE core.restock_suggestion (
    suggestion_id     bigint           GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id           text             NOT NULL,
    day               date             NOT NULL,
    sku               text             NOT NULL,
    supplier          text             NOT NULL,
    quantity          bigint           NOT NULL CHECK (quantity >= 0),
    reason            text             NOT NULL,
    daily_demand      double precision NOT NULL,
    lead_time_days    double precision NOT NULL,
    review_days       double precision NOT NULL,
    service_level     double precision NOT NULL,
    lead_time_demand  double precision NOT NULL,
    safety_stock      double precision NOT NULL,
    reorder_point     bigint           NOT NULL,
    order_up_to       bigint           NOT NULL,
    on_hand           bigint           NOT NULL,
    on_order          bigint           NOT NULL,
    reserved          bigint           NOT NULL,
    held              bigint           NOT NULL,
    position          bigint           NOT NULL,
    net_need          bigint           NOT NULL,
    moq               bigint           NOT NULL,
    pack_size         bigint           NOT NULL,
    cover_days_before double precision,
    cover_days_after  double precision,
    overshoots_cover  boolean          NOT NULL,
    model             text             NOT NULL,
    demand_class      text             NOT NULL,
    own_wape          double precision,
    unit_cost         numeric(18, 4),
    state             text             NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'accepted', 'rejected')),
    decided_at        timestamptz,
    decided_by        text,
    decision          text,
    made_at           timestamptz      NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX restock_suggestion_open ON core.restock_suggestion (shop_id, sku) WHERE state = 'open';
CREATE INDEX restock_suggestion_day ON core.restock_suggestion (shop_id, day);
COMMENT ON TABLE core.restock_suggestion IS 'The purchase list with its working. Open lines are those of the latest list; decided ones are kept.';
COMMENT ON COLUMN core.restock_suggestion.suggestion_id IS 'Stays while a SKU''s line is open, list after list.';

CREATE TABLE core.purchase (
    purchase_id       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id           text        NOT NULL,
    sku               text        NOT NULL,
    supplier          text        NOT NULL,
    quantity          bigint      NOT NULL CHECK (quantity > 0),
    received_quantity bigint      NOT NULL DEFAULT 0 CHECK (received_quantity >= 0),
    suggestion_id     bigint      UNIQUE REFERENCES core.restock_suggestion (suggestion_id),
    ordered_at        timestamptz NOT NULL DEFAULT now(),
    ordered_by        text        NOT NULL,
    due_on            date        NOT NULL,
    closed_at         timestamptz,
    closed_by         text,
    outcome           text        CHECK (outcome IN ('received', 'cancelled')),
    note              text,
    CHECK ((closed_at IS NULL) = (outcome IS NULL))
);
CREATE INDEX purchase_open ON core.purchase (shop_id, sku) WHERE closed_at IS NULL;
COMMENT ON TABLE core.purchase IS 'Accepted suggestions: on order until they are received or cancelled.';
COMMENT ON COLUMN core.purchase.received_quantity IS 'Pieces that came so far; the rest is on order while closed_at is empty.';

CREATE TABLE core.restock_problem (
    shop_id  text    NOT NULL,
    day      date    NOT NULL,
    number   integer NOT NULL,
    sku      text    NOT NULL,
    field    text    NOT NULL,
    problem  text    NOT NULL,
    PRIMARY KEY (shop_id, day, number)
);
COMMENT ON TABLE core.restock_problem IS 'What kept SKUs off the latest purchase list, with the remedy.';
"""

SHIPPING = """
CREATE TABLE core.ship_list (
    list_id   bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    shop_id   text        NOT NULL,
    day       date        NOT NULL,
    orders    integer     NOT NULL,
    lines     integer     NOT NULL,
    pieces    bigint      NOT NULL,
    made_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE core.ship_list IS 'One row a list that was handed to the warehouse.';

CREATE TABLE core.ship_list_line (
    line_id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    list_id         bigint      NOT NULL REFERENCES core.ship_list (list_id),
    shop_id         text        NOT NULL,
    order_id        text        NOT NULL,
    item_id         text        NOT NULL,
    warehouse       text        NOT NULL,
    sku             text        NOT NULL,
    num_iid         text,
    sku_id          text,
    title           text,
    sku_properties  text,
    quantity        bigint      NOT NULL CHECK (quantity > 0),
    ship_by         timestamptz NOT NULL,
    listed_at       timestamptz NOT NULL DEFAULT now(),
    shipped_at      timestamptz,
    stopped_at      timestamptz,
    stop_reason     text,
    CHECK (stopped_at IS NULL OR shipped_at IS NULL)
);
CREATE UNIQUE INDEX ship_list_line_once ON core.ship_list_line (shop_id, order_id, item_id) WHERE stopped_at IS NULL;
CREATE INDEX ship_list_line_list ON core.ship_list_line (list_id);
CREATE INDEX ship_list_line_waiting ON core.ship_list_line (shop_id) WHERE stopped_at IS NULL AND shipped_at IS NULL;
COMMENT ON TABLE core.ship_list_line IS 'Order lines that were handed to the warehouse; each is on one list once, and again only after it was stopped.';

CREATE TABLE core.ship_list_held (
    shop_id   text        NOT NULL,
    order_id  text        NOT NULL,
    item_id   text        NOT NULL,
    sku       text        NOT NULL,
    quantity  bigint      NOT NULL,
    reason    text        NOT NULL,
    remedy    text        NOT NULL,
    ship_by   timestamptz NOT NULL,
    since     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shop_id, order_id, item_id)
);
COMMENT ON TABLE core.ship_list_held IS 'Paid order lines that were not listed, as of the latest list, and why.';
"""

BI = """
CREATE VIEW bi.daily_sku_sales AS
SELECT shop_id, day, sku, quantity, orders, in_stock FROM core.daily_sku_sales;

CREATE VIEW bi.demand_forecast AS
SELECT shop_id, day, sku, model, demand_class, mean AS expected_quantity, q50, q90, own_wape, own_bias, made_at
FROM core.demand_forecast;

CREATE VIEW bi.forecast_backtest AS
SELECT shop_id, day, demand_class, origins, forecasts, sold, wape, wape_week_before, bias, mase, coverage, pinball,
       long_coverage, made_at
FROM core.forecast_backtest;

CREATE VIEW bi.restock_suggestions AS
SELECT suggestion_id, shop_id, day, sku, supplier, quantity, reason, daily_demand, lead_time_days, review_days,
       service_level, lead_time_demand, safety_stock, reorder_point, order_up_to, on_hand, on_order, reserved, held,
       position, net_need, moq, pack_size, cover_days_before, cover_days_after, overshoots_cover, model, demand_class,
       own_wape, unit_cost, (quantity * unit_cost)::numeric(18, 2) AS cost, state, decided_at, decision
FROM core.restock_suggestion;

CREATE VIEW bi.purchases AS
SELECT purchase_id, shop_id, sku, supplier, quantity, received_quantity,
       CASE WHEN closed_at IS NULL THEN quantity - least(received_quantity, quantity) ELSE 0 END AS on_order,
       suggestion_id, ordered_at, due_on, closed_at, outcome
FROM core.purchase;

CREATE VIEW bi.ship_list AS
SELECT shop_id, order_id, item_id, list_id, warehouse, sku, num_iid, sku_id, title, sku_properties, quantity, ship_by,
       CASE WHEN stopped_at IS NOT NULL THEN 'stopped' WHEN shipped_at IS NOT NULL THEN 'shipped' ELSE 'listed' END AS state,
       stop_reason AS reason, listed_at, shipped_at, stopped_at
FROM core.ship_list_line
UNION ALL
SELECT shop_id, order_id, item_id, NULL, NULL, sku, NULL, NULL, NULL, NULL, quantity, ship_by,
       'held_back', reason || ': ' || remedy, NULL, NULL, NULL
FROM core.ship_list_held;
"""

_SHOP = "Your name of the shop (shops.yaml)."
_SKU = "Your own code of the SKU; the platform's sku_id, else num_iid, where it has none."
_CLASS = "smooth, erratic, intermittent or lumpy (Syntetos, Boylan & Croston); new: under 8 weeks; none: never sold."
COMMENTS: dict[str, dict[str | None, str]] = {
    "bi.daily_sku_sales": {
        None: "What was wanted a day and SKU: paid in full, not closed before shipping, no gifts; bundles count as their parts.",
        "shop_id": _SHOP,
        "day": "Day of payment (of a pre-sale: of the final payment; cash on delivery: of the order), Asia/Shanghai.",
        "sku": _SKU,
        "quantity": "Pieces. What was sent and came back is not taken off.",
        "orders": "Distinct orders.",
        "in_stock": "False: stock ran out that day, so more may have been wanted.",
    },
    "bi.demand_forecast": {
        None: "Expected sales of the 7 days that begin with day.",
        "shop_id": _SHOP,
        "day": "First of the 7 days, Asia/Shanghai. Nothing of that day or later was known.",
        "sku": _SKU,
        "model": "trees, smoothing, cold start (under 8 weeks old) or dormant (no sale in 56 days).",
        "demand_class": _CLASS,
        "expected_quantity": "Pieces expected in the 7 days.",
        "q50": "Pieces that are not exceeded with 50 % probability.",
        "q90": "Pieces that are not exceeded with 90 % probability.",
        "own_wape": "Error of such forecasts of this SKU in the last 8 weeks: sum |error| / sum sold.",
        "own_bias": "Their sum of errors / sum sold; above 0: too much was forecast.",
        "made_at": "When it was computed.",
    },
    "bi.forecast_backtest": {
        None: "How good the forecast would have been in the weeks before, by class of demand (all: all of them).",
        "shop_id": _SHOP,
        "day": "The weeks judged end the day before, Asia/Shanghai.",
        "demand_class": _CLASS,
        "origins": "How many weeks were judged.",
        "forecasts": "SKU-weeks judged.",
        "sold": "Pieces sold in them.",
        "wape": "sum |error| / sum sold.",
        "wape_week_before": "The same if the week before had been the forecast.",
        "bias": "sum error / sum sold; above 0: too much was forecast.",
        "mase": "Mean |error| / mean |change from week to week|.",
        "coverage": "Share of SKU-weeks that sold no more than q90; 0.9 would be exact.",
        "pinball": "Quantile loss of q90 / sum sold.",
        "long_coverage": "Coverage over 28 days.",
        "made_at": "When it was computed.",
    },
    "bi.restock_suggestions": {
        None: "What to buy, with the working of every line. quantity 0: nothing, and the reason says why.",
        "suggestion_id": "Names the line: order-pipeline restock accept ID.",
        "shop_id": _SHOP,
        "day": "Day of the list, Asia/Shanghai.",
        "sku": _SKU,
        "supplier": "Whom to buy it from.",
        "quantity": "Pieces to buy.",
        "reason": "Why, in words.",
        "daily_demand": "Mean pieces a day.",
        "lead_time_days": "L: days from order to delivery.",
        "review_days": "R: days between two purchases.",
        "service_level": "Probability that stock lasts until the next delivery.",
        "lead_time_demand": "Mean pieces during L.",
        "safety_stock": "order_up_to less the mean demand over L + R.",
        "reorder_point": "At or below it something is bought.",
        "order_up_to": "What a purchase fills the position up to.",
        "on_hand": "Pieces in the warehouse, those that are paid and not sent among them.",
        "on_order": "Pieces bought and not here yet, due within L + R: accepted suggestions and your own list's.",
        "reserved": "Pieces paid and not sent.",
        "held": "Pieces held by deposits of pre-sales.",
        "position": "on_hand + on_order - reserved - held.",
        "net_need": "order_up_to - position, at least 0.",
        "moq": "The supplier's least quantity.",
        "pack_size": "Pieces in a pack.",
        "cover_days_before": "Days that the position lasts at mean demand; empty: no demand.",
        "cover_days_after": "The same after the purchase.",
        "overshoots_cover": "MOQ or packs force more than the longest cover wanted.",
        "model": "The forecast's model.",
        "demand_class": _CLASS,
        "own_wape": "The forecast's error for this SKU in the last 8 weeks.",
        "unit_cost": "Yuan a piece, from your list of suppliers.",
        "cost": "quantity x unit_cost, yuan.",
        "state": "open (of the latest list), accepted or rejected.",
        "decided_at": "When it was accepted or rejected.",
        "decision": "Why it was rejected.",
    },
    "bi.purchases": {
        None: "Accepted suggestions, until they are received or cancelled.",
        "purchase_id": "Names the purchase: order-pipeline restock received ID.",
        "shop_id": _SHOP,
        "sku": _SKU,
        "supplier": "Whom it was bought from.",
        "quantity": "Pieces bought.",
        "received_quantity": "Pieces that came so far.",
        "on_order": "Pieces that are still to come.",
        "suggestion_id": "The suggestion that it came from.",
        "ordered_at": "When it was accepted.",
        "due_on": "When it should be here, Asia/Shanghai.",
        "closed_at": "When it was received whole, or cancelled.",
        "outcome": "received or cancelled; empty: still on order.",
    },
    "bi.ship_list": {
        None: "Order lines that were handed to the warehouse, and paid ones that were held back, with the reason.",
        "shop_id": _SHOP,
        "order_id": "The order.",
        "item_id": "Its line (oid).",
        "list_id": "The list that it is on; empty: held back.",
        "warehouse": "Where it is picked: the platform's store_code of the line, else default.",
        "sku": _SKU,
        "num_iid": "The platform's id of the item.",
        "sku_id": "The platform's id of the SKU.",
        "title": "The item's title when it was ordered.",
        "sku_properties": "Colour, size and the like.",
        "quantity": "Pieces to send.",
        "ship_by": "Promised to be shipped by then; without a promise, 48 hours after payment.",
        "state": "listed (send it), shipped, stopped (do not send it), held_back (not on a list yet).",
        "reason": "Why it was stopped or is held back, and what to do.",
        "listed_at": "When it was put on the list.",
        "shipped_at": "When it was seen to be shipped.",
        "stopped_at": "When it was stopped.",
    },
}


def upgrade() -> None:
    for script in (DEMAND, RESTOCK, SHIPPING, BI):
        op.execute(script)
    for view, texts in COMMENTS.items():
        for column, text in texts.items():
            target = f"VIEW {view}" if column is None else f"COLUMN {view}.{column}"
            quoted = text.replace("'", "''")
            op.execute(f"COMMENT ON {target} IS '{quoted}'")


def downgrade() -> None:
    op.execute(
        "DROP VIEW bi.ship_list, bi.purchases, bi.restock_suggestions, bi.forecast_backtest, bi.demand_forecast, "
        "bi.daily_sku_sales"
    )
    op.execute("DROP TABLE core.ship_list_held, core.ship_list_line, core.ship_list")
    op.execute("DROP TABLE core.restock_problem, core.purchase, core.restock_suggestion")
    op.execute("DROP TABLE core.forecast_backtest, core.demand_forecast, core.daily_sku_sales")
    op.execute("DELETE FROM sync.watermark WHERE channel = 'daily_sku_sales'")
