"""What the proof of a day asks for and looks at: orders by day of creation, refunds by day of their last change.

Belongs here: how the proof reads either of them. Not here: proving (reconciliation.py), judging
(insights/reconciliation.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import NamedTuple, Protocol

from sqlalchemy import Connection, Engine

from order_pipeline.insights.reconciliation import Held, Listed
from order_pipeline.platforms.protocol import OrderPlatform, RejectedRecord, Window
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.evidence import Evidence, weigh, weigh_refunds
from order_pipeline.sync.streams import ORDER_STREAM, REFUND_STREAM, Stream
from order_pipeline.warehouse.days import orders_of_day, refunds_of_day


class ListedPage(NamedTuple):
    """One page: what it says of each record by its id, with the moment by which the record's day goes."""

    sent_at: datetime
    records: list[tuple[str, datetime, Listed]]
    rejected: tuple[RejectedRecord, ...]


class Provable(Protocol):
    """Records of which a day can be proven."""

    @property
    def stream(self) -> Stream:
        """Their worklist and details."""
        ...

    def held(self, connection: Connection, shop_id: str, window: Window, also: Collection[str]) -> dict[str, Held]:
        """Read what the warehouse holds from the window's start to its end, both included, and the ids ``also``."""
        ...

    def listed(self, platform: OrderPlatform, window: Window) -> Iterator[ListedPage]:
        """Walk what the platform has of the window."""
        ...

    def countable(self, platform: OrderPlatform) -> Collection[str]:
        """Return the statuses that can be counted."""
        ...

    def count(self, platform: OrderPlatform, window: Window, status: str | None) -> int:
        """Ask for a total."""
        ...

    def weigh(self, access: ShopAccess, engine: Engine, record_ids: Collection[str]) -> Evidence:
        """Compare rows with the answers they were loaded from."""
        ...


class _Orders:
    stream = ORDER_STREAM

    def held(self, connection: Connection, shop_id: str, window: Window, also: Collection[str]) -> dict[str, Held]:  # noqa: ARG002 - the day of a creation never changes
        return {
            row.order_id: Held(
                row.created_at, row.modified_at, row.status, row.payment, row.lines, row.quantity, row.asked_at,
                row.is_whole, step_status=row.step_status,
            )
            for row in orders_of_day(connection, shop_id, window.start, window.end)
        }  # fmt: skip

    def listed(self, platform: OrderPlatform, window: Window) -> Iterator[ListedPage]:
        for page in platform.created_versions(window):
            records = [
                (each.order_id, each.created_at,
                 Listed(each.modified_at, each.status, each.payment, each.lines, each.quantity, each.step_status))
                for each in page.versions
            ]  # fmt: skip
            yield ListedPage(page.sent_at, records, page.rejected)

    def countable(self, platform: OrderPlatform) -> Collection[str]:
        return platform.countable_statuses

    def count(self, platform: OrderPlatform, window: Window, status: str | None) -> int:
        return platform.count_created(window, status)

    def weigh(self, access: ShopAccess, engine: Engine, record_ids: Collection[str]) -> Evidence:
        return weigh(access, engine, record_ids)


class _Refunds:
    stream = REFUND_STREAM

    def held(self, connection: Connection, shop_id: str, window: Window, also: Collection[str]) -> dict[str, Held]:
        # A refund that changes while the day is proven leaves the day: asked for by its id it is seen all the same.
        return {
            row.refund_id: Held(
                row.modified_at,
                row.modified_at,
                row.status,
                row.refund_fee,
                1,
                row.quantity,
                row.asked_at,
                row.is_whole,
            )
            for row in refunds_of_day(connection, shop_id, window.start, window.end, also)
        }

    def listed(self, platform: OrderPlatform, window: Window) -> Iterator[ListedPage]:
        for page in platform.changed_refund_versions(window):
            records = [
                (each.refund_id, each.modified_at,
                 Listed(each.modified_at, each.status, each.refund_fee, None, each.quantity))
                for each in page.versions
            ]  # fmt: skip
            yield ListedPage(page.sent_at, records, page.rejected)

    def countable(self, platform: OrderPlatform) -> Collection[str]:
        return platform.countable_refund_statuses

    def count(self, platform: OrderPlatform, window: Window, status: str | None) -> int:
        return platform.count_changed_refunds(window, status)

    def weigh(self, access: ShopAccess, engine: Engine, record_ids: Collection[str]) -> Evidence:
        return weigh_refunds(access, engine, record_ids)


PROVABLE_ORDERS: Provable = _Orders()
PROVABLE_REFUNDS: Provable = _Refunds()
