"""From a platform's refunds to the warehouse's rows, one transaction at a time.

Belongs here: what storing.py does for orders. Not here: which refunds to fetch.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from operator import attrgetter

from sqlalchemy import Connection

from order_pipeline.platforms.protocol import Refund, RefundDetail, RefundPage
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.storing import ListStore, Staged, Stored, StoredDetails, quarantined, raw_page
from order_pipeline.warehouse.copying import as_json
from order_pipeline.warehouse.merging import Refused, Source
from order_pipeline.warehouse.quarantine import QuarantinedRecord, quarantine, settle_loaded
from order_pipeline.warehouse.raw import store_pages
from order_pipeline.warehouse.refunds import (
    REFUND_COLUMNS,
    RefundRow,
    begin_refunds,
    merge_refunds,
    merge_staged_refunds,
    stage_refunds,
)
from order_pipeline.warehouse.subjects import REFUNDS
from order_pipeline.warehouse.worklist import Said, say_changed, say_staged

REFUND_DETAIL = "refund detail"

_values = attrgetter(*REFUND_COLUMNS)


def refund_lists(access: ShopAccess, channel: str) -> ListStore[RefundPage]:
    """Return how pages of refunds that come by that channel are stored: the refunds where newer, and the worklist.

    A record that could not be read goes on the worklist too where its id is known: its details may be fine.
    """
    return ListStore(begin_refunds, partial(_stage_pages, access, channel), partial(_merge_staged, channel))


def _stage_pages(access: ShopAccess, channel: str, connection: Connection, pages: Sequence[RefundPage]) -> Staged:
    shop = access.shop
    store_pages(connection, shop.id, shop.platform, channel, [raw_page(page.answer, page.window) for page in pages])
    rows = [refund_row(refund, page.answer.sent_at) for page in pages for refund in page.refunds]
    staged = stage_refunds(connection, shop.id, shop.platform, Source.LIST, rows)
    rejected = [quarantined(record, page.answer) for page in pages for record in page.rejected]
    rejected += [_refused(held) for held in staged.refused]
    quarantine(connection, shop.id, shop.platform, channel, rejected, subject=REFUNDS)
    said = [Said(held.refund_id, held.modified_at or held.sent_at) for held in rejected if held.refund_id]
    changed = say_changed(connection, shop.id, channel, said, subject=REFUNDS)
    listed = sum(len(page.refunds) + len(page.rejected) for page in pages)
    return Staged(Stored(listed, changed, len(rejected)), staged.rows)


def _merge_staged(channel: str, connection: Connection, rows: int) -> int:
    merge_staged_refunds(connection, Source.LIST, rows)
    return say_staged(connection, channel, subject=REFUNDS)


def store_refund_details(connection: Connection, access: ShopAccess, details: Sequence[RefundDetail]) -> StoredDetails:
    """Store whole refunds: raw first, then the rows where newer, and what could not be read or loaded."""
    shop = access.shop
    refunds = [(detail.refund, detail.answer) for detail in details if detail.refund]
    pages = [raw_page(detail.answer, None, refund_id=detail.record_id) for detail in details]
    store_pages(connection, shop.id, shop.platform, REFUND_DETAIL, pages)
    rows = [refund_row(refund, answer.sent_at) for refund, answer in refunds]
    refused = merge_refunds(connection, shop.id, shop.platform, Source.DETAIL, rows)
    rejected = [quarantined(detail.rejected, detail.answer) for detail in details if detail.rejected]
    rejected += [_refused(held) for held in refused]
    quarantine(connection, shop.id, shop.platform, REFUND_DETAIL, rejected, subject=REFUNDS)
    settle_loaded(connection, shop.id, [refund.refund_id for refund, _ in refunds], subject=REFUNDS)
    reasons = {held.row.refund_id: held.reason for held in refused}
    return StoredDetails(len(refunds) - len(reasons), len(rejected), reasons)


def refund_row(refund: Refund, sent_at: datetime) -> RefundRow:
    """Return the version of a refund for the merge. ``sent_at``: of the answer that showed it."""
    return RefundRow(_values(refund), sent_at)


def _refused(held: Refused[RefundRow]) -> QuarantinedRecord:
    values = dict(zip(REFUND_COLUMNS, held.row.refund, strict=True))
    modified: datetime = values["modified_at"]
    return QuarantinedRecord(None, modified, held.reason, as_json(values), held.row.sent_at, held.row.refund_id)
