"""Trades already encoded, kept while they are likely to be asked for again.

Belongs here: the bounded cache of encoded trades. Not here: the encoding (``rendering``).
"""

from __future__ import annotations

from order_pipeline.sandbox.fields import Selection
from order_pipeline.sandbox.rendering import encode_trade
from order_pipeline.sandbox.shops import Shop
from order_pipeline.sandbox.trade import Trade

# About 20,000 trades with every list field; more would cost a small machine more memory than it saves time.
CAPACITY_BYTES = 48 * 1024 * 1024


class FragmentCache:
    """Encoded trades by (trade, version, selection); the oldest leave first."""

    def __init__(self, capacity_bytes: int = CAPACITY_BYTES) -> None:
        self._capacity = capacity_bytes
        self._size = 0
        self._kept: dict[tuple[int, int, str], bytes] = {}

    def get(self, trade: Trade, shop: Shop, selection: Selection) -> bytes:
        """Return the selected fields of a trade as JSON text."""
        key = (trade.tid, len(trade.applied), selection.key)
        fragment = self._kept.get(key)
        if fragment is None:
            fragment = encode_trade(trade, shop, selection)
            self._kept[key] = fragment
            self._size += len(fragment)
            while self._size > self._capacity:
                oldest = next(iter(self._kept))
                self._size -= len(self._kept.pop(oldest))
        return fragment
