"""order-pipeline: the same jobs for people and cron.

Belongs here: options, exit codes, one-line complaints. Not here: the work (commands/). Imports stay inside the
commands, so that --help answers at once.

Exit codes: 0 all is well; 1 something is left undone or not equal; 2 the configuration or a name is wrong.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from order_pipeline.commands.sandbox import SandboxChoice

UNDONE = 1
MISCONFIGURED = 2
INTERRUPTED = 130

# About 9,700 orders with 92,000 lines: two minutes on two cores. The whole shop (1.0) has 39,000.
DEMO_SCALE = 0.25
DEMO_LIVE_SECONDS = 30.0
# The platform lists about three months; a few days more give the increments old orders to bring.
DEMO_DAYS = 95
DEMO_LIVE_ORDERS_PER_SECOND = 2.0
# A day's wait takes 43 seconds, so that orders of the demo are shipped and signed while one looks.
DEMO_LIVE_LIFE_SPEED = 2000.0
SEED = 84

# Enough to find the phone that confirms the login.
AUTHORIZE_WAIT_SECONDS = 300.0


# Options that several commands share.
SHOP = click.option("--shop", "shops", multiple=True, help="Only this shop; may be given several times.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
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


def main() -> None:
    """Run the command line; known errors end in one line, never in a traceback."""
    # kill and docker stop shall end the work as Ctrl-C does: in order.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        cli(standalone_mode=False)
    except click.exceptions.Abort:
        _complain("stopped; the next start goes on from here", INTERRUPTED)
    except KeyboardInterrupt:
        _complain("stopped; the next start goes on from here", INTERRUPTED)
    except click.ClickException as error:
        _complain(error.format_message(), MISCONFIGURED)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="order-pipeline")
def cli() -> None:
    """Keep a merchant's Postgres equal to the platform: a green run means nothing was lost."""
    from order_pipeline.commands.environment import read_dotenv

    read_dotenv()


@cli.command()
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
    with _one_line_errors():
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


@cli.command()
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

    console = Console()
    with _one_line_errors():
        # A wrong address is said here, and not by a sensor that skips.
        open_notifiers(configuration.notify_urls())
        put_databases_in_environment()
        with open_warehouse(), open_instance() as instance:
            clear_up(instance)
        configured = configuration.shops_path().exists() or configuration.shops_are_named()
        with nullcontext("") if configured else sandbox_process(_demo_sandbox(demand, scale, orders)) as url:
            if url:
                console.print(f"No shops.yaml: a sandbox shop runs at {url}")
            code = serve_dagster(port, console)
    sys.exit(code)


@cli.command()
@SHOP
@JSON
def sync(shops: tuple[str, ...], as_json: bool) -> None:
    """Do everything that is due now, as Dagster runs: the first load of a new shop, changes, details, refunds, holds.

    Exits with 1 if anything is left undone.
    """
    from order_pipeline.commands.passes import Pass, derive_due_holds, run_pass

    def work(instance: Any, engine: Engine, accesses: Any) -> Pass:
        done = run_pass(instance, engine, accesses)
        # Once, as nothing of the platform's waits for it.
        held = derive_due_holds(instance, engine, accesses) if done.finished else []
        return Pass((*done.runs, *held), done.finished and all(run.success for run in held))

    _work(shops, as_json, "sync", work)


@cli.command()
@click.option("--from", "first", required=True, type=click.DateTime(["%Y-%m-%d"]), help="First day.")
@click.option("--to", "last", required=True, type=click.DateTime(["%Y-%m-%d"]), help="Last day.")
@click.option("--refetch", is_flag=True, help="Fetch the details of known orders and refunds again, changed or not.")
@SHOP
@JSON
def backfill(first: datetime, last: datetime, refetch: bool, shops: tuple[str, ...], as_json: bool) -> None:
    """Load these days (Asia/Shanghai) again: orders created, refunds last changed. Safe: never older over newer."""
    from order_pipeline.commands.passes import Pass, load_history, load_refunds
    from order_pipeline.sync.windows import days_between

    days = _checked_days(first.date(), last.date())

    def work(instance: Any, _engine: Any, accesses: Any) -> Pass:
        span = list(days_between(*days))
        shop_ids = [access.shop.id for access in accesses]
        runs = load_history(instance, span, shop_ids, refetch=refetch)
        if all(run.success for run in runs):
            runs += load_refunds(instance, span, shop_ids, whole_days=True, refetch=refetch)
        return Pass(tuple(runs), finished=all(run.success for run in runs))

    _work(shops, as_json, f"backfill of {days[0]} to {days[1]}", work)


