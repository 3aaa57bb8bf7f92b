"""Empty lists of changes, held against what the same hours of other days had.

Belongs here: reading, and telling people once. Not here: judging (insights/silence.py), asking the platform (due.py).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from statistics import median

from sqlalchemy import Connection

from order_pipeline.insights.silence import is_unusually_silent
from order_pipeline.notifications.digest import shown
from order_pipeline.platforms.protocol import Window
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.windows import HISTORY_DAYS
from order_pipeline.warehouse.days import changes_known, last_change, orders_placed
from order_pipeline.warehouse.notices import Notice, Severity, raise_notice, resolve_notice

SILENT_LISTS = "silent_lists"

DAYS_BEFORE = 7
# A longer silence has a day's proof behind it, and days are compared there.
LONGEST = timedelta(hours=12)
# Lists may be so far behind details.
LATE = timedelta(minutes=2)


def suspected_silence(connection: Connection, access: ShopAccess, listed: Window, now: datetime) -> str | None:
    """Judge an empty list of the changes of a window up to ``now`` (platform's time); say in words why it is suspect.

    It is where the tables know, from messages, of a change that it should show, and where other days had orders in the
    time of which no change is known. People are told once.
    """
    shop_id = access.shop.id
    # What is older than the platform lists can change and is not listed.
    oldest = now - timedelta(days=HISTORY_DAYS - 1)
    hidden = changes_known(
        connection,
        shop_id,
        listed.start,
        listed.end - LATE,
        created_from=oldest,
        types=access.platform.listed_types,
    )
    since = listed.start
    if hidden:
        words = f"the list since {shown(since)} is empty, where {hidden} orders are known to have changed"
    else:
        since = max(min(last_change(connection, shop_id) or since, since), now - LONGEST)
        before = orders_placed(connection, shop_id, since, now, DAYS_BEFORE)
        if not is_unusually_silent(before):
            return None
        words = f"the lists bring nothing since {shown(since)}, where {median(before):.0f} new orders are usual"
    raise_notice(
        connection,
        Notice(
            SILENT_LISTS,
            shop_id,
            Severity.WARNING,
            f"the lists of shop {shop_id} are suspiciously empty",
            f"What happened: {words}.\n"
            f"What it means: the platform may be hiding orders without an error; the watermark waits, so that they are "
            f"listed later all the same, and messages go on.\n"
            f"What to do: look at the shop in the seller's center. If it sells, tell the platform; if it is closed, "
            f"nothing.",
            quiet=None,
        ),
    )
    return words


def end_silence(connection: Connection, shop_id: str) -> None:
    """Note that the lists bring something again."""
    resolve_notice(
        connection,
        SILENT_LISTS,
        shop_id,
        title=f"the lists of shop {shop_id} bring something again",
        body="What was hidden is listed now, from where the watermark waited; nothing is to be done.",
    )
