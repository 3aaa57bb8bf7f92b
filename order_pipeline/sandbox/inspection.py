"""The ground truth, outside the wire protocol: what the marketplace knows of orders, refunds, parcels and stock.

Belongs here: what ``/sandbox/truth`` and everything below it show. Not here: HTTP (``server``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from order_pipeline.sandbox.clock import wall_text
from order_pipeline.sandbox.event_values import OFFLINE
from order_pipeline.sandbox.fields import everything, select
from order_pipeline.sandbox.logistics import evidence
from order_pipeline.sandbox.logistics.evidence import episodes, standings
from order_pipeline.sandbox.logistics.parcels import Parcel, ParcelBook, carrier_of
from order_pipeline.sandbox.marketplace import Marketplace
from order_pipeline.sandbox.methods.items import outer_id_of
from order_pipeline.sandbox.refunds import DETAIL_FIELDS, encode_refund
from order_pipeline.sandbox.rendering import encode_trade
from order_pipeline.sandbox.stock import INSTOCK, ONSALE

# Enough lines a piece to keep the overhead low, few enough not to hold up other answers for long.
_TRADES_PER_PIECE = 100
_ROWS_PER_PIECE = 1_000


def truth(marketplace: Marketplace, shop_id: str, fields: str | None) -> tuple[str, Iterator[bytes]]:
    """Return the platform's time (its own text form) and, in pieces of NDJSON, every order of a shop at that time.

    Each line is what fullinfo would show as ``trade``; orders of every type and age are there. The pieces may
    be taken later: they show the moment of this call. UnknownOrderError for a shop that does not exist.
    """
    with marketplace.looking() as now_ms:
        snapshot = marketplace.ledger(shop_id).versions()
    shop = marketplace.shops[shop_id]
    selection = select(fields, "detail") if fields else everything("detail")

    def pieces() -> Iterator[bytes]:
        for begin in range(0, len(snapshot), _TRADES_PER_PIECE):
            lines = []
            for trade, version in snapshot[begin : begin + _TRADES_PER_PIECE]:
                with marketplace.still():
                    lines.append(encode_trade(trade.at_version(version), shop, selection))
            yield b"\n".join(lines) + b"\n"

    return wall_text(now_ms // 1000), pieces()


def truth_of_refunds(marketplace: Marketplace, shop_id: str) -> tuple[str, Iterator[bytes]]:
    """Return the platform's time and, in pieces of NDJSON, every refund of a shop, as refund.get shows it whole.

    Refunds of orders of every type and age are there. Otherwise as ``truth``.
    """
    with marketplace.looking() as now_ms:
        snapshot = marketplace.ledger(shop_id).refunds()
    shop = marketplace.shops[shop_id]

    def pieces() -> Iterator[bytes]:
        for begin in range(0, len(snapshot), _TRADES_PER_PIECE):
            lines = []
            for trade, version, slot in snapshot[begin : begin + _TRADES_PER_PIECE]:
                with marketplace.still():
                    lines.append(encode_refund(trade, version, slot, shop, DETAIL_FIELDS))
            yield b"\n".join(lines) + b"\n"

    return wall_text(now_ms // 1000), pieces()


def truth_of_parcels(marketplace: Marketplace, shop_id: str, hours: float) -> tuple[str, Iterator[bytes]]:
    """Return the platform's time and, in pieces of NDJSON, every parcel of a shop with all that has come of it.

    ``crossed_at`` is when it crossed, or will cross if nothing comes, so many ``hours`` without news; moments are the
    platform's text. Otherwise as ``truth``.
    """
    with marketplace.looking() as now_ms:
        book = marketplace.parcels(shop_id)
        snapshot = list(book)

    def pieces() -> Iterator[bytes]:
        for begin in range(0, len(snapshot), _TRADES_PER_PIECE):
            with marketplace.still():
                found = [_parcel(book, parcel, now_ms, hours) for parcel in snapshot[begin : begin + _TRADES_PER_PIECE]]
            yield b"".join(msgspec.json.encode(each) + b"\n" for each in found)

    return wall_text(now_ms // 1000), pieces()


def _parcel(book: ParcelBook, parcel: Parcel, now_ms: int, hours: float) -> dict[str, Any]:
    scans = book.visible(parcel, now_ms)
    known = standings(scans)
    last = known[-1] if known else None
    state = last.state if last else evidence.UNTRACKED if parcel.channel == OFFLINE else evidence.NO_TRACE
    stuck = episodes(known, now_ms // 1000, hours)
    out_sid, company = carrier_of(parcel, scans)
    moves = last is not None and last.last_time is not None and state in evidence.MOVING
    return {
        "waybill": parcel.waybill,
        "out_sid": out_sid,
        "company": company,
        "channel": parcel.channel,
        "handed_over_at": wall_text(parcel.handed_over_ms // 1000),
        "orders": [
            {"tid": trade.tid, "oids": [trade.lines[position].oid for position in lines], "status": trade.status}
            for trade, lines in parcel.contents
        ],
        "events": [
            {
                "at": wall_text(scan.at_ms // 1000),
                "time": wall_text(scan.time),
                "action": scan.action,
                "desc": scan.text,
            }
            for scan in scans
        ],
        "state": state,
        "last_event_at": _text(last.last_time if last else None),
        "crossed_at": _text(last.last_time + round(hours * 3600) if last and last.last_time and moves else None),
        "stalled": bool(stuck) and stuck[-1].ended_at is None,
        "episodes": [
            {"since": _text(each.since), "crossed_at": _text(each.crossed_at), "ended_at": _text(each.ended_at)}
            for each in stuck
        ],
    }


def _text(second: int | None) -> str | None:
    return None if second is None else wall_text(second)


def truth_of_stock(marketplace: Marketplace, shop_id: str) -> tuple[str, Iterator[bytes]]:
    """Return the platform's time and, in pieces of NDJSON, every SKU of a shop with how its stock came about."""
    with marketplace.looking() as now_ms:
        book = marketplace.stock(shop_id)
        products = book.products()
        rows = [
            {
                "num_iid": products[sku.product_id].num_iid,
                "sku_id": sku.sku_id,
                "outer_id": outer_id_of(products[sku.product_id], sku),
                "title": products[sku.product_id].source.title,
                "approve_status": ONSALE if products[sku.product_id].is_onsale else INSTOCK,
                "quantity": sku.quantity,
                "initial": sku.initial,
                "sold": sku.sold,
                "oversold": sku.oversold,
                "arrived": sku.arrived,
                "written": sku.written,
                "writes": sku.writes,
                "modified": wall_text(sku.modified),
            }
            for sku in book.every_sku(now_ms // 1000)
        ]
    pieces = (
        b"".join(msgspec.json.encode(row) + b"\n" for row in rows[begin : begin + _ROWS_PER_PIECE])
        for begin in range(0, len(rows), _ROWS_PER_PIECE)
    )
    return wall_text(now_ms // 1000), pieces