@cli.command()
@JSON
def status(as_json: bool) -> None:
    """Show how far the pipeline is, shop by shop. Asks no platform."""
    from order_pipeline.commands.environment import open_warehouse, put_databases_in_environment
    from order_pipeline.commands.status import show
    from order_pipeline.resources.addresses import configured_shops

    with _one_line_errors():
        put_databases_in_environment()
        with open_warehouse(upgrade=False) as engine:
            show(engine, configured_shops(or_none=True), as_json=as_json)


@cli.command()
@JSON
def doctor(as_json: bool) -> None:
    """Try everything that a sync needs, and say what is wrong and how to mend it."""
    from order_pipeline.commands.doctor import report

    with _one_line_errors():
        well = report(as_json=as_json)
    sys.exit(0 if well else UNDONE)


@cli.command()
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
    with _one_line_errors():
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


@cli.group()
def quarantine() -> None:
    """Look at records that could not be read or loaded, try them again, or give them up by name."""


@quarantine.command("list")
@SHOP
@JSON
def list_quarantined(shops: tuple[str, ...], as_json: bool) -> None:
    """List the open records: why, which order, how old, how often seen."""
    from order_pipeline.commands.quarantine import list_records

    with _opened_warehouse() as engine:
        list_records(engine, shops, as_json=as_json)


@quarantine.command("show")
@click.argument("quarantine_id", metavar="ID", type=int)
@JSON
def show_quarantined(quarantine_id: int, as_json: bool) -> None:
    """Show one record, open or settled, with its body (which holds no personal data)."""
    from order_pipeline.commands.quarantine import show_record

    with _opened_warehouse() as engine:
        show_record(engine, quarantine_id, as_json=as_json)


@quarantine.command("replay")
@click.argument("ids", metavar="[ID]...", type=int, nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="Every open record.")
@SHOP
@JSON
def replay_quarantined(ids: tuple[int, ...], is_all: bool, shops: tuple[str, ...], as_json: bool) -> None:
    """Read records again with this version's parser and load them; what still fails has its order fetched anew.

    A record is settled only when its order is in the tables. Exits with 1 if one stays open.
    """
    from order_pipeline.commands.quarantine import replay_records

    if bool(ids) == (is_all or bool(shops)):
        raise click.UsageError("name records by their ID, or say --all, or --shop for all of a shop")
    with _opened_warehouse() as engine:
        well = replay_records(engine, ids, shops, as_json=as_json)
    sys.exit(0 if well else UNDONE)


@quarantine.command("discard")
@click.argument("quarantine_id", metavar="ID", type=int)
@click.option("--why", required=True, help="The reason; it is kept with your name and the time.")
@JSON
def discard_quarantined(quarantine_id: int, why: str, as_json: bool) -> None:
    """Give a record up: it counts as settled, even when it comes again just as it is."""
    from order_pipeline.commands.quarantine import discard_record

    if not why.strip():
        raise click.BadParameter("--why: say in words why this record is worth nothing")
    with _opened_warehouse() as engine:
        discard_record(engine, quarantine_id, why.strip(), as_json=as_json)


@cli.group("follow-ups")
def follow_ups() -> None:
    """See which parcels customer service has to look after, take them on, close them."""


