"""One pass over everything that is due, as Dagster runs: what sync and demo repeat.

Belongs here: deciding which job is next and running it until nothing is due. Not here: what is printed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

import dagster as dg
from sqlalchemy import Engine

from order_pipeline.commands.runs import RunOutcome, run_job
from order_pipeline.sync.access import ShopAccess
from order_pipeline.sync.due import due_work
from order_pipeline.sync.shops import for_each_shop

# A month of created-days a run: visible progress in the UI, and a failed run repeats little.
HISTORY_DAYS_PER_RUN = 31
# Each round only follows what changed during the one before; a platform that never rests is left for the next pass.
MAX_ROUNDS = 20


class Pass(NamedTuple):
    """The runs of a pass, and whether nothing was due any more when it ended."""

    runs: tuple[RunOutcome, ...]
    finished: bool


def run_pass(instance: dg.DagsterInstance, engine: Engine, accesses: Sequence[ShopAccess]) -> Pass:
    """Run what is due for these shops until nothing is; stop after a failed run.

    Raises ShopsFailedError when a shop cannot be asked what is due.
    """
    shop_ids = [access.shop.id for access in accesses]
    runs: list[RunOutcome] = []
    for _ in range(MAX_ROUNDS):
        works = for_each_shop(accesses, engine, lambda access: due_work(access, engine))
        history = sorted({day for work in works for day in work.history_days})
        changed = sorted({day for work in works for day in work.changed_days})
        if not history and not changed:
            return Pass(tuple(runs), finished=True)
        if history:
            runs += load_history(instance, history, shop_ids)
        else:
            runs.append(run_job(instance, "sync_orders", changed, config=_narrowed("increment_pages", shop_ids)))
        if not runs[-1].success:
            break
    return Pass(tuple(runs), finished=False)


def load_history(
    instance: dg.DagsterInstance, days: Sequence[date], shop_ids: Sequence[str], *, refetch: bool = False
) -> list[RunOutcome]:
    """Load created-days in runs of a month each, oldest first; stop after a failed one."""
    runs: list[RunOutcome] = []
    for start in range(0, len(days), HISTORY_DAYS_PER_RUN):
        span = days[start : start + HISTORY_DAYS_PER_RUN]
        runs.append(
            run_job(instance, "load_history", span, config=_narrowed("history_pages", shop_ids, refetch=refetch))
        )
        if not runs[-1].success:
            break
    return runs


def _narrowed(listing: str, shop_ids: Sequence[str], *, refetch: bool = False) -> dict[str, dict[str, Any]]:
    return {
        listing: {"shops": list(shop_ids)},
        "fullinfo_orders": {"shops": list(shop_ids), "refetch": refetch},
    }
