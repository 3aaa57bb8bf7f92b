"""Options that several commands share.

Belongs here: what more than one module of commands needs. Not here: options of one module.
"""

from __future__ import annotations

import click

# Options that several commands share.
SHOP = click.option("--shop", "shops", multiple=True, help="Only this shop; may be given several times.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def in_words(_context: click.Context, option: click.Parameter, value: str) -> str:
    """Refuse what is kept as somebody's words and says nothing."""
    if not value.strip():
        raise click.BadParameter("say it in words", param=option)
    return value.strip()


WHY = click.option(
    "--why", required=True, callback=in_words, help="The reason; it is kept with your name and the time, and shown."
)
OUT = click.option("--out", type=click.Path(dir_okay=False, writable=True), help="A file; the screen if left out.")
