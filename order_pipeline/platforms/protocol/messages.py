"""What a marketplace tells of its own accord, and the queue that it waits in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message of the platform: that something happened, never what it is like now.

    Attributes:
        message_id: the platform's number of it, unique for an app key; where it has none that can be read, one made
            of what it says.
        confirmable: whether the platform can be told that it arrived.
        topic: what happened, in the platform's words.
        known_topic: whether that is documented.
        seller_id: whose shop, the platform's number of the account.
        seller_nick: the account's name.
        published_at: when the platform published it; None: it does not say so readably.
        order_id: the order that changed; None: it announces no change of an order, or does not name it.
        refund_id: the refund that changed with it.
        withdraws: whether it says that the seller took the app's authorisation back.
        content: what else it says, as JSON text without personal data; of one that could not be read what is left.
        problem: why it could not be read; None: it could.

    """

    message_id: str
    confirmable: bool
    topic: str
    known_topic: bool
    seller_id: str | None
    seller_nick: str | None
    published_at: datetime | None
    order_id: str | None
    refund_id: str | None
    content: str
    problem: str | None
    withdraws: bool = False


class MessageBatch(msgspec.Struct, frozen=True, kw_only=True):
    """Messages that wait to be confirmed. ``received_at``: the platform's time when they came, or a little earlier."""

    messages: tuple[Message, ...]
    received_at: datetime


class MessageSource(Protocol):
    """A shop's way to its app key's queue of messages, which all shops of the app key share.

    Every method raises ``traffic.errors.CallError`` as OrderPlatform does.
    """

    def permit_messages(self) -> None:
        """Let the shop's messages come, in all topics that the app has subscribed to. Safe to repeat."""
        ...

    def seller_nick(self) -> str | None:
        """Ask for the name of the shop's account, by which messages name it; None: the platform did not say."""
        ...

    def messages(self, group: str | None) -> MessageBatch:
        """Fetch what is in the queue, as much as comes at once. Each comes again until it is confirmed."""
        ...

    def confirm_messages(self, group: str | None, message_ids: Sequence[str]) -> None:
        """Say that these are safe with us: they never come again. At most as many as a batch holds."""
        ...
