"""A new authorisation of a shop: the token that a code brings, checked and stored.

Belongs here: what has to hold before a token is kept. Not here: how the code comes (commands/authorize.py).
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Engine

from order_pipeline.configuration import ConfigurationError, Shop
from order_pipeline.platforms.protocol import Authorizer, Token
from order_pipeline.sync.actor import actor
from order_pipeline.sync.sealing import require_key
from order_pipeline.sync.sessions import store_surely, token_row
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.tokens import TokenRow, forget_token, read_token_row


class OtherAccountError(ConfigurationError):
    """The seller who agreed is not the one whose orders are in the tables."""


def authorise(
    shop: Shop,
    engine: Engine,
    authorizer: Authorizer,
    code: str,
    redirect_uri: str,
    *,
    through_gateway: bool,
    other_account: bool = False,
) -> tuple[Token, TokenRow]:
    """Exchange a code, store the token, and end the shop's pause.

    Raises:
        ConfigurationError: no key to encrypt with; asked before the code is used up.
        OtherAccountError: another seller agreed than last time, and ``other_account`` does not say that it is meant:
            a token gives the orders of whoever agreed, and they would mix with those that are there.
        CallError: the platform gave no token.

    """
    require_key()
    with transaction(engine) as connection:
        earlier = read_token_row(connection, shop.id, shop.app_key)
    asked_at = datetime.now(UTC)
    token = authorizer.exchange(code, redirect_uri)
    if (
        earlier
        and not other_account
        and None not in (earlier.account, token.account)
        and earlier.account != token.account
    ):
        raise OtherAccountError(
            f"authorize {shop.id}: seller account {token.account} agreed, but this shop's orders are of account "
            f"{earlier.account}; log in as that one, give the other shop an id of its own in shops.yaml, or say "
            f"--other-account"
        )
    by = actor()
    row = token_row(shop, token, asked_at, through_gateway=through_gateway, by=by)
    store_surely(engine, row, ended_by=by)
    return token, row


def forget(shop: Shop, engine: Engine) -> bool:
    """Delete the shop's token, so that its configured session_key counts again; return whether there was one."""
    with transaction(engine) as connection:
        return forget_token(connection, shop.id)
