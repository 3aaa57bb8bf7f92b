"""order-pipeline: the same jobs for people and cron.

Belongs here: options, exit codes, one-line complaints; a module a subject. Not here: the work (commands/). Imports stay
inside the commands, so that --help answers at once.

Exit codes: 0 all is well; 1 something is left undone or not equal; 2 the configuration or a name is wrong.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn

import click

from order_pipeline.cli import authorizing, goods, operating, parcels, playing, quarantine, reporting, syncing
from order_pipeline.cli.running import INTERRUPTED, MISCONFIGURED, complain


def main() -> None:
    """Run the command line; known errors end in one line, never in a traceback."""
    obey_signals()
    try:
        cli(standalone_mode=False)
    except click.exceptions.Abort:
        complain("stopped; the next start goes on from here", INTERRUPTED)
    except KeyboardInterrupt:
        complain("stopped; the next start goes on from here", INTERRUPTED)
    except click.ClickException as error:
        complain(error.format_message(), MISCONFIGURED)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)


def obey_signals() -> None:
    """Let kill, docker stop and Ctrl-C end the work alike: in order."""
    signal.signal(signal.SIGTERM, _interrupt)
    # A shell lets what it starts in the background ignore SIGINT, and so would everything that is started from here.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="order-pipeline")
def cli() -> None:
    """Keep a merchant's Postgres equal to the platform: a green run means nothing was lost."""
    from order_pipeline.commands.environment import read_dotenv

    read_dotenv()


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


for command in (
    playing.demo,
    playing.dev,
    playing.sandbox,
    syncing.sync,
    syncing.decide,
    syncing.backfill,
    syncing.refetch,
    syncing.status,
    syncing.doctor,
    authorizing.authorize,
    quarantine.quarantine,
    parcels.follow_ups,
    goods.restock,
    goods.ship_list,
    goods.stock,
    goods.suppliers,
    goods.bundles,
    operating.notices,
    operating.migrate,
    operating.prepare,
    operating.metrics,
    operating.breaker,
    operating.prune,
    operating.prune_events,
    operating.remove_shop,
    operating.forget,
    reporting.dictionary,
    reporting.report,
):
    cli.add_command(command)
