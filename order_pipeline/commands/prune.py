"""order-pipeline prune: what is kept long enough goes.

Belongs here: what is printed. Not here: pruning (sync/pruning.py).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from order_pipeline import configuration
from order_pipeline.sync.pruning import prune


def prune_and_print(engine: Engine, *, dry_run: bool, as_json: bool) -> None:
    """Prune and print what went and what stayed. Raises ConfigurationError for a retention that is no good."""
    done = prune(engine, configuration.retention(), datetime.now(UTC), dry_run=dry_run)
    if as_json:
        gone = [each._asdict() for each in done.gone]
        stays = [each._asdict() for each in done.stays]
        print(json.dumps({"dry_run": dry_run, "gone": gone, "stays": stays, "made": done.made}))
        return
    if done.gone:
        table = Table(title="would go" if dry_run else "gone")
        for heading in ("", "rows", "MB"):
            table.add_column(heading, justify="right" if heading else "left")
        for each in done.gone:
            size = "" if each.size_bytes is None else f"{each.size_bytes / 1e6:,.1f}"
            table.add_row(each.name, f"{each.rows:,}", size)
        Console().print(table)
    else:
        click.echo("Nothing is past its time.")
    for month in done.stays:
        click.echo(f"{month.name} is past its time and stays: it is needed by {', '.join(month.needed_by)}")
