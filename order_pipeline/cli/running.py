"""How a command runs: exit codes, one-line complaints, the databases that it works on.

Belongs here: what commands have in common around their work. Not here: options, any command.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from order_pipeline.configuration import Shop


UNDONE = 1
MISCONFIGURED = 2
INTERRUPTED = 130


@contextmanager
def one_line_errors() -> Iterator[None]:
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
    from order_pipeline.warehouse.purchases import UnknownLineError

    try:
        yield
    except (
        ConfigurationError,
        SandboxBusyError,
        PortTakenError,
        SchemaError,
        DatabaseUnreachableError,
        UnknownRecordError,
        UnknownLineError,
    ) as error:
        complain(str(error), MISCONFIGURED)
    except (ShopsFailedError, CallError, NoAnswerError) as error:
        complain(str(error), UNDONE)


@contextmanager
def opened_warehouse(shop_ids: Sequence[str] = ()) -> Iterator[Engine]:
    """Open the warehouse for a command that asks no platform; errors end in one line.

    ``shop_ids``: the shops that the command was asked for. One that nobody knows is a mistake, not a shop of which
    there is nothing.
    """
    from order_pipeline.commands.choosing import check_shops
    from order_pipeline.commands.environment import open_warehouse, put_databases_in_environment

    with one_line_errors():
        put_databases_in_environment()
        with open_warehouse(upgrade=False) as engine:
            check_shops(engine, shop_ids)
            yield engine


@contextmanager
def opened_shop(shop_id: str, command: str) -> Iterator[tuple[Engine, Shop, tuple[Shop, ...]]]:
    """Open the warehouse for a command about one shop: the engine, the shop, and all that are configured."""
    from order_pipeline.configuration import select_shops
    from order_pipeline.resources.addresses import configured_shops

    with one_line_errors():
        shops = configured_shops()
        (shop,) = select_shops(shops, (shop_id,), named_by=command)
        with opened_warehouse() as engine:
            yield engine, shop, shops


def complain(message: str, code: int) -> NoReturn:
    """Say in one line what is wrong, and exit with that code."""
    click.echo(f"order-pipeline: {message}", err=True)
    sys.exit(code)


def perform(shop_ids: tuple[str, ...], as_json: bool, title: str, work: Callable[..., Any]) -> None:
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
    with one_line_errors():
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
