"""Whose messages come in a queue: permits, the sellers' names, and the way from a message to a shop.

Belongs here: who is who. Not here: reading messages (messages.py).

shops.yaml names no seller. A message does, by nick and number; so the nick is asked for once a shop (every order
carries it), the number is learnt from the first message that names both, and holds when a seller is renamed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from sqlalchemy import Engine

from order_pipeline.platforms.protocol import Message
from order_pipeline.sync.access import ShopAccess
from order_pipeline.traffic.errors import CallError
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.message_queues import Seller, note_nick, note_permit, note_session, read_sellers

# A permit ends when the seller authorises anew, or somebody cancels it; asking again costs a call a day.
PERMIT_AGAIN_SECONDS = 86_400.0
# A permission is applied for by people; where the platform only stumbled, it is worth another try soon.
REFUSED_AGAIN_SECONDS = 3600.0
STUMBLED_AGAIN_SECONDS = 60.0
# A shop without an order in three months has no nick to show; its first one will.
ASK_AGAIN_SECONDS = 600.0


def route(message: Message, sellers: Sequence[Seller]) -> str | None:
    """Return the shop whose message it is, None: a seller who has no shop among these. Pure.

    By the seller's number where it is known, else by the nick. While the only shop of a queue has not said its
    nick yet, everything is taken to be its own: an order of somebody else's costs a call that finds nothing, and a
    message that is left aside costs the time until a list shows the order.
    """
    for seller in sellers:
        if message.seller_id is not None and seller.seller_id == message.seller_id:
            return seller.shop_id
    for seller in sellers:
        if message.seller_nick is not None and seller.seller_nick == message.seller_nick:
            return seller.shop_id
    if len(sellers) == 1 and sellers[0].seller_nick is None:
        return sellers[0].shop_id
    return None


def introduce(
    app_key: str, accesses: Sequence[ShopAccess], engine: Engine, ends_at: float
) -> tuple[list[Seller], list[str]]:
    """Permit the shops' messages and learn their sellers where that is due; return who they are, and who else is there.

    And, a sentence a shop, which shops have no messages and why. A shop that is refused holds up no other; whose turn
    has not come by ``ends_at`` (monotonic) has it the next time.
    """
    by_id = {access.shop.id: access for access in accesses}
    _note_sessions(app_key, accesses, engine)
    with transaction(engine) as connection:
        sellers = read_sellers(connection, app_key, list(by_id))
    for seller in sellers[: len(by_id)]:
        if time.monotonic() > ends_at:
            break
        platform = by_id[seller.shop_id].platform
        # A shop that is left alone is asked nothing, and has its turn as soon as it goes on.
        if (seller.permit_is_due or seller.ask_is_due) and by_id[seller.shop_id].hold:
            continue
        if seller.permit_is_due:
            problem, again = None, PERMIT_AGAIN_SECONDS
            try:
                platform.permit_messages()
            except CallError as error:
                problem = str(error)
                again = STUMBLED_AGAIN_SECONDS if error.retryable else REFUSED_AGAIN_SECONDS
            with transaction(engine) as connection:
                note_permit(connection, app_key, seller.shop_id, problem, again)
        if seller.ask_is_due:
            try:
                nick = platform.seller_nick()
            except CallError:
                # Whoever lists the orders meets the same, and says so.
                nick = None
            with transaction(engine) as connection:
                note_nick(connection, app_key, seller.shop_id, nick, ASK_AGAIN_SECONDS)
    if any(seller.permit_is_due or seller.ask_is_due for seller in sellers):
        with transaction(engine) as connection:
            sellers = read_sellers(connection, app_key, list(by_id))
    hints = [
        f"shop {seller.shop_id} has no messages, polling goes on: {seller.problem}"
        for seller in sellers
        if seller.problem
    ]
    return sellers, hints


def _note_sessions(app_key: str, accesses: Sequence[ShopAccess], engine: Engine) -> None:
    """Note under which session each shop is known at this reading (withdrawals.py)."""
    prints = {access.shop.id: access.session.fingerprint() for access in accesses if access.session}
    with transaction(engine) as connection:
        for shop_id, fingerprint in sorted(prints.items()):
            if fingerprint:
                note_session(connection, app_key, shop_id, fingerprint)
