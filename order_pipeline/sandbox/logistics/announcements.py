"""Which scans of a shop's parcels are told to its app, and when (contract 6.3).

Belongs here: the schedule of messages about parcels. Not here: the queues (``messages``). It costs nothing while no
permission names the topic.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any

from order_pipeline.sandbox.clock import wall_text
from order_pipeline.sandbox.logistics.journeys import Scan
from order_pipeline.sandbox.logistics.parcels import Parcel, ParcelBook, carrier_of
from order_pipeline.sandbox.people import person
from order_pipeline.sandbox.shops import Shop

TRACE_TOPIC = "taobao_logistics_LogsticDetailTrace"  # sic


class ScanFeed:
    """Tells of the scans of one shop's parcels as they become visible, one message an order in the parcel."""

    def __init__(self, shop: Shop, book: ParcelBook, since_ms: int) -> None:
        """Begin with what becomes visible after ``since_ms``."""
        self._shop = shop
        self._book = book
        # Up to when each parcel was told of, and the scans of that very moment: more may be added to it.
        self._told: dict[str, tuple[int, list[Scan]]] = {}
        self._next: list[tuple[int, str]] = []
        self._since_ms = since_ms
        for parcel in book:
            self._await(parcel)
        book.watch(self._look_again)

    def _look_again(self, waybill: str) -> None:
        if parcel := self._book.find(waybill):
            self._await(parcel)

    def _untold(self, parcel: Parcel) -> list[Scan]:
        told_ms, then = self._told.get(parcel.waybill, (self._since_ms, []))
        scans = self._book.scans(parcel)
        return [scan for scan in scans if scan.at_ms > told_ms or (scan.at_ms == told_ms and scan not in then)]

    def _await(self, parcel: Parcel) -> None:
        if coming := self._untold(parcel):
            heapq.heappush(self._next, (coming[0].at_ms, parcel.waybill))

    def take(self, now_ms: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """Give moment and content of the messages that are due by ``now_ms`` and were not given before."""
        for parcel in self._book.catch_up():
            self._await(parcel)
        while self._next and self._next[0][0] <= now_ms:
            due = self._book.find(heapq.heappop(self._next)[1])
            if due is None:
                continue
            seen = self._book.visible(due, now_ms)
            for scan in self._untold(due):
                if scan.at_ms <= now_ms:
                    for content in self._contents(due, scan, seen[: seen.index(scan) + 1]):
                        yield scan.at_ms, content
            self._told[due.waybill] = (now_ms, [scan for scan in seen if scan.at_ms == now_ms])
            self._await(due)

    def _contents(self, parcel: Parcel, scan: Scan, seen: list[Scan]) -> Iterator[dict[str, Any]]:
        out_sid, company = carrier_of(parcel, seen)
        for trade, _ in parcel.contents:
            buyer = person(trade.placement.basket.household, self._shop.user_id)
            yield {
                "action": scan.action,
                "buyer_nick": buyer.nick,
                "buyer_open_uid": buyer.open_uid,
                "company_name": company,
                "desc": scan.text,
                "out_sid": out_sid,
                "seller_nick": self._shop.seller_nick,
                "tid": trade.tid,
                "time": wall_text(scan.time),
            }
