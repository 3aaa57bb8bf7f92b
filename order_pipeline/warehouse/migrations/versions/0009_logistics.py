"""Parcels and what is known of their way, alerts about them, and the follow-ups that people work on."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

PARCELS = """
CREATE TABLE core.parcel (
    shop_id                 text        NOT NULL,
    direction               text        NOT NULL CHECK (direction IN ('outgoing', 'return')),
    tracking_number         text        NOT NULL,
    company                 text,
    order_ids               text[]      NOT NULL,
    item_ids                text[]      NOT NULL,
    asked_order_id          text,
    asked_item_ids          text[]      NOT NULL DEFAULT '{}',
    contents                text        NOT NULL CHECK (contents IN ('open', 'finished', 'closed', 'replaced')),
    shipped_at              timestamptz NOT NULL,
    region                  text,
    pickup_promised_at      timestamptz,
    delivery_promised_at    timestamptz,
    state                   text,
    last_event_at           timestamptz,
    events                  integer     NOT NULL DEFAULT 0,
    is_untracked            boolean     NOT NULL DEFAULT false,
    current_tracking_number text,
    current_company         text,
    announced_at            timestamptz,
    checked_at              timestamptz,
    known_at                timestamptz,
    failures                integer     NOT NULL DEFAULT 0,
    last_problem            text,
    changed_at              timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shop_id, direction, tracking_number)
) WITH (fillfactor = 80);
CREATE INDEX parcel_checked ON core.parcel (shop_id, checked_at);
CREATE INDEX parcel_current ON core.parcel (shop_id, current_tracking_number);
COMMENT ON TABLE core.parcel IS 'One row a parcel: what is in it, and where it stands by the last answer about it.';
COMMENT ON COLUMN core.parcel.direction IS 'outgoing: to a buyer; return: goods that a buyer sends back.';
COMMENT ON COLUMN core.parcel.tracking_number IS 'As the seller (of a return: the buyer) named it.';
COMMENT ON COLUMN core.parcel.asked_order_id IS 'The order by which the platform is asked about it.';
COMMENT ON COLUMN core.parcel.asked_item_ids IS 'And the lines, where the order left in several parcels.';
COMMENT ON COLUMN core.parcel.contents IS 'What became of all its order lines; replaced: they go under another number now.';
COMMENT ON COLUMN core.parcel.state IS 'By the latest event; empty: no event yet, or it was only announced.';
COMMENT ON COLUMN core.parcel.last_event_at IS 'By the carrier''s clock.';
COMMENT ON COLUMN core.parcel.is_untracked IS 'The platform calls it delivered without any event, or does not follow its carrier: nothing is known.';
COMMENT ON COLUMN core.parcel.current_tracking_number IS 'By which it goes now, where it was handed on.';
COMMENT ON COLUMN core.parcel.announced_at IS 'Platform time of the newest message about it.';
COMMENT ON COLUMN core.parcel.checked_at IS 'Platform time of the last attempt to ask.';
COMMENT ON COLUMN core.parcel.known_at IS 'Platform time of the last attempt that was answered: nothing is known of later.';
COMMENT ON COLUMN core.parcel.failures IS 'Attempts in a row without an answer.';

CREATE TABLE core.parcel_event (
    shop_id         text        NOT NULL,
    direction       text        NOT NULL,
    tracking_number text        NOT NULL,
    event_at        timestamptz NOT NULL,
    action          text        NOT NULL,
    meaning         text        NOT NULL,
    seen_at         timestamptz NOT NULL,
    PRIMARY KEY (shop_id, direction, tracking_number, event_at, action)
);
COMMENT ON TABLE core.parcel_event IS 'The events of a parcel''s way, each once. Without the carrier''s words, which name couriers and whoever signed.';
COMMENT ON COLUMN core.parcel_event.event_at IS 'By the carrier''s clock, which may be ahead.';
CREATE TABLE core.learnt_number (
    shop_id         text        NOT NULL,
    order_id        text        NOT NULL,
    item_id         text        NOT NULL,
    tracking_number text,
    company         text,
    asked_at        timestamptz NOT NULL,
    PRIMARY KEY (shop_id, order_id, item_id)
);
COMMENT ON TABLE core.learnt_number IS 'Order lines that were sent without a usable waybill: the one that the list of shipments shows; empty: it shows none.';
COMMENT ON COLUMN core.parcel_event.seen_at IS 'Platform time of the first answer that had it.';
"""

ALERTS = """
CREATE TABLE core.logistics_alert (
    shop_id         text        NOT NULL,
    alert_id        bigint      GENERATED ALWAYS AS IDENTITY,
    direction       text        NOT NULL,
    tracking_number text        NOT NULL,
    rule            text        NOT NULL,
    also            text[]      NOT NULL DEFAULT '{}',
    since           timestamptz NOT NULL,
    crossed_at      timestamptz NOT NULL,
    opened_at       timestamptz NOT NULL,
    closed_at       timestamptz,
    close_reason    text,
    PRIMARY KEY (shop_id, alert_id)
);
CREATE UNIQUE INDEX logistics_alert_open ON core.logistics_alert (shop_id, direction, tracking_number)
    WHERE closed_at IS NULL;
