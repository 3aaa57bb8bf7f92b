"""For readers: the data dictionary and the report of a day.

Belongs here: options and exit codes. Not here: the work (commands/).
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from order_pipeline.cli.options import OUT
from order_pipeline.cli.running import opened_warehouse


@click.command()
@OUT
def dictionary(out: str | None) -> None:
    """Write what BI may read, every view and column, as a Markdown page."""
    from order_pipeline.commands.dictionary import data_dictionary

    with opened_warehouse() as engine:
        page = data_dictionary(engine)
    if out:
        Path(out).write_text(page, encoding="utf-8")
    else:
        click.echo(page, nl=False)


@click.command()
@click.option("--day", required=True, type=click.DateTime(["%Y-%m-%d"]), help="The day, Asia/Shanghai.")
@OUT
def report(day: datetime, out: str | None) -> None:
    """Write a day's sales, refunds, freshness, proofs and reserved stock as one HTML page with pictures."""
    from order_pipeline.commands.report import daily_report

    with opened_warehouse() as engine:
        page = daily_report(engine, day.date())
    if out:
        Path(out).write_text(page, encoding="utf-8")
        click.echo(f"{out}: open it in any browser")
    else:
        click.echo(page, nl=False)
