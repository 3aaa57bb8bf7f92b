"""A look at which fields the platform's answers have, beside those of the days before.

Belongs here: when to look, at what, and storing it. Not here: judging (insights/drift.py), naming fields (platforms).

It reads stored answers, a few hundred every ten minutes at most, so that loading pays nothing for it (a look at eighty
takes 10 to 70 ms).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection, Engine

from order_pipeline.insights.drift import Fields, Shapes, drifts
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.windows import HISTORY_DAYS, day_of
from order_pipeline.warehouse.daily_sales import lock_shop
from order_pipeline.warehouse.database import in_transaction
from order_pipeline.warehouse.field_counts import (
    FieldCount,
    FieldDrift,
    add_counts,
    latest_answers,
    read_counts,
    replace_drifts,
)
from order_pipeline.warehouse.watermarks import FIELD_COUNTS, begin_watermark, move_watermark, read_watermark

EVERY = timedelta(minutes=10)
# Of orders, and as many of refunds.
ANSWERS_A_LOOK = 200
# With fewer a look waits until there are more, or a day is over.
FEWEST_ANSWERS = 30
PATIENCE = timedelta(days=1)
DAYS_BEFORE = 7
# A platform adds a field now and then. Whatever else comes as names (a dictionary by id, poison) is not kept by name.
MOST_UNKNOWN = 50
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
ODD_NAME = "(a name that is none)"


def look_for_drift(access: ShopAccess, engine: Engine, now: datetime) -> int:
    """Look at the fields of the shop's latest answers, where it is time to; return how many answers were looked at.

    ``now`` is the platform's time, or near it. Raises DatabaseUnreachableError.
    """
    return in_transaction(engine, partial(_look, access=access, now=now))


def _look(connection: Connection, *, access: ShopAccess, now: datetime) -> int:
    shop_id = access.shop.id
    since = read_watermark(connection, shop_id, FIELD_COUNTS)
    if since and now - since < EVERY:
        return 0
    lock_shop(connection, shop_id, FIELD_COUNTS)
    bodies = latest_answers(connection, shop_id, since or now - timedelta(days=HISTORY_DAYS), ANSWERS_A_LOOK)
    if len(bodies) < FEWEST_ANSWERS and not (since and now - since > PATIENCE):
        # From now on the day is waited for.
        begin_watermark(connection, shop_id, now, FIELD_COUNTS)
        return 0
    counts = _counted(access, bodies)
    day = day_of(now)
    before = read_counts(connection, shop_id, day - timedelta(days=DAYS_BEFORE), day - timedelta(days=1))
    days = [_shapes(count for count in before if count.day == a_day) for a_day in sorted({each.day for each in before})]
    fields = {name: Fields(each.known, each.mapped) for name, each in access.platform.known_fields.items()}
    found = drifts(fields, _shapes(FieldCount(day, *key, records) for key, records in counts.items()), days)
    add_counts(connection, shop_id, day, counts)
    looked_at = sorted({name for name, _, _ in counts})
    replace_drifts(
        connection, shop_id, looked_at, [FieldDrift(*drift) for drift in found if drift.object in looked_at], now
    )
    begin_watermark(connection, shop_id, now, FIELD_COUNTS)
    move_watermark(connection, shop_id, now, FIELD_COUNTS)
    return len(bodies)


def _counted(access: ShopAccess, bodies: Iterable[str]) -> Counter[tuple[str, str, str]]:
    """Count records by object, field and kind; the records themselves under an empty field."""
    known = access.platform.known_fields
    counts: Counter[tuple[str, str, str]] = Counter()
    unknown: Counter[tuple[str, str, str]] = Counter()
    for body in bodies:
        for shape in access.platform.read_shapes(body):
            counts[shape.object, "", ""] += 1
            for field, kind in shape.kinds.items():
                if field in known[shape.object].known:
                    counts[shape.object, field, kind] += 1
                else:
                    unknown[shape.object, field if _NAME.fullmatch(field) else ODD_NAME, kind] += 1
    return counts + Counter(dict(unknown.most_common(MOST_UNKNOWN)))


def _shapes(counts: Iterable[FieldCount]) -> Shapes:
    records: dict[str, int] = {}
    seen: dict[tuple[str, str, str], int] = {}
    for count in counts:
        if count.field:
            seen[count.object, count.field, count.kind] = count.records
        else:
            records[count.object] = count.records
    return Shapes(records, seen)
