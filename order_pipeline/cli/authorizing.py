"""authorize: how a shop comes to its token.

Belongs here: options and exit codes. Not here: the work (commands/authorize.py).
"""

from __future__ import annotations

import sys

import click

from order_pipeline.cli.options import JSON
from order_pipeline.cli.running import one_line_errors

# Enough to find the phone that confirms the login.
AUTHORIZE_WAIT_SECONDS = 300.0


@click.command()
@click.argument("shop_id", metavar="SHOP", required=False)
@click.option("--code", help="The code that the platform showed, or the whole address it is in; asks nothing more.")
@click.option("--paste", is_flag=True, help="Print the address, and ask for the code: for a browser elsewhere.")
@click.option(
    "--redirect-uri",
    help="The address that is registered for the app, where it is not this command's own; for --code and --paste the "
    "one that the code was sent to.",
)
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="Port to wait on; any that is free if left out.")
@click.option(
    "--wait",
    "wait_seconds",
    default=AUTHORIZE_WAIT_SECONDS,
    show_default=True,
    type=click.FloatRange(1),
    help="How many seconds to wait for the browser.",
)
@click.option("--browser/--no-browser", default=None, help="Open the browser; by default on a terminal.")
@click.option(
    "--gateway", is_flag=True, help="Exchange at the gateway (taobao.top.auth.token.*), not the OAuth server."
)
@click.option("--other-account", is_flag=True, help="It is meant that another seller agrees than the last time.")
@click.option("--forget", is_flag=True, help="Delete the stored token: session_key of shops.yaml counts again.")
@click.option("--generate-key", is_flag=True, help="Print a new key to encrypt tokens with, and do nothing else.")
@JSON
def authorize(
    shop_id: str | None,
    code: str | None,
    paste: bool,
    redirect_uri: str | None,
    port: int,
    wait_seconds: float,
    browser: bool | None,
    gateway: bool,
    other_account: bool,
    forget: bool,
    generate_key: bool,
    as_json: bool,
) -> None:
    """Have a shop's owner agree in the browser, and store the token, encrypted; it is renewed by itself from then on.

    The stored token counts more than session_key of shops.yaml. A shop that is paused goes on at once.
    """
    from order_pipeline.commands.authorize import Way, authorize_shop, forget_shop
    from order_pipeline.commands.environment import open_warehouse, put_databases_in_environment
    from order_pipeline.configuration import TOKEN_KEY, select_shops
    from order_pipeline.resources.addresses import configured_shops
    from order_pipeline.sync import sealing

    if generate_key:
        click.echo(f"{TOKEN_KEY}={sealing.generate_key()}")
        return
    if not shop_id:
        raise click.UsageError("name the shop: order-pipeline authorize SHOP")
    with one_line_errors():
        (shop,) = select_shops(configured_shops(), (shop_id,), named_by="authorize")
        if not forget:
            sealing.require_key()
        put_databases_in_environment()
        with open_warehouse() as engine:
            if forget:
                forget_shop(shop, engine, as_json=as_json)
                return
            opens_browser = sys.stderr.isatty() if browser is None else browser
            way = Way(code, paste, redirect_uri, port, wait_seconds, opens_browser, gateway, other_account)
            authorize_shop(shop, engine, way, as_json=as_json)
