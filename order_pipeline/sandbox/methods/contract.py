"""What a method is, what it is given, and how it reads its parameters.

Belongs here: what every family of methods shares. Not here: system parameters (``protocol``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from order_pipeline.sandbox.clock import parse_wall_text
from order_pipeline.sandbox.errors import PlatformError, invalid_argument, missing_argument
from order_pipeline.sandbox.fields import Selection, select
from order_pipeline.sandbox.ledger import Ledger, Refunded
from order_pipeline.sandbox.logistics.parcels import ParcelBook
from order_pipeline.sandbox.marketplace import Marketplace
from order_pipeline.sandbox.refunds import encode_refund
from order_pipeline.sandbox.shops import Shop
from order_pipeline.sandbox.stock import StockBook
from order_pipeline.sandbox.trade import Trade


class Context(msgspec.Struct, frozen=True):
    """One call that has passed the gateway's checks; ``shop`` is None for methods without a session.

    ``app_key`` is the caller's, ``now_ms`` the platform's time in milliseconds since 1970. ``as_text`` is false
    when the answer will be rewritten (XML, simplify), so that nothing but valid JSON may go in.
    """

    marketplace: Marketplace
    method: str
    app_key: str
    shop: Shop | None
    now_ms: int
    as_text: bool

    @property
    def now(self) -> int:
        """The platform's time in whole seconds since 1970."""
        return self.now_ms // 1000

    @property
    def seller(self) -> Shop:
        """The shop whose session came with the call."""
        if self.shop is None:
            raise PlatformError(26, "Missing Session")
        return self.shop

    @property
    def ledger(self) -> Ledger:
        """The seller's orders."""
        return self.marketplace.ledger(self.seller.id)

    @property
    def parcels(self) -> ParcelBook:
        """The seller's parcels."""
        return self.marketplace.parcels(self.seller.id)

    @property
    def stock(self) -> StockBook:
        """The seller's goods."""
        return self.marketplace.stock(self.seller.id)

    def list_at(self) -> int:
        """Return the moment whose state a list shows: now, unless a fault makes it an earlier one."""
        return self.now - self.marketplace.faults.list_age_seconds(self.method, self.seller.id)

    def as_detailed(self, trade: Trade) -> Trade | None:
        """Return a trade as its details show it, None if they do not know of it yet."""
        faults, version = self.marketplace.faults, trade.version
        if faults.is_quiet:
            return trade
        while version and faults.hides_change(
            self.method, self.seller.id, trade.tid, version, self.now - trade.applied[version - 1].at_ms // 1000
        ):
            version -= 1
        return trade.at_version(version) if version else None

    def encoded(self, trade: Trade, selection: Selection) -> msgspec.Raw:
        """Return the selected fields of a trade, ready to be put into an answer; a fault may have spoilt them."""
        return self._spoilt(trade.tid, self.marketplace.fragment(trade, self.seller, selection))

    def encoded_refund(self, refund: Refunded, fields: Collection[str]) -> msgspec.Raw:
        """Return the selected fields of a refund, ready to be put into an answer; a fault may have spoilt them."""
        trade, version, slot = refund
        fragment = encode_refund(trade, version, slot, self.seller, fields)
        return self._spoilt(trade.placement.refund_id(slot), fragment)

    def encoded_record(self, number: int, fields: Mapping[str, Any]) -> msgspec.Raw:
        """Return anything else that has a number, ready to be put into an answer; a fault may have spoilt it."""
        return self._spoilt(number, msgspec.json.encode(fields))

    def _spoilt(self, number: int, fragment: bytes) -> msgspec.Raw:
        faults = self.marketplace.faults
        if self.as_text and not faults.is_quiet:
            fragment = faults.spoilt(self.method, self.seller.id, number, fragment)
        return msgspec.Raw(fragment)


Handler = Callable[[Context, Mapping[str, str]], Mapping[str, Any]]


class Method(msgspec.Struct, frozen=True):
    """One API of the platform; ``writes`` says that it changes something of the seller's."""

    name: str
    handler: Handler
    needs_session: bool = True
    writes: bool = False


def required(parameters: Mapping[str, str], name: str) -> str:
    """Return a parameter's text. PlatformError 40 if it is missing or empty."""
    if value := parameters.get(name, ""):
        return value
    raise missing_argument(name)


def whole_number(parameters: Mapping[str, str], name: str, default: int, lowest: int, highest: int | None) -> int:
    """Return a Number parameter. PlatformError 41 if it is not one or outside ``lowest..highest``."""
    text = parameters.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or int(text) < lowest or (highest is not None and int(text) > highest):
        raise invalid_argument(name)
    return int(text)


def names(parameters: Mapping[str, str], name: str, highest: int | None = None) -> list[str]:
    """Return a comma list without its empty parts. PlatformError 41 if it has more than ``highest``."""
    found = [part.strip() for part in parameters.get(name, "").split(",") if part.strip()]
    if highest is not None and len(found) > highest:
        raise invalid_argument(name)
    return found


def moment(parameters: Mapping[str, str], name: str) -> int | None:
    """Return a Date parameter in whole seconds since 1970, None if absent. PlatformError 41 if it is not a date."""
    text = parameters.get(name, "")
    if not text:
        return None
    try:
        return parse_wall_text(text)
    except ValueError:
        raise invalid_argument(name) from None


def selected(parameters: Mapping[str, str], view: str) -> Selection:
    """Return the ``fields`` parameter. PlatformError 40 if missing, 41 if nothing in it exists."""
    selection = select(required(parameters, "fields"), view)
    if selection.is_empty:
        raise invalid_argument("fields")
    return selection