@follow_ups.command("list")
@SHOP
@click.option("--rule", "rules", multiple=True, type=click.Choice(["S1", "S2", "S3", "S4", "S5", "S6", "S7"]))
@click.option("--closed", is_flag=True, help="Closed ones, too.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1), help="How many.")
@JSON
def list_followed_up(shops: tuple[str, ...], rules: tuple[str, ...], closed: bool, limit: int, as_json: bool) -> None:
    """List what is to be followed up; what waits longest comes first."""
    from order_pipeline.commands.follow_ups import show_follow_ups

    with _opened_warehouse() as engine:
        show_follow_ups(engine, shops, rules, closed=closed, limit=limit, as_json=as_json)


@follow_ups.command("show")
@click.argument("follow_up_id", metavar="ID", type=int)
@JSON
def show_followed_up(follow_up_id: int, as_json: bool) -> None:
    """Show one with its history."""
    from order_pipeline.commands.follow_ups import show_follow_up

    with _opened_warehouse() as engine:
        show_follow_up(engine, follow_up_id, as_json=as_json)


@follow_ups.command("assign")
@click.argument("ids", metavar="ID...", type=int, nargs=-1, required=True)
@click.option("--to", "assignee", required=True, help="Who looks after it.")
@JSON
def assign_followed_up(ids: tuple[int, ...], assignee: str, as_json: bool) -> None:
    """Take them on for somebody: they stay until that person closes them, even when the parcel moves again."""
    from order_pipeline.commands.follow_ups import assign_follow_ups

    if not assignee.strip():
        raise click.BadParameter("--to: name somebody")
    with _opened_warehouse() as engine:
        assign_follow_ups(engine, ids, assignee.strip(), as_json=as_json)


@follow_ups.command("close")
@click.argument("ids", metavar="ID...", type=int, nargs=-1, required=True)
@click.option("--why", required=True, help="What came of it; it is kept with your name and the time.")
@JSON
def close_followed_up(ids: tuple[int, ...], why: str, as_json: bool) -> None:
    """Close them. One that nobody has taken on also closes by itself when its parcel moves again."""
    from order_pipeline.commands.follow_ups import close_follow_ups

    if not why.strip():
        raise click.BadParameter("--why: say in words what came of it")
    with _opened_warehouse() as engine:
        close_follow_ups(engine, ids, why.strip(), as_json=as_json)


@follow_ups.command("check")
@SHOP
@JSON
def check_parcels(shops: tuple[str, ...], as_json: bool) -> None:
    """Ask where the parcels are now, and look which are stuck: what Dagster's schedule does every hour."""
    from order_pipeline.commands.passes import follow_parcels

    _work(shops, as_json, "parcels", lambda instance, _engine, accesses: follow_parcels(instance, accesses))


@cli.group()
def notices() -> None:
    """Look at what people were told, and try whether they can be reached."""


@notices.command("list")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="How many, the latest first.")
@JSON
def list_notices(limit: int, as_json: bool) -> None:
    """List the latest notices; those that wait for delivery come first."""
    from order_pipeline.commands.notices import list_notices as show_notices

    with _opened_warehouse() as engine:
        show_notices(engine, limit, as_json=as_json)


@notices.command("test")
@JSON
def test_notices(as_json: bool) -> None:
    """Send a trial message to every address in ORDER_PIPELINE_NOTIFY_URL. Exits with 1 if one did not take it."""
    from order_pipeline.commands.notices import send_trial

    with _one_line_errors():
        well = send_trial(as_json=as_json)
    sys.exit(0 if well else UNDONE)


@cli.group()
def stock() -> None:
    """Look at what the platform would be told of the stock, and tell it."""


@stock.command("write")
@click.option("--dry-run", is_flag=True, help="Show what would be written, and write nothing.")
@SHOP
@JSON
def write_stock(dry_run: bool, shops: tuple[str, ...], as_json: bool) -> None:
    """Take what pre-sales hold off the stock that buyers see, in shops whose write_stock is on.

    Exits with 1 if a number is left unwritten. Nothing is written in a shop that never had a dry run.
    """
    from order_pipeline.commands.stock import write
    from order_pipeline.configuration import select_shops
    from order_pipeline.resources.addresses import configured_shops

    with _opened_warehouse() as engine:
        well = write(engine, select_shops(configured_shops(), shops), dry_run=dry_run, as_json=as_json)
    sys.exit(0 if well else UNDONE)


@cli.group()
def suppliers() -> None:
    """Your list of suppliers: lead times, minimum orders, packs, what is on order."""


