"""What a method is, what it is given, and how it reads its parameters.

Belongs here: what every family of methods shares. Not here: system parameters (``protocol``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from order_pipeline.sandbox.clock import parse_wall_text
from order_pipeline.sandbox.errors import PlatformError, invalid_argument, missing_argument
from order_pipeline.sandbox.fields import Selection, select
from order_pipeline.sandbox.ledger import Ledger
from order_pipeline.sandbox.marketplace import Marketplace
from order_pipeline.sandbox.shops import Shop
from order_pipeline.sandbox.trade import Trade


class Context(msgspec.Struct, frozen=True):
    """One call that has passed the gateway's checks; ``shop`` is None for methods without a session.

    ``now`` is the platform's time in whole seconds since 1970. ``as_text`` is false when the answer will be
    rewritten (XML, simplify), so that nothing but valid JSON may go in.
    """

    marketplace: Marketplace
    shop: Shop | None
    now: int
    as_text: bool

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

    def encoded(self, trade: Trade, selection: Selection) -> msgspec.Raw:
        """Return the selected fields of a trade, ready to be put into an answer."""
        return msgspec.Raw(self.marketplace.fragment(trade, self.seller, selection, spoil=self.as_text))


Handler = Callable[[Context, Mapping[str, str]], Mapping[str, Any]]


class Method(msgspec.Struct, frozen=True):
    """One API of the platform."""

    name: str
    handler: Handler
    needs_session: bool = True


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
