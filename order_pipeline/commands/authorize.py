"""order-pipeline authorize: a shop's owner agrees in the browser, and the token is stored.

Belongs here: the conversation with the person. Not here: the browser's way back (loopback.py), checking and storing
(sync/authorizing.py).
"""

from __future__ import annotations

import json
import secrets
import sys
import webbrowser
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import click
from sqlalchemy import Engine

from order_pipeline.commands.loopback import Loopback, code_of
from order_pipeline.configuration import ConfigurationError, Shop, is_private
from order_pipeline.platforms.protocol import Authorizer, Token
from order_pipeline.sync.access import open_authorizer
from order_pipeline.sync.authorizing import authorise, forget
from order_pipeline.sync.renewal import days_left, describe
from order_pipeline.sync.sealing import require_key
from order_pipeline.traffic.call_log import CallLog
from order_pipeline.traffic.gate import shared_gate
from order_pipeline.warehouse.tokens import TokenRow

# The platform shows the code on a page of its own then.
OUT_OF_BAND = "urn:ietf:wg:oauth:2.0:oob"


class Way(NamedTuple):
    """How the code comes and where it is exchanged: the options of the command."""

    code: str | None
    paste: bool
    redirect_uri: str | None
    port: int
    wait_seconds: float
    opens_browser: bool
    through_gateway: bool
    other_account: bool


def authorize_shop(shop: Shop, engine: Engine, way: Way, *, as_json: bool) -> None:
    """Authorise a shop, and say how long that holds.

    Raises ConfigurationError before anybody is troubled, GrantRefusedError, NoAnswerError, CallError.
    """
    require_key()
    if way.through_gateway and not is_private(shop.gateway_url):
        raise ConfigurationError(
            f"shops.yaml: shop '{shop.id}': key 'gateway_url' has to be an https address for --gateway, as tokens "
            f"travel over it; Taobao's is https://eco.taobao.com/router/rest"
        )
    gate = shared_gate(engine, shop.app_key, shop.calls_per_minute)
    authorizer = open_authorizer(shop, CallLog(), gate, through_gateway=way.through_gateway)
    code, redirect_uri = _code(shop, authorizer, way)
    token, row = authorise(
        shop,
        engine,
        authorizer,
        code,
        redirect_uri,
        through_gateway=way.through_gateway,
        other_account=way.other_account,
    )
    _report(shop, token, row, as_json=as_json)


def forget_shop(shop: Shop, engine: Engine, *, as_json: bool) -> None:
    """Delete a shop's token."""
    there_was = forget(shop, engine)
    if as_json:
        print(json.dumps({"shop": shop.id, "forgotten": there_was}))
        return
    then = "its session_key counts again" if shop.session_key else "it has no session now"
    click.echo(f"shop {shop.id}: the token is forgotten; {then}" if there_was else f"shop {shop.id} had no token")


def _code(shop: Shop, authorizer: Authorizer, way: Way) -> tuple[str, str]:
    """Return the code and the address it was sent to, which has to be named again when it is exchanged."""
    pasted_to = way.redirect_uri or OUT_OF_BAND
    if way.code:
        return _pasted(way.code, shop, None), pasted_to
    state = secrets.token_urlsafe(24)
    if way.paste:
        _say(f"Open this address as the shop's owner, agree, and copy the code: {authorizer.page(pasted_to, state)}")
        return _pasted(click.prompt("code, or the whole address it is in", err=True), shop, state), pasted_to
    try:
        back = Loopback(shop.id, state, way.port, _say)
    except OSError as error:
        raise ConfigurationError(f"--port: {way.port} is taken ({error.strerror}); choose another") from error
    with back:
        redirect_uri = way.redirect_uri or back.redirect_uri
        page = authorizer.page(redirect_uri, state)
        _say(f"Open this address as the shop's owner, and agree: {page}")
        if way.opens_browser:
            webbrowser.open(page)
        return back.wait(way.wait_seconds), redirect_uri


def _pasted(text: str, shop: Shop, state: str | None) -> str:
    """Return the code of what a person pasted: the code itself, or the address that the browser came back to."""
    text = text.strip()
    if "://" not in text:
        return text
    answer = {name: values[0] for name, values in parse_qs(urlsplit(text).query).items()}
    if state and answer.get("state", state) != state:
        raise ConfigurationError(
            f"authorize {shop.id}: the pasted address answers another question (its state differs); open the "
            f"address that was printed, and paste the one it leads to"
        )
    return code_of(answer, shop.id)


def _report(shop: Shop, token: Token, row: TokenRow, *, as_json: bool) -> None:
    now = datetime.now(UTC)
    if as_json:
        said = {
            "shop": shop.id,
            "account": row.account,
            "ends_at": row.ends_at.isoformat(),
            "days_left": days_left(row.ends_at, now),
            "refreshes_from": row.next_refresh_at.isoformat() if row.next_refresh_at else None,
        }
        print(json.dumps(said))
        return
    whose = " ".join(filter(None, [token.account_name, f"({row.account})" if row.account else None]))
    click.echo(f"shop {shop.id} is authorised{' as ' + whose if whose else ''}; {describe(row, now)}")
    if shop.session_key:
        click.echo("Its session_key in shops.yaml is no longer used: the token counts, as it can be renewed.")


def _say(words: str) -> None:
    # Not where a program reads the answer.
    print(words, file=sys.stderr, flush=True)