CREATE INDEX logistics_alert_opened ON core.logistics_alert (shop_id, opened_at);
COMMENT ON TABLE core.logistics_alert IS 'One row a parcel and episode; an episode begins with what is waited for since, and ends with news.';
COMMENT ON COLUMN core.logistics_alert.also IS 'Rules that hold besides.';
COMMENT ON COLUMN core.logistics_alert.opened_at IS 'Platform time up to which the answer reaches that showed it.';

CREATE TABLE core.follow_up (
    shop_id         text        NOT NULL,
    follow_up_id    bigint      GENERATED ALWAYS AS IDENTITY,
    alert_id        bigint      NOT NULL,
    direction       text        NOT NULL,
    tracking_number text        NOT NULL,
    order_ids       text[]      NOT NULL,
    why             text        NOT NULL,
    since           timestamptz NOT NULL,
    state           text        NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'assigned', 'closed')),
    assignee        text,
    history         jsonb       NOT NULL DEFAULT '[]',
    opened_at       timestamptz NOT NULL DEFAULT now(),
    changed_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shop_id, follow_up_id),
    UNIQUE (shop_id, alert_id),
    FOREIGN KEY (shop_id, alert_id) REFERENCES core.logistics_alert (shop_id, alert_id)
);
CREATE INDEX follow_up_unfinished ON core.follow_up (shop_id, follow_up_id) WHERE state <> 'closed';
COMMENT ON TABLE core.follow_up IS 'What customer service has to look after: one row an alert.';
COMMENT ON COLUMN core.follow_up.why IS 'In words.';
COMMENT ON COLUMN core.follow_up.history IS 'What was done with it: at, by, state, note; the oldest first.';
"""

BI = """
CREATE VIEW bi.logistics_alerts AS
SELECT shop_id, alert_id, a.rule, a.also, f.why, a.direction, a.tracking_number,
       p.current_tracking_number, coalesce(p.current_company, p.company) AS company,
       p.order_ids, cardinality(p.order_ids) AS orders, p.region, p.shipped_at, p.state, p.last_event_at,
       a.since, a.crossed_at, a.opened_at, a.closed_at, a.close_reason, a.closed_at IS NULL AS is_open,
       round((extract(epoch FROM coalesce(a.closed_at, p.known_at, a.opened_at) - a.since) / 3600)::numeric, 1)
           AS hours_since,
       p.known_at, f.follow_up_id, f.state AS follow_up_state, f.assignee
FROM core.logistics_alert a
JOIN core.parcel p USING (shop_id, direction, tracking_number)
LEFT JOIN core.follow_up f USING (shop_id, alert_id);
"""
COMMENTS: dict[str, dict[str | None, str]] = {
    "bi.logistics_alerts": {
        None: "One row a parcel and episode in which something was wrong with it; is_open: it still is.",
        "shop_id": "Your name of the shop (shops.yaml).",
        "alert_id": "Number of the alert.",
        "rule": "S1 not picked up, S2 no event for 72 hours, S3 out for delivery too long, S4 waits at a pick-up point, S5 the carrier reports a problem, S6 comes back and stands still, S7 later than promised.",
        "also": "Rules that hold besides.",
        "why": "The same in words.",
        "direction": "outgoing: to a buyer; return: goods that a buyer sends back.",
        "tracking_number": "The waybill that the parcel was sent under.",
        "current_tracking_number": "The waybill it goes under now, where it was handed on.",
        "company": "The carrier now.",
        "order_ids": "The orders in the parcel.",
        "orders": "How many orders are in the parcel.",
        "region": "Province of the receiver.",
        "shipped_at": "When it was handed over.",
        "state": "Where it stands by its latest event; empty: no carrier has had it.",
        "last_event_at": "When that event was, by the carrier's clock.",
        "since": "Since when the waiting counts: the last event, the shipping, or the promise.",
        "crossed_at": "When the rule's hours were over.",
        "opened_at": "When it was noticed.",
        "closed_at": "When it was over; empty: it is not.",
        "close_reason": "Why it was over.",
        "is_open": "Whether it is not over.",
        "hours_since": "Hours from since to the last answer, or to the end; holidays included.",
        "known_at": "When the platform last answered about the parcel.",
        "follow_up_id": "The follow-up that the alert opened.",
        "follow_up_state": "open, assigned or closed.",
        "assignee": "Who looks after it.",
    },
}


def upgrade() -> None:
    for script in (PARCELS, ALERTS, BI):
        op.execute(script)
    for view, texts in COMMENTS.items():
        for column, text in texts.items():
            target = f"VIEW {view}" if column is None else f"COLUMN {view}.{column}"
            quoted = text.replace("'", "''")
            op.execute(f"COMMENT ON {target} IS '{quoted}'")


def downgrade() -> None:
    op.execute("DROP VIEW bi.logistics_alerts")
    op.execute("DROP TABLE core.follow_up, core.logistics_alert, core.parcel_event, core.learnt_number, core.parcel")
