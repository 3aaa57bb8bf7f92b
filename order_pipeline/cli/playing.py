"""The play: demo, dev and sandbox.

Belongs here: options and exit codes of what runs over a marketplace of our own. Not here: the work (commands/).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from order_pipeline.cli.options import JSON
from order_pipeline.cli.running import UNDONE, one_line_errors

if TYPE_CHECKING:
    from order_pipeline.commands.sandbox import SandboxChoice


# About 9,700 orders with 92,000 lines: two minutes on two cores. The whole shop (1.0) has 39,000.
DEMO_SCALE = 0.25
DEMO_LIVE_SECONDS = 30.0
# The platform lists about three months; a few days more give the increments old orders to bring.
DEMO_DAYS = 95
DEMO_LIVE_ORDERS_PER_SECOND = 2.0
# A day's wait takes 43 seconds, so that orders of the demo are shipped and signed while one looks.
DEMO_LIVE_LIFE_SPEED = 2000.0
SEED = 84
DEMAND = click.option(
    "--demand",
    default="complete-journey",
    show_default=True,
    type=click.Choice(["complete-journey", "synthetic"]),
    help="What the sandbox plays: real baskets, or generated ones.",
)


SCALE = click.option(
    "--scale",
    default=DEMO_SCALE,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True),
    help="How much of the shop the sandbox plays.",
)


ORDERS = click.option(
    "--orders",
    default=10_000,
    show_default=True,
    type=click.IntRange(1),
    help="How many orders the synthetic demand has.",
)


@click.command()
@SCALE
@click.option(
    "--live-seconds",
    default=DEMO_LIVE_SECONDS,
    show_default=True,
    type=click.FloatRange(0),
    help="How long orders keep changing while increments follow.",
)
@DEMAND
@ORDERS
@click.option("--fresh", is_flag=True, help="Forget what an earlier demo left, and begin anew.")
@JSON
def demo(scale: float, live_seconds: float, demand: str, orders: int, fresh: bool, as_json: bool) -> None:
    """Play a shop's last 90 days, sync it with Dagster, and prove that the tables equal the platform.

    Uses an embedded PostgreSQL and a sandbox marketplace under ORDER_PIPELINE_HOME, whatever else is configured.
    Interrupted, the next start goes on.
    """
    import json
    import os

    from rich.console import Console

    from order_pipeline import configuration

    # Never a merchant's own shops or database.
    for variable in (configuration.SHOPS, configuration.DATABASE_URL, configuration.DAGSTER_URL):
        os.environ.pop(variable, None)
    from order_pipeline.commands.demo import forget, play, print_result
    from order_pipeline.commands.environment import open_instance, open_warehouse, put_databases_in_environment
    from order_pipeline.commands.runs import clear_up
    from order_pipeline.commands.sandbox import announcement, sandbox_process
    from order_pipeline.resources.addresses import configured_shops
    from order_pipeline.sync.access import open_shop

    console = Console(stderr=as_json)
    choice = _demo_sandbox(demand, scale, orders)
    with one_line_errors():
        if fresh:
            forget()
        put_databases_in_environment(only_embedded=True)
        with sandbox_process(choice) as url, open_warehouse() as engine, open_instance() as instance:
            os.environ[configuration.SHOPS] = str(announcement())
            clear_up(instance)
            (shop,) = configured_shops()
            result = play(instance, engine, open_shop(shop, engine), url, live_seconds=live_seconds, console=console)
        if as_json:
            print(json.dumps(result._asdict()))
        else:
            print_result(result, console)
    sys.exit(0 if result.proven else UNDONE)


@click.command()
@click.option("--port", type=int, help="Port of the UI; default 3000, or a free one when that is taken.")
@SCALE
@DEMAND
@ORDERS
def dev(port: int | None, scale: float, demand: str, orders: int) -> None:
    """Serve Dagster's UI, schedules and sensors over the warehouse, with a live sandbox where no shop is configured."""
    from contextlib import nullcontext

    from rich.console import Console

    from order_pipeline import configuration
    from order_pipeline.commands.dev import serve_dagster
    from order_pipeline.commands.environment import open_instance, open_warehouse, put_databases_in_environment
    from order_pipeline.commands.runs import clear_up
    from order_pipeline.commands.sandbox import sandbox_process
    from order_pipeline.notifications.addresses import open_notifiers
    from order_pipeline.resources.addresses import configured_shops

    console = Console()
    with one_line_errors():
        # A wrong address, or a wrong shop, is said here, and not by a sensor that skips.
        open_notifiers(configuration.notify_urls())
        configured = configuration.shops_path().exists() or configuration.shops_are_named()
        if configured:
            configured_shops()
        put_databases_in_environment()
        with open_warehouse(), open_instance() as instance:
            clear_up(instance)
        with nullcontext("") if configured else sandbox_process(_demo_sandbox(demand, scale, orders)) as url:
            if url:
                console.print(f"No shops.yaml: a sandbox shop runs at {url}")
            code = serve_dagster(port, console)
    sys.exit(code)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; loopback only.")
@click.option(
    "--allow-remote",
    is_flag=True,
    help="Let --host be any address, as between containers. The sandbox opens nothing but its own play, to anybody.",
)
@click.option("--port", default=8765, show_default=True, help="Port to listen on; 0: any that is free.")
@DEMAND
@SCALE
@click.option("--days", default=DEMO_DAYS, show_default=True, type=click.IntRange(1), help="Days of history.")
@ORDERS
@click.option("--seed", default=SEED, show_default=True)
@click.option("--live-orders-per-second", default=DEMO_LIVE_ORDERS_PER_SECOND, show_default=True)
@click.option(
    "--live-life-speed",
    default=DEMO_LIVE_LIFE_SPEED,
    show_default=True,
    help="How many times faster than real the lives of newly arriving orders are.",
)
@click.option(
    "--calls-per-minute",
    type=click.IntRange(1),
    help="What it grants an app key; no limit if left out.",
)
@click.option("--parent", type=int, hidden=True, help="End when this process does.")
def sandbox(host: str, port: int, allow_remote: bool, parent: int | None, **choice: Any) -> None:
    """Serve a marketplace that speaks Taobao's wire contract, for trying and testing."""
    from order_pipeline.commands.sandbox import SandboxChoice, serve_sandbox

    with one_line_errors():
        serve_sandbox(
            SandboxChoice(**choice),
            host=host,
            port=port,
            parent=parent,
            allow_remote=allow_remote,
            on_ready=lambda url: click.echo(f"sandbox at {url} (gateway {url}/router/rest); Ctrl-C ends it"),
        )


def _demo_sandbox(demand: str, scale: float, orders: int) -> SandboxChoice:
    from order_pipeline.commands.sandbox import SandboxChoice

    return SandboxChoice(demand, scale, DEMO_DAYS, orders, SEED, DEMO_LIVE_ORDERS_PER_SECOND, DEMO_LIVE_LIFE_SPEED)