@suppliers.command("load")
@click.argument("path", metavar="FILE.csv", type=click.Path(path_type=Path))
@JSON
def load_suppliers(path: Path, as_json: bool) -> None:
    """Load the list, whole. Rows with mistakes are left out and named; exits with 1 then."""
    from order_pipeline.commands.stock import load_merchant_list

    with _opened_warehouse() as engine:
        well = load_merchant_list(engine, "suppliers", path, as_json=as_json)
    sys.exit(0 if well else UNDONE)


@cli.group()
def bundles() -> None:
    """Your list of bundles: what each is made of."""


@bundles.command("load")
@click.argument("path", metavar="FILE.csv", type=click.Path(path_type=Path))
@JSON
def load_bundles(path: Path, as_json: bool) -> None:
    """Load the list, whole. Bundles with mistakes are left out and named; exits with 1 then."""
    from order_pipeline.commands.stock import load_merchant_list

    with _opened_warehouse() as engine:
        well = load_merchant_list(engine, "bundles", path, as_json=as_json)
    sys.exit(0 if well else UNDONE)


@cli.command()
def migrate() -> None:
    """Bring the warehouse's schema up to this version, and print the addresses of both databases, without passwords."""
    import os

    from order_pipeline import configuration
    from order_pipeline.commands.environment import put_databases_in_environment
    from order_pipeline.warehouse.database import connect, shown
    from order_pipeline.warehouse.migrate import upgrade

    with _one_line_errors():
        put_databases_in_environment()
        engine = connect(os.environ[configuration.DATABASE_URL])
        reached = upgrade(engine)
        click.echo(f"schema upgraded to {reached}" if reached else "the schema is current")
        for variable in (configuration.DATABASE_URL, configuration.DAGSTER_URL):
            click.echo(f"{variable}={shown(connect(os.environ[variable]))}")


@cli.command()
@click.option(
    "--pool",
    "pools",
    multiple=True,
    metavar="NAME=RUNS",
    help="How many runs of a pool may go at once, as history=2; may be given several times.",
)
def prepare(pools: tuple[str, ...]) -> None:
    """Make both databases ready for this version: created where missing, both schemas current, limits of pools set.

    What a deployment runs once before anything else starts; running it again changes nothing.
    """
    from order_pipeline.commands.environment import put_databases_in_environment
    from order_pipeline.commands.prepare import prepare_databases

    limits = _pool_limits(pools)
    with _one_line_errors():
        put_databases_in_environment()
        for sentence in prepare_databases(limits):
            click.echo(sentence)


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=9808, show_default=True, help="Port to listen on; 0: any that is free.")
def metrics(host: str, port: int) -> None:
    """Serve figures for Prometheus: calls, freshness, worklist, proofs, breakers, runs. Reads the tables only."""
    from order_pipeline.commands.environment import put_databases_in_environment
    from order_pipeline.commands.metrics import serve_metrics

    with _one_line_errors():
        put_databases_in_environment()
        serve_metrics(host, port, lambda url: click.echo(f"metrics at {url}; Ctrl-C ends it"))


@cli.command()
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@JSON
def prune(dry_run: bool, as_json: bool) -> None:
    """Drop what is kept long enough (ORDER_PIPELINE_KEEP_..._DAYS): whole months of raw data and calls, settled rows.

    Nothing that is not loaded yet, and nothing that a proof still reads. Dagster does the same every night.
    """
    from order_pipeline.commands.prune import prune_and_print

    with _opened_warehouse() as engine:
        prune_and_print(engine, dry_run=dry_run, as_json=as_json)


@cli.command()
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

    with _one_line_errors():
        serve_sandbox(
            SandboxChoice(**choice),
            host=host,
            port=port,
            parent=parent,
            allow_remote=allow_remote,
            on_ready=lambda url: click.echo(f"sandbox at {url} (gateway {url}/router/rest); Ctrl-C ends it"),
        )


@contextmanager
def _opened_warehouse() -> Iterator[Engine]:
    """Open the warehouse for a command that asks no platform; errors end in one line."""
    from order_pipeline.commands.environment import open_warehouse, put_databases_in_environment

    with _one_line_errors():
        put_databases_in_environment()
        with open_warehouse(upgrade=False) as engine:
            yield engine


