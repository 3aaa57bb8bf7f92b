"""What sync and backfill say at their end.

Belongs here: what was done, what is left, in words or JSON. Not here: doing it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from rich.console import Console
from rich.markup import escape
from sqlalchemy import Engine

from order_pipeline.commands.passes import Pass
from order_pipeline.sync.access import ShopAccess
from order_pipeline.traffic.breaker import IT_CLOSES_ITSELF
from order_pipeline.traffic.budget import LONGEST_WAIT_SECONDS, QUOTA_USED_UP
from order_pipeline.warehouse.database import transaction
from order_pipeline.warehouse.quarantine import open_records
from order_pipeline.warehouse.subjects import SUBJECTS
from order_pipeline.warehouse.worklist import waiting_since
from order_pipeline.wording import counted


def leftovers(engine: Engine, accesses: Sequence[ShopAccess], began: datetime) -> list[str]:
    """Return what is left undone of that which was known at the beginning, a sentence each."""
    shop_ids = [access.shop.id for access in accesses]
    left = [f"shop {access.shop.id}: {access.hold}" for access in accesses if access.hold]
    left += [f"shop {access.shop.id}: {reason}" for access in accesses for reason in _not_asked(access)]
    with transaction(engine) as connection:
        for shop_id in shop_ids:
            for subject in SUBJECTS.values():
                waiting = waiting_since(connection, shop_id, began, subject=subject)
                if waiting:
                    left.append(f"shop {shop_id}: {counted(waiting, subject.one)} still without details")
        refused = open_records(connection, shop_ids)
        if refused:
            left.append(f"{counted(len(refused), 'record is', 'records are')} in sync.quarantine")
    return left


def _not_asked(access: ShopAccess) -> list[str]:
    """Return why the lists of changes were not read to their end, of orders and refunds alike."""
    reasons = []
    banned_until = access.gate.budget.banned_until() if access.gate.budget else None
    # A shorter one was sat out.
    if banned_until and banned_until - datetime.now(UTC) > timedelta(seconds=LONGEST_WAIT_SECONDS):
        reasons.append(f"the platform is not asked before {banned_until:%F %T %z}: {QUOTA_USED_UP}")
    state = access.gate.breaker.state() if access.gate.breaker else None
    if state and state.is_open:
        reasons.append(
            f"changes of orders and refunds are not followed while the breaker is open, since {state.since:%F %T %z}: "
            f"{state.reason}; {IT_CLOSES_ITSELF}"
        )
    return reasons


def print_outcome(done: Pass, left: Sequence[str], console: Console, *, as_json: bool) -> None:
    """Print the outcome: failures first, then what is left."""
    failures = [failure for run in done.runs for failure in run.failures]
    red = sorted({check for run in done.runs for check in run.red_checks})
    if as_json:
        said = {"runs": [run.run_id for run in done.runs], "finished": done.finished, "failures": failures}
        print(json.dumps({**said, "red_checks": red, "left": list(left)}))
        return
    for failure in failures:
        console.print(f"[red]failed:[/] {escape(failure)}", soft_wrap=True)
    for check in red:
        console.print(f"[red]red check:[/] {check}")
    for sentence in left:
        console.print(f"[yellow]left:[/] {escape(sentence)}", soft_wrap=True)
    if done.finished and not left:
        console.print(f"[green]Everything due is done[/] ({counted(len(done.runs), 'run')}).")
