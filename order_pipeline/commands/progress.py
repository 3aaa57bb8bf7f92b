"""Progress of long work, read from the warehouse while a run is at it.

Belongs here: what moves on the screen. Not here: the work, nor its result.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from order_pipeline.warehouse.database import DatabaseUnreachableError, transaction
from order_pipeline.warehouse.orders import count_detailed, count_orders
from order_pipeline.warehouse.watermarks import loaded_history_days

LOOK_EVERY_SECONDS = 0.5


@contextmanager
def shown_progress(engine: Engine, shop_ids: list[str], console: Console, title: str) -> Iterator[None]:
    """Show what is in the tables while the block runs; on a screen that is no terminal, only its end."""
    done = threading.Event()
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.fields[counts]}"),
        TimeElapsedColumn(),
        console=console,
    ) as progress:
        task = progress.add_task(title, total=None, counts="")

        def look() -> None:
            while True:
                try:
                    progress.update(task, counts=_counts(engine, shop_ids))
                except (DatabaseUnreachableError, SQLAlchemyError):
                    # The work itself reports what is wrong with the database.
                    progress.update(task, counts="the warehouse does not answer")
                if done.wait(LOOK_EVERY_SECONDS):
                    return

        looker = threading.Thread(target=look, name="progress", daemon=True)
        looker.start()
        try:
            yield
        finally:
            done.set()
            looker.join()
            progress.update(task, total=1, completed=1)


def _counts(engine: Engine, shop_ids: list[str]) -> str:
    with transaction(engine) as connection:
        days = sum(len(loaded_history_days(connection, shop_id)) for shop_id in shop_ids)
        orders = count_orders(connection, shop_ids)
        detailed = count_detailed(connection, shop_ids)
    return f"{days} days, {orders:,} orders, {detailed:,} with details"