def _pool_limits(pools: tuple[str, ...]) -> dict[str, int]:
    """Return the limits by pool. Raises click.BadParameter for anything but NAME=RUNS."""
    limits: dict[str, int] = {}
    for pool in pools:
        name, _, runs = pool.partition("=")
        if not name or not runs.isdecimal() or int(runs) < 1:
            raise click.BadParameter(f"--pool {pool}: write NAME=RUNS with one run or more, as history=2")
        limits[name] = int(runs)
    return limits


def _demo_sandbox(demand: str, scale: float, orders: int) -> SandboxChoice:
    from order_pipeline.commands.sandbox import SandboxChoice

    return SandboxChoice(demand, scale, DEMO_DAYS, orders, SEED, DEMO_LIVE_ORDERS_PER_SECOND, DEMO_LIVE_LIFE_SPEED)


def _work(shop_ids: tuple[str, ...], as_json: bool, title: str, work: Callable[..., Any]) -> None:
    """Prepare, do the work with progress shown, print what came of it, and exit with the fitting code."""
    from rich.console import Console

    from order_pipeline.commands.environment import open_instance, open_warehouse, put_databases_in_environment
    from order_pipeline.commands.outcome import leftovers, print_outcome
    from order_pipeline.commands.progress import shown_progress
    from order_pipeline.commands.runs import clear_up
    from order_pipeline.configuration import select_shops
    from order_pipeline.resources.addresses import configured_shops
    from order_pipeline.sync.access import open_shop
    from order_pipeline.warehouse.database import transaction
    from order_pipeline.warehouse.worklist import database_now

    console = Console(stderr=as_json)
    with _one_line_errors():
        shops = select_shops(configured_shops(), shop_ids)
        ids = [shop.id for shop in shops]
        put_databases_in_environment()
        with open_warehouse() as engine, open_instance() as instance:
            clear_up(instance)
            with transaction(engine) as connection:
                began = database_now(connection)
            with shown_progress(engine, ids, console, title):
                accesses = [open_shop(shop, engine) for shop in shops]
                done = work(instance, engine, accesses)
            left = leftovers(engine, accesses, began)
    print_outcome(done, left, console, as_json=as_json)
    sys.exit(0 if done.finished and not left else UNDONE)


def _checked_days(first: date, last: date) -> tuple[date, date]:
    """Return the span cut to what has begun. Raises click.BadParameter for a span that cannot be loaded."""
    from datetime import UTC, timedelta

    from order_pipeline.sync.windows import HISTORY_DAYS, day_of

    today = day_of(datetime.now(UTC))
    if first > last:
        raise click.BadParameter(f"--from {first} lies after --to {last}; swap them")
    if first > today:
        raise click.BadParameter(f"--from {first} lies in the future; today in Shanghai is {today}")
    oldest = today - timedelta(days=HISTORY_DAYS)
    if first < oldest:
        raise click.BadParameter(f"--from {first}: the platform lists three months only; begin at {oldest} or later")
    return first, min(last, today)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn errors that are meant for people into one line and an exit code."""
    from order_pipeline.commands.dev import PortTakenError
    from order_pipeline.commands.loopback import NoAnswerError
    from order_pipeline.commands.sandbox import SandboxBusyError
    from order_pipeline.configuration import ConfigurationError
    from order_pipeline.sync.replay import UnknownRecordError
    from order_pipeline.sync.shops import ShopsFailedError
    from order_pipeline.traffic.errors import CallError
    from order_pipeline.warehouse.database import DatabaseUnreachableError
    from order_pipeline.warehouse.migrate import SchemaError

    try:
        yield
    except (
        ConfigurationError,
        SandboxBusyError,
        PortTakenError,
        SchemaError,
        DatabaseUnreachableError,
        UnknownRecordError,
    ) as error:
        _complain(str(error), MISCONFIGURED)
    except (ShopsFailedError, CallError, NoAnswerError) as error:
        _complain(str(error), UNDONE)


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _complain(message: str, code: int) -> NoReturn:
    click.echo(f"order-pipeline: {message}", err=True)
    sys.exit(code)
