"""The ground truth, outside the wire protocol: what the marketplace knows about every order and refund.

Belongs here: what ``/sandbox/truth`` and ``/sandbox/truth/refunds`` show. Not here: HTTP (``server``).
"""

from __future__ import annotations

from collections.abc import Iterator

from order_pipeline.sandbox.clock import wall_text
from order_pipeline.sandbox.fields import everything, select
from order_pipeline.sandbox.marketplace import Marketplace
from order_pipeline.sandbox.refunds import DETAIL_FIELDS, encode_refund
from order_pipeline.sandbox.rendering import encode_trade

# Enough lines a piece to keep the overhead low, few enough not to hold up other answers for long.
_TRADES_PER_PIECE = 100


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
