"""A message says that a seller took the authorisation back: the shop is paused before a call of it is refused.

Belongs here: whether such a message concerns the session of today, and pausing. Not here: reading messages
(messages.py), what a refused call means (sessions.py).

Messages come late, again and in any order, so one may tell of an authorisation that another has replaced. To miss a
withdrawal costs one refused call, which pauses the shop too; to pause an authorised shop costs its data until a
person looks. So in doubt nothing is paused.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from order_pipeline.platforms.protocol import Message
from order_pipeline.sync.actor import actor
from order_pipeline.warehouse.message_queues import KnownSession, Seller, ask_permit_again, read_session
from order_pipeline.warehouse.pauses import begin_pause, read_pause
from order_pipeline.warehouse.tokens import read_token_row

logger = logging.getLogger(__name__)

# When a session began is known by this machine's clock or the database's, the withdrawal by the platform's. A clock
# that is further off cannot call at all (contract 1.2).
CLOCK_ERROR = timedelta(minutes=10)


def ends(session: KnownSession, published_at: datetime | None) -> bool:
    """Return whether a withdrawal ends this session; not one that may have begun after it. Pure."""
    return published_at is not None and session.since < published_at - CLOCK_ERROR


def withdrawn_shop(message: Message, sellers: Sequence[Seller]) -> str | None:
    """Return the shop whose authorisation a message takes back. Pure.

    By number or nick only: what is merely taken to be a shop's own (sellers.route) is not enough to pause it.
    """
    if not message.withdraws or message.problem:
        return None
    for seller in sellers:
        if message.seller_id is not None and seller.seller_id == message.seller_id:
            return seller.shop_id
    for seller in sellers:
        if message.seller_nick is not None and seller.seller_nick == message.seller_nick:
            return seller.shop_id
    return None


def obey(connection: Connection, app_key: str, sellers: Sequence[Seller], messages: Sequence[Message]) -> list[str]:
    """Pause the shops whose session is withdrawn by one of the messages; return those that were not paused before."""
    paused = []
    for message in messages:
        shop_id = withdrawn_shop(message, sellers)
        if shop_id is None:
            continue
        # What was permitted under it ended too, and a new authorisation has to ask anew.
        ask_permit_again(connection, app_key, shop_id)
        session = _session(connection, app_key, shop_id)
        if session is None or not ends(session, message.published_at):
            logger.info("shop %s: a withdrawal of %s is older than its session", shop_id, message.published_at)
            continue
        before = read_pause(connection, shop_id)
        if before and before.fingerprint == session.fingerprint:
            continue
        said = f"{message.published_at.astimezone(UTC):%F %T} UTC" if message.published_at else ""
        reason = f"the seller withdrew the authorisation at {said} (message {message.message_id})"
        begin_pause(connection, shop_id, session.fingerprint, reason, f"{actor()}, process {os.getpid()}")
        paused.append(shop_id)
    return paused


def _session(connection: Connection, app_key: str, shop_id: str) -> KnownSession | None:
    # A renewed token counts from its renewal: the platform renews none that was withdrawn.
    token = read_token_row(connection, shop_id, app_key)
    return KnownSession(token.fingerprint, token.obtained_at) if token else read_session(connection, app_key, shop_id)
